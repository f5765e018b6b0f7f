"""Reading a dataset: episodes, windows of steps at random, columns, outcomes. Knows no writer."""

import warnings
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentgym.data.episode import Episode
from agentgym.data.store.files import is_folder, locate, reaching, shard_files, shard_number
from agentgym.data.store.format import FormatError, Header, Row, count_outcomes
from agentgym.data.store.shard import Shard
from agentgym.data.store.steps import decode_steps
from agentgym.errors import UserError
from agentgym.files import LARGEST_SETTINGS, read_json
from agentgym.spaces.values import Actions

REMOTE_AT_ONCE = 16  # shards that are opened elsewhere at once
OF_A_SAMPLE = ("instruction", "terminated", "truncated", "success", "seed", "task", "expert", "versions")


class EpisodeDataset:
    """Reads a dataset folder: `dataset[i]` is an Episode, `len(dataset)` how many there are.

    The folder may be anywhere that fsspec reaches (`hf://datasets/org/name`, `s3://...`); of shards there, what is read
    is fetched, and nothing else. Raises UserError when it is missing or
    empty, or lacks a shard; reading an episode that is damaged raises a UserError that names it, and the others stay
    readable. A shard that cannot be opened at all is left out with a warning, and named in `lost`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = locate(path)
        if not is_folder(self.path):
            here = isinstance(self.path, Path)
            remedy = "'agentgym collect RECIPE' records one" if here else "or it is private: log in ('hf auth login')"
            raise UserError(f"{self.path}: there is no such dataset folder; {remedy}")
        files = shard_files(self.path)
        if not files:
            raise UserError(f"{self.path}: holds no episodes; 'agentgym collect RECIPE' records some")
        check_no_shard_is_missing(self.path, len(files))
        self.shards, self.lost = _open_shards(files)
        self._index()
        self.part_starts = [0, len(self)]  # where the episodes of each part of a joined dataset begin, and the end

    @staticmethod
    def join(datasets: Sequence["EpisodeDataset"]) -> "EpisodeDataset":
        """Several datasets as one, their episodes one after another. Raises UserError when they differ."""
        check_same_format(datasets)
        joined = copy(datasets[0])
        joined.shards = [shard for dataset in datasets for shard in dataset.shards]
        joined.lost = tuple(line for dataset in datasets for line in dataset.lost)
        joined.part_starts = np.cumsum([0, *map(len, datasets)]).tolist()
        joined._index()
        return joined

    def seen_by(self, camera: str) -> "EpisodeDataset":
        """The same episodes, with an extra column of pictures in the place of the frames.

        Its recipe says so by `suite.frame.camera`. Raises UserError when there is no such column.
        """
        cameras = {extra.name: extra.shape for extra in self.header.extras if extra.is_camera}
        if camera not in cameras:
            known = f"it has {', '.join(cameras)}" if cameras else "its only pictures are its frames"
            raise UserError(f"{self.path}: has no camera '{camera}'; {known}")
        height, width, channels = cameras[camera]
        recipe = dict(self.header.recipe)
        if "suite" in recipe:
            recipe["suite"] = {**recipe["suite"], "frame": {"camera": camera}}
        header = replace(self.header, frame_shape=(height, width, channels), recipe=recipe)
        seen = copy(self)
        seen.shards = [shard.seen_by(header, camera) for shard in self.shards]
        seen._index()
        return seen

    def _index(self) -> None:
        self.header = self.shards[0].header
        self._starts = np.cumsum([0, *(len(shard) for shard in self.shards)])
        self.lengths: NDArray[np.int64] = np.concatenate([shard.lengths for shard in self.shards])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, episode: int) -> Episode:
        return self.steps(episode, 0, int(self.lengths[episode]))

    def __iter__(self) -> Iterator[Episode]:
        return (self[episode] for episode in range(len(self)))

    def steps(self, episode: int, start: int, stop: int) -> Episode:
        """Steps [start, stop) of an episode, reading only their frames: stop - start actions and one frame more.

        Raises IndexError when there is no such episode, and UserError when what is read is damaged.
        """
        shard, row = self._locate(episode)
        values = shard.plain(row, OF_A_SAMPLE) | shard.steps(row, start, stop)
        actions, labels = self._series(values)
        last = stop == int(self.lengths[episode])
        return Episode(
            instruction=values["instruction"],
            frames=shard.frames(row, start, stop + 1),
            actions=actions,
            rewards=np.array(values["rewards"], dtype=np.float64),
            terminated=values["terminated"] and last,
            truncated=values["truncated"] and last,
            success=values["success"],
            seed=values["seed"],
            task=values["task"],
            expert=values["expert"],
            versions=values["versions"],
            labels=labels,
        )

    def frames(self, episode: int, start: int, stop: int) -> NDArray[np.uint8]:
        """Frames [start, stop) of an episode, uint8[stop - start, H, W, 3]. Raises UserError when one is damaged."""
        shard, row = self._locate(episode)
        return shard.frames(row, start, stop)

    def fill(self, found: NDArray[np.uint8], episode: int, start: int) -> None:
        """Fills `found`, uint8[n, H, W, 3], with an episode's frames from `start` on, without a copy of them.

        Raises UserError when one is damaged.
        """
        shard, row = self._locate(episode)
        shard.fill(found, row, start)

    def actions(self, episode: int, start: int, stop: int) -> tuple[Actions, Actions | None]:
        """The executed actions of steps [start, stop), and the expert's labels where it has labels.

        They are arrays [stop - start, *shape] in the dtype of the space; tuples where an action is not an array. Raises
        UserError when they are damaged.
        """
        shard, row = self._locate(episode)
        return self._series(shard.steps(row, start, stop))

    def _series(self, values: Row) -> tuple[Actions, Actions | None]:
        space = self.header.space.root
        labels = decode_steps(space, values["labels"]) if values["labels"] else None
        return decode_steps(space, values["actions"]), labels

    def extras(self, episode: int) -> dict[str, Any]:
        """What was recorded in addition to the frames, one value a frame: arrays, texts, and JsonText of other values.

        Raises UserError when it is damaged.
        """
        shard, row = self._locate(episode)
        return shard.extras(row)

    def extra(self, episode: int, name: str, start: int, stop: int) -> NDArray[Any]:
        """Values [start, stop) of one such column of arrays, [stop - start, *shape] in its own dtype."""
        shard, row = self._locate(episode)
        return shard.extra(row, name, start, stop)

    def row(self, episode: int, columns: Sequence[str]) -> dict[str, Any]:
        """Some columns of an episode as plain values, unverified."""
        shard, row = self._locate(episode)
        return shard.row(row, columns)

    def column(self, name: str) -> list[Any]:
        """One value for each episode: a scalar column such as "instruction", or the list column "actions".

        Unlike episodes it is read without being verified.
        """
        return [value for shard in self.shards for value in shard.column(name)]

    def windows(self, length: int) -> "Windows":
        """Random access to the windows of at most `length` steps; every step is in exactly one of them."""
        return Windows(self, length)

    def outcomes(self) -> dict[str, int]:
        """The number of attempts by outcome: "solved", "failed", "error" or "timeout"."""
        return count_outcomes(attempt for shard in self.shards for attempt in shard.attempts)

    def seeds(self, task: str) -> set[int]:
        """Every seed of a task that was tried, kept or not."""
        return {attempt.seed for shard in self.shards for attempt in shard.attempts if attempt.task == task}

    def _locate(self, episode: int) -> tuple[Shard, int]:
        if not 0 <= episode < len(self):
            raise IndexError(f"episode {episode} of {len(self)}")
        shard = bisect_right(self._starts, episode) - 1
        return self.shards[shard], episode - int(self._starts[shard])


class Windows(Sequence[Episode]):
    """The windows of a dataset, in order of episode and step; none crosses an episode."""

    def __init__(self, dataset: EpisodeDataset, length: int) -> None:
        self.dataset = dataset
        self.table = window_table(dataset.lengths, length)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: Any) -> Any:
        episode, start, stop = self.table[index].tolist()
        return self.dataset.steps(episode, start, stop)


def window_table(lengths: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """int64[windows, 3]: episode, first step and the step after the last one, of windows of at most `length` steps."""
    counts = -(-lengths // length)
    episodes = np.repeat(np.arange(len(lengths)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    starts = (np.arange(len(episodes)) - first) * length
    stops = np.minimum(starts + length, lengths[episodes])
    return np.stack([episodes, starts, stops], axis=1).astype(np.int64)


def _open_shards(files: Sequence[Path]) -> tuple[list[Shard], tuple[str, ...]]:
    """The shards that can be opened, and one line for each that cannot. Raises UserError when none can."""
    shards: list[Shard] = []
    lost: list[UserError] = []
    for opened in _opened(files):
        if isinstance(opened, UserError):
            lost.append(opened)
        else:
            shards.append(opened)
    if not shards:
        raise lost[0]
    for loss in lost:
        warnings.warn(f"left out: {loss}", stacklevel=3)
    return shards, tuple(map(str, lost))


def _opened(files: Sequence[Path]) -> Iterator[Shard | UserError]:
    """Each shard, or why it cannot be opened; those that are elsewhere are opened several at once, to wait once."""
    if isinstance(files[0], Path):
        yield from map(_try_to_open, files)
        return
    with ThreadPoolExecutor(REMOTE_AT_ONCE) as pool:
        yield from pool.map(_try_to_open, files)


def _try_to_open(file: Path) -> Shard | UserError:
    try:
        return Shard(file)
    except FormatError:
        raise
    except UserError as error:
        return error


def check_same_format(datasets: Sequence[EpisodeDataset]) -> None:
    """Raises UserError when datasets differ in actions, in the shape of frames, or in how they are drawn."""
    first = datasets[0]
    for other in datasets[1:]:
        columns = ("extras", "extra columns")
        for what, word in (("space", "actions"), ("frame_shape", "frame shape"), columns):
            if getattr(other.header, what) != getattr(first.header, what):
                raise UserError(
                    f"{other.path}: its {word} is not that of {first.path}; merge only datasets of one kind"
                )
        if _drawing(other.header) != _drawing(first.header):
            raise UserError(f"{other.path}: its frames are drawn otherwise (suite.frame) than those of {first.path}")


def _drawing(header: Header) -> Any:
    return header.recipe.get("suite", {}).get("frame")


def check_no_shard_is_missing(path: Path, found: int) -> None:
    """Raises UserError when a shard that the numbering or the manifest expects is missing."""
    expected = shard_number(shard_files(path)[-1]) + 1
    manifest = path / "manifest.json"
    with reaching(path):
        there = manifest.is_file()
    if there:
        try:
            expected = max(expected, len(read_json(manifest, dict, most=LARGEST_SETTINGS)["shards"]))
        except (TypeError, KeyError):
            raise UserError(f"{manifest}: not readable; delete it, it is made again from the shards") from None
    if found < expected:
        raise UserError(
            f"{path}: {expected - found} of {expected} shards are missing; "
            f"'agentgym check {path} --repair' keeps those that are there"
        )
