"""Datasets out of datasets: merge several, keep some episodes of one. Rows are copied as they are, frames included."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from agentgym.data.store.dataset import EpisodeDataset, check_same_format
from agentgym.data.store.files import shard_files
from agentgym.data.store.format import Attempt, Header, write_shard
from agentgym.data.store.shard import Shard
from agentgym.data.store.writer import DatasetWriter, lock_folder, write_manifest
from agentgym.errors import UserError, did_you_mean
from agentgym.folders import check_output_is_free, new_folder

Mask = Callable[[Shard], pa.Array]


def merge(paths: Sequence[str | Path], to: str | Path) -> EpisodeDataset:
    """All episodes of several datasets as one; an episode that is in two of them, bit for bit, is kept once.

    The recipe is the first one's, under the new name and with everyone's tasks. Raises UserError when they are unlike
    in actions, frame shape or drawing, when an episode is damaged, or when `to` holds something.
    """
    datasets = [EpisodeDataset(path) for path in paths]
    first = datasets[0]
    check_same_format(datasets)
    seen: set[tuple[str, int, int]] = set()

    def unseen(shard: Shard) -> pa.Array:
        keys = zip(*(shard.column(name) for name in ("task", "seed", "crc32")), strict=True)
        mask = []
        for key in keys:
            mask.append(key not in seen)
            seen.add(key)
        return pa.array(mask, pa.bool_())

    recipe = _merged_recipe([dataset.header.recipe for dataset in datasets], Path(to).name)
    _copy(datasets, to, replace(first.header, recipe=recipe), unseen, every_attempt=True)
    return EpisodeDataset(to)


def select(
    path: str | Path,
    to: str | Path,
    *,
    task: str | None = None,
    outcome: str | None = None,
    min_return: float | None = None,
) -> EpisodeDataset:
    """The episodes of a dataset that pass every filter given, as a dataset of its own.

    `outcome` is "solved" or "failed". Raises UserError when no episode passes, one is damaged, or `to` holds something.
    """
    dataset = EpisodeDataset(path)
    tasks = sorted(set(dataset.column("task")))
    if task is not None and task not in tasks:
        raise UserError(f"--task {task}: {path} has no such task{did_you_mean(task, tasks)}; it has {', '.join(tasks)}")
    if outcome not in (None, "solved", "failed"):
        raise UserError(f"--outcome {outcome}: expected solved or failed; other attempts left no episode")

    def passes(shard: Shard) -> pa.Array:
        mask = pa.array([True] * len(shard), pa.bool_())
        if task is not None:
            mask = pc.and_(mask, pc.equal(shard.table["task"].combine_chunks(), task))
        if outcome is not None:
            mask = pc.and_(mask, pc.equal(shard.table["success"].combine_chunks(), outcome == "solved"))
        if min_return is not None:
            mask = pc.and_(mask, pc.greater_equal(shard.table["total_reward"].combine_chunks(), min_return))
        return mask

    if not any(pc.any(passes(shard)).as_py() for shard in dataset.shards):
        raise UserError(f"{path}: no episode passes the filters; nothing was written")
    header = dataset.header
    recipe = {**header.recipe, "name": Path(to).name}
    _copy([dataset], to, replace(header, recipe=recipe), passes, every_attempt=False)
    return EpisodeDataset(to)


def set_recipe(path: Path, recipe: Mapping[str, Any]) -> None:
    """The dataset's header names that recipe; its rows stay as they are."""
    lock = lock_folder(path)
    try:
        for file in shard_files(path):
            shard = Shard(file)
            header = replace(shard.header, recipe=recipe)
            write_shard(file, header, shard.table, shard.attempts)
        write_manifest(path, [Shard(file) for file in shard_files(path)])
    finally:
        lock.release()


def _copy(
    datasets: Sequence[EpisodeDataset], to: str | Path, header: Header, mask: Mask, *, every_attempt: bool
) -> None:
    """Shard by shard; with `every_attempt` those that left no episode come along, so that their seeds stay tried."""
    check_output_is_free(Path(to))
    for shard in (shard for dataset in datasets for shard in dataset.shards):
        for row in range(len(shard)):
            shard.require_whole(row)
    with new_folder(Path(to)) as folder, DatasetWriter(folder, header, all_or_nothing=True) as writer:
        tried: set[Attempt] = set()
        for shard in (shard for dataset in datasets for shard in dataset.shards):
            kept = shard.table.select(header.schema.names).filter(mask(shard))
            there = set(zip(kept["task"].to_pylist(), kept["seed"].to_pylist(), strict=True))
            attempts = [a for a in shard.attempts if a not in tried and (every_attempt or (a.task, a.seed) in there)]
            tried.update(attempts)
            if len(kept) or attempts:
                writer.commit_table(kept, attempts)


def _merged_recipe(recipes: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    merged = {**recipes[0], "name": name}
    if "suite" in merged:
        tasks = {task["id"]: task for recipe in recipes for task in recipe["suite"]["tasks"]}
        merged["suite"] = {**merged["suite"], "tasks": list(tasks.values())}
    return merged
