"""Writing a dataset: episodes gathered into shards, each of which is there whole or not at all."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
from filelock import FileLock

from agentgym import folders
from agentgym.data.episode import Episode
from agentgym.data.store.blocks import FrameEncoder
from agentgym.data.store.files import shard_file, shard_files, shard_number
from agentgym.data.store.fitting import fit
from agentgym.data.store.format import (
    FORMAT,
    STEP_COLUMNS,
    Attempt,
    Header,
    Row,
    count_outcomes,
    encode_row,
    write_shard,
)
from agentgym.data.store.shard import Shard
from agentgym.errors import UserError
from agentgym.files import replace_file, to_json

SHARD_BYTES = 2**28  # of values; Arrow counts the bytes of a column in int32


class DatasetWriter:
    """Appends episodes to a dataset folder. What is committed survives a crash.

    An appended episode is committed after at most `commit_seconds` seconds, by a timer, whether or not another one
    follows: a crash costs at most that long, and the current episode. An episode that does not fit the header is
    refused by `append` and costs no other. A writer belongs to the process that opened it: environments in other
    processes cannot use it.

    Raises UserError when another writer has the folder, when the folder has another header, and when the disk is
    full; what is committed stays whole.
    """

    def __init__(
        self, path: str | Path, header: Header, *, commit_seconds: float = 2.0, all_or_nothing: bool = False
    ) -> None:
        """With `all_or_nothing`, a failed commit leaves nothing in the folder, and the disk's error is an OSError."""
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(self.path)
        self._header = header
        self._commit_seconds = commit_seconds
        self._all_or_nothing = all_or_nothing
        self._waiting: list[Episode] = []  # their frames as blocks
        self._rows: list[Row] = []
        self._attempts: list[Attempt] = []
        self._process = os.getpid()
        self._turn = threading.RLock()  # the timer's thread commits too
        self._timer: threading.Timer | None = None
        for leftover in self.path.glob("*.tmp"):
            leftover.unlink()
        try:
            self._shards = [Shard(file) for file in shard_files(self.path)]
            for shard in self._shards:
                if shard.header != header:
                    raise UserError(
                        f"{self.path}: holds episodes of another recipe or action space; choose another folder"
                    )
        except UserError:
            self._lock.release()
            raise

    def frame_buffer(self) -> FrameEncoder:
        """Frames of an episode in the making, encoded on the way: they need little memory, however many."""
        return FrameEncoder()

    def append(self, episode: Episode) -> None:
        """Takes an episode; it is on disk after the next commit. Raises UnfitEpisodeError."""
        self._check_process()
        fitting = fit(episode, self._header)
        with self._turn:
            self._waiting.append(fitting)
            if self._commit_seconds <= 0:
                self.commit()
            elif self._timer is None:
                self._timer = threading.Timer(self._commit_seconds, self._commit_late)
                self._timer.daemon = True
                self._timer.start()
            elif self._timer.finished.is_set():  # it could not commit: the caller hears why
                self.commit()

    def append_encoded(self, rows: Sequence[Row], attempts: Sequence[Attempt]) -> None:
        """Takes encoded episodes that `fit`, and the attempts they came from, of which some may have left none."""
        self._check_process()
        with self._turn:
            self._encode_waiting()
            self._rows += rows
            self._attempts += attempts

    def commit(self) -> None:
        """Makes everything appended so far durable. Raises UserError when the disk is full or refuses it.

        That is one shard, or several, none larger than SHARD_BYTES and one episode.
        """
        with self._turn:
            self._encode_waiting()
            while self._attempts:
                rows, attempts = count_for_a_shard(self._rows, self._attempts)
                table = pa.Table.from_pylist(self._rows[:rows], schema=self._header.schema)
                self.commit_table(table, self._attempts[:attempts])
                del self._rows[:rows], self._attempts[:attempts]
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def commit_table(self, episodes: pa.Table, attempts: Sequence[Attempt]) -> None:
        """Makes rows of another dataset durable as one shard, their frames as they are."""
        with self._turn:
            last = self._shards[-1].file if self._shards else None
            file = shard_file(self.path, 0 if last is None else shard_number(last) + 1)  # never another one's place
            with self._disk_errors(len(episodes)):
                write_shard(file, self._header, episodes, attempts)
            self._shards.append(Shard(file))

    def close(self) -> None:
        """Commits, writes the manifest and releases the lock, also when the disk is full."""
        try:
            self.commit()
            with self._disk_errors(0):
                write_manifest(self.path, self._shards)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._lock.release()

    def _encode_waiting(self) -> None:
        """All at once, which takes half the time of one after each episode: what that takes stays in the cache."""
        self._rows += [encode_row(episode, self._header.extras) for episode in self._waiting]
        self._attempts += [Attempt(s.task, s.seed, "solved" if s.success else "failed") for s in self._waiting]
        self._waiting = []

    def _commit_late(self) -> None:
        with suppress(UserError, OSError):  # the next append or close meets the same and says it
            self.commit()

    @contextmanager
    def _disk_errors(self, waiting: int) -> Iterator[None]:
        """Raises an error of the disk as one line that says what is safe and what is not."""
        try:
            yield
        except OSError as error:
            if self._all_or_nothing:
                raise
            committed = sum(len(shard) for shard in self._shards)
            lost = f", {waiting:,} could not be written" if waiting else ""
            raise UserError(
                f"{self.path}: {error.strerror or error}; {committed:,} episodes are committed and whole{lost}; "
                "make room and run the same command again"
            ) from None

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise self._in_another_process()

    def _in_another_process(self) -> UserError:
        return UserError(
            f"{self.path}: a DatasetWriter serves the process that opened it; step the environments in this process "
            "(VectorRecorder, DummyVecEnv), or let each process write a folder of its own and merge them"
        )

    def __reduce__(self) -> NoReturn:
        raise self._in_another_process()  # it is about to be sent to one

    def attempts(self) -> list[Attempt]:
        """Every attempt committed so far, by any writer."""
        return [attempt for shard in self._shards for attempt in shard.attempts]

    def __enter__(self) -> "DatasetWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def count_for_a_shard(rows: Sequence[Row], attempts: Sequence[Attempt]) -> tuple[int, int]:
    """The number of rows, and of their attempts in that order, that go into one shard."""
    size = 0
    for count, row in enumerate(rows, start=1):
        size += _bytes_of(row)
        if size >= SHARD_BYTES and count < len(rows):
            places = (place for place, a in enumerate(attempts) if (a.task, a.seed) == (row["task"], row["seed"]))
            return count, next(places, len(attempts) - 1) + 1
    return len(rows), len(attempts)


