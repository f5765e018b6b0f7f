"""A dataset on disk: Arrow shards of whole episodes that appear at once, and a manifest that can be derived from them.

    data/NAME/shard-000000.arrow   one row an episode: scalars, and lists of PNG frames, actions and rewards
    data/NAME/manifest.json        what the shards hold, for people and for a quick look

A shard is written to a temporary name, synced, then renamed: it is there whole or not at all. Frames are lossless PNG,
so any Arrow reader and any picture viewer can read them. A window of steps is found by its offsets in the memory-mapped
file, whatever the length of its episode. Each row carries a checksum. This module knows no environment and no model.
"""

import json
import os
import re
import time
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from PIL import Image

from agentgym.actions import ActionCodec
from agentgym.errors import UserError
from agentgym.samples import Sample

FORMAT = "1.0"  # readers take any 1.x: a new minor number adds columns, a new major one changes what there is
OUTCOMES = ("solved", "failed", "error", "timeout")
METADATA_KEY, METADATA_CRC_KEY = b"agentgym", b"agentgym.crc32"

SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("instruction", pa.string()),
        ("seed", pa.int64()),
        ("expert", pa.string()),
        ("success", pa.bool_()),
        ("terminated", pa.bool_()),
        ("truncated", pa.bool_()),
        ("length", pa.int64()),
        ("total_reward", pa.float64()),
        ("frames", pa.list_(pa.binary())),
        ("actions", pa.list_(pa.int64())),
        ("rewards", pa.list_(pa.float64())),
        ("versions", pa.string()),
        ("crc32", pa.uint32()),
    ]
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Attempt:
    """One seed that was tried, and what became of it (one of OUTCOMES), kept or not."""

    task: str
    seed: int
    outcome: str


@dataclass(frozen=True)
class Header:
    """What is the same for every episode of a dataset."""

    codec: ActionCodec
    frame_shape: tuple[int, int, int]
    recipe: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        codec = {"names": list(self.codec.names), "start": self.codec.start}
        return {"format": FORMAT, "actions": codec, "frame_shape": list(self.frame_shape), "recipe": dict(self.recipe)}

    @staticmethod
    def from_json(values: Mapping[str, Any], path: Path) -> "Header":
        """From plain values. Raises UserError for a format that this version does not read."""
        if values["format"].split(".")[0] != FORMAT.split(".")[0]:
            raise UserError(
                f"{path}: format {values['format']}; this agentgym reads {FORMAT}: install a version that fits"
            )
        codec = ActionCodec(tuple(values["actions"]["names"]), values["actions"]["start"])
        height, width, channels = values["frame_shape"]
        return Header(codec, (height, width, channels), values["recipe"])


def encode_row(sample: Sample) -> Row:
    """A sample as a row of a shard, its frames as PNG."""
    row: Row = {
        "task": sample.task,
        "instruction": sample.instruction,
        "seed": sample.seed,
        "expert": sample.expert,
        "success": sample.success,
        "terminated": sample.terminated,
        "truncated": sample.truncated,
        "length": len(sample),
        "total_reward": sample.total_reward,
        "frames": [encode_frame(frame) for frame in sample.frames],
        "actions": sample.actions.tolist(),
        "rewards": sample.rewards.tolist(),
        "versions": json.dumps(dict(sample.versions), sort_keys=True),
    }
    return {**row, "crc32": _checksum(row)}


def encode_frame(frame: NDArray[np.uint8]) -> bytes:
    """uint8[height, width, 3] as PNG."""
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, "png", compress_level=6)
    return buffer.getvalue()


def decode_frame(encoded: bytes) -> NDArray[np.uint8]:
    """PNG as uint8[height, width, 3]."""
    return np.asarray(Image.open(BytesIO(encoded)))


def _checksum(row: Row) -> int:
    """CRC-32 over everything in the row but the checksum itself."""
    plain = {key: value for key, value in row.items() if key not in ("frames", "crc32")}
    total = zlib.crc32(json.dumps(plain, sort_keys=True).encode())
    for frame in row["frames"]:
        total = zlib.crc32(frame, total)
    return total


