"""Writing a dataset: episodes gathered into shards, each of which is there whole or not at all."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout

from agentgym.data.episode import Episode
from agentgym.data.store.blocks import CompressedFrames, FrameEncoder, encode_blocks
from agentgym.data.store.files import shard_file, shard_files
from agentgym.data.store.format import FORMAT, Attempt, Header, Row, count_outcomes, encode_row, schema_of, write_shard
from agentgym.data.store.shard import Shard
from agentgym.errors import UserError
from agentgym.files import replace_file


class DatasetWriter:
    """Appends episodes to a dataset folder; what `commit` has returned from is safe from a crash.

    An appended episode is committed `commit_seconds` later at the latest, by a timer, whether or not another one
    follows: a crash costs at most that long, and the episode in hand. One writer at a time: a second one is refused
    with a UserError, as is a header that is not the folder's. A full disk is a UserError too; what is committed stays
    whole.
    """

    def __init__(self, path: str | Path, header: Header, *, commit_seconds: float = 2.0) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(self.path)
        self._header = header
        self._commit_seconds = commit_seconds
        self._waiting: list[Episode] = []  # their frames as blocks
        self._rows: list[Row] = []
        self._attempts: list[Attempt] = []
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

    def append(self, sample: Episode) -> None:
        """Takes an episode; it is on disk after the next commit."""
        if not isinstance(sample.frames, CompressedFrames):
            encoded: Any = CompressedFrames(encode_blocks(sample.frames), sample.frames.shape)
            sample = replace(sample, frames=encoded)
        with self._turn:
            self._waiting.append(sample)
            if self._commit_seconds <= 0:
                self.commit()
            elif self._timer is None:
                self._timer = threading.Timer(self._commit_seconds, self._commit_late)
                self._timer.daemon = True
                self._timer.start()
            elif self._timer.finished.is_set():  # it could not commit: the caller hears why
                self.commit()

    def append_encoded(self, rows: Sequence[Row], attempts: Sequence[Attempt]) -> None:
        """Takes encoded episodes and the attempts they came from (some of which may have left no episode)."""
        with self._turn:
            self._encode_waiting()
            self._rows += rows
            self._attempts += attempts

    def commit(self) -> None:
        """Makes everything appended so far durable, as one shard. Raises UserError when the disk does not take it."""
        with self._turn:
            self._encode_waiting()
            if self._attempts:
                self.commit_table(
                    pa.Table.from_pylist(self._rows, schema=schema_of(self._header.space)), self._attempts
                )
                self._rows, self._attempts = [], []
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def commit_table(self, episodes: pa.Table, attempts: Sequence[Attempt]) -> None:
        """Makes rows of another dataset durable as one shard, their frames as they are."""
        with self._turn:
            file = shard_file(self.path, len(self._shards))
            with self._disk_errors(len(episodes)):
                write_shard(file, self._header, episodes, attempts)
            self._shards.append(Shard(file))

    def close(self) -> None:
        """Commits, writes the manifest and lets the next writer in, even when the disk is full."""
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
        self._rows += [encode_row(sample) for sample in self._waiting]
        self._attempts += [Attempt(s.task, s.seed, "solved" if s.success else "failed") for s in self._waiting]
        self._waiting = []

    def _commit_late(self) -> None:
        with suppress(UserError):  # the next append or close meets the same and says it
            self.commit()

    @contextmanager
    def _disk_errors(self, waiting: int) -> Iterator[None]:
        """What the disk refuses becomes one line with what is safe and what is not."""
        try:
            yield
        except OSError as error:
            committed = sum(len(shard) for shard in self._shards)
            lost = f", {waiting:,} could not be written" if waiting else ""
            raise UserError(
                f"{self.path}: {error.strerror or error}; {committed:,} episodes are committed and whole{lost}; "
                "make room and run the same command again"
            ) from None

    def attempts(self) -> list[Attempt]:
        """Every attempt committed so far, by whichever writer."""
        return [attempt for shard in self._shards for attempt in shard.attempts]

    def __enter__(self) -> "DatasetWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def lock_folder(path: Path) -> FileLock:
    """The lock that whoever changes a dataset holds. Raises UserError while another holds it."""
    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{path}: another process is writing to this dataset; wait for it to end") from None
    return lock


def write_manifest(path: Path, shards: Sequence[Shard]) -> None:
    """The manifest says what these shards hold."""
    replace_file(path / "manifest.json", json.dumps(_manifest(shards), indent=2) + "\n")


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