def _bytes_of(row: Row) -> int:
    """About how many a row takes in a shard."""
    return sum(map(len, row["frames"])) + sum(_values_in(row[name]) for name in STEP_COLUMNS)


def _values_in(values: Any) -> int:
    """About how many bytes nested lists of numbers or texts take."""
    if isinstance(values, str):
        return len(values)
    if not isinstance(values, list):
        return 0 if values is None else 8
    return len(values) * _values_in(values[0]) if values else 0


def lock_folder(path: Path) -> FileLock:
    """The lock of the process that changes a dataset. Raises UserError while another holds it."""
    return folders.lock_folder(path, "another process is writing to this dataset; wait for it to end")


def write_manifest(path: Path, shards: Sequence[Shard]) -> None:
    """The manifest says what these shards hold."""
    replace_file(path / "manifest.json", to_json(_manifest(shards), indent=2) + "\n")


def _manifest(shards: Sequence[Shard]) -> dict[str, Any]:
    header = shards[0].header.to_json() if shards else {"format": FORMAT}
    return {
        **header,
        "episodes": sum(len(shard) for shard in shards),
        "steps": int(sum(shard.lengths.sum() for shard in shards)),
        "outcomes": count_outcomes([attempt for shard in shards for attempt in shard.attempts]),
        "shards": [
            {"file": shard.file.name, "episodes": len(shard), "bytes": shard.file.stat().st_size} for shard in shards
        ],
    }