class DatasetWriter:
    """Appends episodes to a dataset folder; what `commit` has returned from is safe from a crash.

    `append` commits by itself once the oldest waiting episode is `commit_seconds` old. One writer at a time: a second
    one is refused with a UserError, as is a header that is not the folder's.
    """

    def __init__(self, path: str | Path, header: Header, *, commit_seconds: float = 2.0) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.path / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"{self.path}: another process is writing to this dataset; wait for it to end") from None
        self._header = header
        self._commit_seconds = commit_seconds
        self._rows: list[Row] = []
        self._attempts: list[Attempt] = []
        self._oldest: float | None = None
        for leftover in self.path.glob("*.tmp"):
            leftover.unlink()
        try:
            self._shards = [Shard(file) for file in _shard_files(self.path)]
            for shard in self._shards:
                if shard.header != header:
                    raise UserError(
                        f"{self.path}: holds episodes of another recipe or action space; choose another folder"
                    )
        except UserError:
            self._lock.release()
            raise

    def append(self, sample: Sample) -> None:
        """Takes an episode; it is on disk after the next commit."""
        outcome = "solved" if sample.success else "failed"
        self.append_encoded([encode_row(sample)], [Attempt(sample.task, sample.seed, outcome)])
        if self._oldest is not None and time.monotonic() - self._oldest >= self._commit_seconds:
            self.commit()

    def append_encoded(self, rows: Sequence[Row], attempts: Sequence[Attempt]) -> None:
        """Takes encoded episodes and the attempts they came from (some of which may have left no episode)."""
        self._oldest = self._oldest or time.monotonic()
        self._rows += rows
        self._attempts += attempts

    def commit(self) -> None:
        """Makes everything appended so far durable, as one shard."""
        if not self._attempts:
            return
        attempts = [[a.task, a.seed, a.outcome] for a in self._attempts]
        values = json.dumps({**self._header.to_json(), "attempts": attempts}).encode()
        schema = SCHEMA.with_metadata({METADATA_KEY: values, METADATA_CRC_KEY: str(zlib.crc32(values))})
        batch = pa.RecordBatch.from_pylist(self._rows, schema=schema)
        file = self.path / f"shard-{len(self._shards):06d}.arrow"
        temporary = file.with_suffix(".tmp")
        with temporary.open("wb") as stream:
            with pa.ipc.new_file(stream, schema) as writer:
                writer.write_batch(batch)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(file)
        _sync_folder(self.path)
        self._shards.append(Shard(file))
        self._rows, self._attempts, self._oldest = [], [], None

    def close(self) -> None:
        """Commits, writes the manifest and lets the next writer in."""
        self.commit()
        replace_file(self.path / "manifest.json", json.dumps(_manifest(self.path, self._shards), indent=2) + "\n")
        self._lock.release()

    def attempts(self) -> list[Attempt]:
        """Every attempt committed so far, by whichever writer."""
        return [attempt for shard in self._shards for attempt in shard.attempts]

    def __enter__(self) -> "DatasetWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Shard:
    """One memory-mapped shard. Raises UserError when the file is cut short or is no shard."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(file)))
            values = _read_metadata(reader.schema)
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            self.table = pa.Table.from_batches(batches, reader.schema).combine_chunks()
            self.table.validate(full=True)  # a wrong offset would be read as an address
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{file}: not a whole shard ({reason}); 'agentgym check {file.parent}' says what is lost"
            ) from None
        self.header = Header.from_json(values, file)
        self.attempts = [Attempt(task, seed, outcome) for task, seed, outcome in values["attempts"]]
        self.lengths: NDArray[np.int64] = self.table["length"].to_numpy()
        if len(self.table):
            frames = self.table["frames"].chunk(0)
            self._first_frames = frames.offsets.to_numpy()
            self._frames = frames.values

    def __len__(self) -> int:
        return len(self.table)

    def frames(self, row: int, start: int, stop: int) -> NDArray[np.uint8]:
        """Frames [start, stop) of an episode, uint8[stop - start, height, width, 3]."""
        first = self._first_frames[row]
        return np.stack([decode_frame(self._frames[int(first) + t].as_py()) for t in range(start, stop)])

    def row(self, row: int, columns: Sequence[str]) -> Row:
        """Some columns of an episode as plain values."""
        return {column: self.table[column][row].as_py() for column in columns}

    def verify(self, row: int) -> bool:
        """Whether the episode is what was written."""
        values = self.row(row, SCHEMA.names)
        return bool(_checksum(values) == values["crc32"])


class SampleDataset:
    """Reads a dataset folder: `dataset[i]` is an episode as a Sample, `len(dataset)` how many there are.

    Raises UserError when the folder is missing, empty or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise UserError(f"{self.path}: there is no such dataset folder; 'agentgym collect RECIPE' records one")
        files = _shard_files(self.path)
        if not files:
            raise UserError(f"{self.path}: holds no episodes; 'agentgym collect RECIPE' records some")
        self.shards = [Shard(file) for file in files]
        _refuse_missing_shards(self.path, len(files))
        self.header = self.shards[0].header
        self._starts = np.cumsum([0, *(len(shard) for shard in self.shards)])
        self.lengths: NDArray[np.int64] = np.concatenate([shard.lengths for shard in self.shards])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, episode: int) -> Sample:
        return self.steps(episode, 0, int(self.lengths[episode]))

    def __iter__(self) -> Iterator[Sample]:
        return (self[episode] for episode in range(len(self)))

    def steps(self, episode: int, start: int, stop: int) -> Sample:
        """Steps [start, stop) of an episode, reading only their frames."""
        shard, row = self._locate(episode)
        values = shard.row(row, [c for c in SCHEMA.names if c not in ("frames", "crc32", "length", "total_reward")])
        last = stop == self.lengths[episode]
        return Sample(
            instruction=values["instruction"],
            frames=shard.frames(row, start, stop + 1),
            actions=np.array(values["actions"][start:stop], dtype=np.int64),
            rewards=np.array(values["rewards"][start:stop], dtype=np.float64),
            terminated=values["terminated"] and last,
            truncated=values["truncated"] and last,
            success=values["success"],
            seed=values["seed"],
            task=values["task"],
            expert=values["expert"],
            versions=json.loads(values["versions"]),
        )

    def frames(self, episode: int, start: int, stop: int) -> NDArray[np.uint8]:
        """Frames [start, stop) alone."""
        shard, row = self._locate(episode)
        return shard.frames(row, start, stop)

    def column(self, name: str) -> list[Any]:
        """One value for each episode: a scalar column such as "instruction", or the list column "actions"."""
        return [value for shard in self.shards for value in shard.table[name].to_pylist()]

    def windows(self, length: int) -> "Windows":
        """Random access to the windows of at most `length` steps; every step is in exactly one of them."""
        return Windows(self, length)

    def outcomes(self) -> dict[str, int]:
        """How many attempts ended how."""
        return count_outcomes(attempt for shard in self.shards for attempt in shard.attempts)

    def seeds(self, task: str) -> set[int]:
        """Every seed of a task that was tried, kept or not."""
        return {attempt.seed for shard in self.shards for attempt in shard.attempts if attempt.task == task}

    def _locate(self, episode: int) -> tuple[Shard, int]:
        if not 0 <= episode < len(self):
            raise IndexError(f"episode {episode} of {len(self)}")
        shard = bisect_right(self._starts, episode) - 1
        return self.shards[shard], episode - int(self._starts[shard])


