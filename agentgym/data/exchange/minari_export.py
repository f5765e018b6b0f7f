"""A dataset -> Minari datasets, one a task, lossless."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from agentgym import environments
from agentgym.data.episode import Episode
from agentgym.data.exchange.folders import check_disk_space
from agentgym.data.exchange.minari import TASK_KEY, load_minari, slug
from agentgym.data.exchange.minari_columns import describe, observations_of, shared_columns, spaces_of
from agentgym.data.exchange.spaces import batch, space_of
from agentgym.data.store import EpisodeDataset
from agentgym.errors import UserError
from agentgym.folders import new_folder
from agentgym.spaces import Node, SpaceCodec

CHUNK_FRAMES = 500  # about how many are held in memory at once


def export_minari(path: str | Path, to: str | Path) -> list[str]:
    """Writes NAME/TASK-v0 below `to`, one Minari dataset a task, lossless; returns lines on what Minari does not hold.

    Minari finds them with MINARI_DATASETS_PATH set to `to`. Raises UserError when `to` holds something, or the disk has
    no room; then nothing is left there.
    """
    minari = load_minari()
    dataset = EpisodeDataset(path)
    if not len(dataset):
        raise UserError(f"{path}: holds no episode; there is nothing to export")
    with new_folder(Path(to)) as folder:
        check_disk_space(Path(to), int((dataset.lengths + 1).sum()) * math.prod(dataset.header.frame_shape))
        name = slug(dataset.path.resolve().name)
        for task, folder_name in _folder_names(sorted(set(dataset.column("task")))).items():
            identity = f"{name}/{folder_name}-v0"
            _export_task(minari, dataset, task, identity, folder / identity / "data")
        (folder / name / "namespace_metadata.json").write_text("{}")
    return ["Minari has no place for: " + ", ".join(_not_shared(dataset))]


def _folder_names(tasks: Sequence[str]) -> dict[str, str]:
    """For each task a name that Minari takes, its own."""
    names: dict[str, str] = {}
    for task in tasks:
        plain = slug(task.rpartition(":")[2].removesuffix("-v0"))
        numbered = (f"{plain}-{number}" for number in range(2, len(tasks) + 2))
        names[task] = next(name for name in (plain, *numbered) if name not in names.values())
    return names


def _not_shared(dataset: EpisodeDataset) -> list[str]:
    """What of a dataset an export to Minari does not hold."""
    found = ["expert of each episode", "package versions", "checksums"]
    space = dataset.header.space
    unknown = {task.rpartition(":")[2] for task in dataset.column("task")} - set(environments.task_ids())
    if unknown and SpaceCodec.of(space_of(space.root)).root != space.root:
        found.append("names of actions")  # an environment that is one of ours has them itself
    lost = sorted(
        {extra.name for extra in dataset.header.extras} - {e.name for e in shared_columns(dataset.header.extras)}
    )
    if lost:
        found.append(f"columns whose names it cannot have ({', '.join(lost)})")
    labelled = sum(map(bool, dataset.column("labels")))
    if labelled:
        found.append(f"the labels of {labelled:,} episodes")
    others = sum(dataset.outcomes().values()) - len(dataset)
    if others:
        found.append(f"{others:,} attempts that left no episode")
    return found


def _export_task(minari: Any, dataset: EpisodeDataset, task: str, identity: str, folder: Path) -> None:
    from minari.dataset.minari_storage import MinariStorage

    chosen = [episode for episode, other in enumerate(dataset.column("task")) if other == task]
    instructions = dataset.column("instruction")
    texts = {instructions[episode] for episode in chosen}
    charset = "".join(sorted(set("".join(texts)))) or " "
    root = dataset.header.space.root
    extras = shared_columns(dataset.header.extras)
    extra_values = (
        {episode: dataset.extras(episode) for episode in chosen} if any(e.kind != "array" for e in extras) else {}
    )
    folder.mkdir(parents=True)
    storage = MinariStorage.new(
        folder,
        observation_space=gymnasium.spaces.Dict(
            image=gymnasium.spaces.Box(0, 255, dataset.header.frame_shape, np.uint8),
            mission=gymnasium.spaces.Text(max(1, *map(len, texts)), min_length=0, charset=charset),
            **spaces_of(extras, list(extra_values.values())),
        ),
        action_space=space_of(root),
        env_spec=_registration(task),
        jpeg_encoding=False,
    )
    storage.update_metadata(
        {
            "dataset_id": identity,
            "algorithm_name": dataset[chosen[0]].expert,
            "description": str(dataset.header.recipe.get("description", "")),
            "minari_version": minari.__version__,
            TASK_KEY: task,
            **describe(extras),
        }
    )
    buffers: list[Any] = []
    for episode in chosen:
        buffers.append(_buffer(root, dataset[episode], observations_of(extras, dataset.extras(episode))))
        if sum(len(buffer.rewards) for buffer in buffers) >= CHUNK_FRAMES or episode == chosen[-1]:
            storage.update_episodes(buffers)
            buffers = []


def _registration(task: str) -> Any:
    """What Gymnasium knows of the task, where that can be written as text."""
    found = gymnasium.registry.get(task.rpartition(":")[2])
    try:
        return found if found and found.to_json() else None
    except ValueError:  # it names a class, not where to import it from
        return None


def _buffer(root: Node, episode: Episode, extra_values: dict[str, Any]) -> Any:
    from minari.data_collector import EpisodeBuffer

    return EpisodeBuffer(
        seed=episode.seed,
        observations={"image": episode.frames, "mission": [episode.instruction] * (len(episode) + 1), **extra_values},
        actions=batch(root, episode.actions),
        rewards=episode.rewards.tolist(),
        terminations=_last(len(episode), episode.terminated),
        truncations=_last(len(episode), episode.truncated),
        infos={"is_success": np.array(_last(len(episode) + 1, episode.success))},
    )


def _last(count: int, value: bool) -> list[bool]:
    return [False] * (count - 1) + [value]