class Windows(Sequence[Sample]):
    """The windows of a dataset, in order of episode and step; none crosses an episode."""

    def __init__(self, dataset: SampleDataset, length: int) -> None:
        self.dataset = dataset
        self.table = window_table(dataset.lengths, length)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: Any) -> Any:
        episode, start, stop = (int(value) for value in self.table[index])
        return self.dataset.steps(episode, start, stop)


def window_table(lengths: NDArray[np.int64], length: int, kept: int = 0) -> NDArray[np.int64]:
    """int64[windows, 3]: episode, first step and the step after the last one, of windows of at most `length` steps.

    Each window begins with the last `kept` steps of the one before.
    """
    rows = [
        (episode, start, min(start + length, int(steps)))
        for episode, steps in enumerate(lengths)
        for start in range(0, int(steps), length - kept)
        if start == 0 or start + kept < steps
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def check(path: str | Path) -> list[str]:
    """What is wrong with a dataset, one line for each problem; nothing when it is whole."""
    path = Path(path)
    if not path.is_dir() or not _shard_files(path):
        SampleDataset(path)  # says what is wrong
    problems = []
    for file in _shard_files(path):
        try:
            shard = Shard(file)
            bad = [row for row in range(len(shard)) if not shard.verify(row)]
        except UserError as error:
            problems.append(f"{file}: every episode in it is lost: {error}")
            continue
        problems += [
            f"{file}: episode {row} (seed {shard.table['seed'][row]}) is damaged: wrong checksum" for row in bad
        ]
    try:
        _refuse_missing_shards(path, len(_shard_files(path)))
    except UserError as error:
        problems.append(str(error))
    return problems


def count_outcomes(attempts: Iterator[Attempt] | Sequence[Attempt]) -> dict[str, int]:
    """How many attempts ended in each of OUTCOMES."""
    counts = Counter(attempt.outcome for attempt in attempts)
    return {outcome: counts[outcome] for outcome in OUTCOMES}


def _read_metadata(schema: pa.Schema) -> Any:
    """What is the same for all rows of a shard. Raises KeyError, TypeError or ValueError when the schema is damaged."""
    encoded = schema.metadata[METADATA_KEY]
    if zlib.crc32(encoded) != int(schema.metadata[METADATA_CRC_KEY]):
        raise ValueError("its header has a wrong checksum")
    for field in SCHEMA:
        if schema.field(field.name).type != field.type:
            raise ValueError(f"column '{field.name}' is {schema.field(field.name).type}, not {field.type}")
    return json.loads(encoded)


def _shard_files(path: Path) -> list[Path]:
    return sorted(file for file in path.glob("shard-*.arrow") if re.fullmatch(r"shard-\d{6,}\.arrow", file.name))


def _refuse_missing_shards(path: Path, found: int) -> None:
    """Raises UserError when a shard that the numbering or the manifest speaks of is not there."""
    expected = int(_shard_files(path)[-1].stem.split("-")[1]) + 1
    manifest = path / "manifest.json"
    if manifest.is_file():
        try:
            expected = max(expected, len(json.loads(manifest.read_text())["shards"]))
        except (ValueError, KeyError):
            raise UserError(f"{manifest}: not readable; delete it, it is made again from the shards") from None
    if found < expected:
        raise UserError(f"{path}: {expected - found} of {expected} shards are missing; record the dataset again")


def _manifest(path: Path, shards: Sequence[Shard]) -> dict[str, Any]:
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


def replace_file(file: Path, text: str) -> None:
    """The file holds the text, or what it held before, whatever happens."""
    temporary = file.with_name(file.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
    _sync_folder(file.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
