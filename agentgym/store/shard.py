"""One shard: an Arrow file of whole episodes, a row each, that is there whole or not at all.

Owns the format: schema, header, checksums, lossless PNG frames. A shard is written to a temporary name, synced, then
renamed. A window of steps is found by its offsets in the memory-mapped file, whatever the length of its episode. The
checksum of an episode is verified when it is first read. This module knows no folder, environment or model.
"""

import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from agentgym.actions import ActionCodec
from agentgym.errors import UserError
from agentgym.samples import Sample

FORMAT = "1.0"  # readers take any 1.x: a new minor number adds columns, a new major one changes what there is
OUTCOMES = ("solved", "failed", "error", "timeout")
METADATA_KEY, METADATA_CRC_KEY = b"agentgym", b"agentgym.crc32"
PNG: NDArray[np.uint8] = np.frombuffer(b"\x89PNG\r\n\x1a\n", np.uint8)  # how every frame begins

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
    return {**row, "crc32": checksum(row, b"".join(row["frames"]))}


def encode_frame(frame: NDArray[np.uint8]) -> bytes:
    """uint8[height, width, 3] as PNG."""
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, "png", compress_level=6)
    return buffer.getvalue()


def decode_frame(encoded: bytes) -> NDArray[np.uint8]:
    """PNG as uint8[height, width, 3]."""
    return np.asarray(Image.open(BytesIO(encoded)))


def checksum(row: Row, frames: bytes | memoryview) -> int:
    """CRC-32 over everything in the row but the checksum itself; `frames` are its PNG bytes in a row."""
    plain = {key: value for key, value in row.items() if key not in ("frames", "crc32")}
    return zlib.crc32(frames, zlib.crc32(json.dumps(plain, sort_keys=True).encode()))


def write_shard(file: Path, header: Header, episodes: pa.Table, attempts: Sequence[Attempt]) -> None:
    """The file is there with these episodes, whole and synced, or it is not there. Raises OSError."""
    tried = [[a.task, a.seed, a.outcome] for a in attempts]
    values = json.dumps({**header.to_json(), "attempts": tried}).encode()
    schema = SCHEMA.with_metadata({METADATA_KEY: values, METADATA_CRC_KEY: str(zlib.crc32(values))})
    columns = episodes.select(SCHEMA.names).replace_schema_metadata(schema.metadata).combine_chunks()
    temporary = file.with_suffix(".tmp")
    try:
        with temporary.open("wb") as stream:
            with pa.ipc.new_file(stream, schema) as writer:
                writer.write_table(columns)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(file)
    except OSError:
        temporary.unlink(missing_ok=True)  # on a full disk its room is needed
        raise
    sync_folder(file.parent)


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
                f"{file}: not a whole shard ({reason}); 'agentgym check {file.parent}' says what is lost, "
                "with --repair it keeps the rest"
            ) from None
        self.header = Header.from_json(values, file)
        self.attempts = [Attempt(task, seed, outcome) for task, seed, outcome in values["attempts"]]
        self.lengths: NDArray[np.int64] = self.table["length"].to_numpy()
        if len(self.table):
            frames = self.table["frames"].chunk(0)
            self._first_frames = frames.offsets.to_numpy()
            self._frames = frames.values
            _, offsets, encoded = self._frames.buffers()
            self._offsets: NDArray[np.int32] = np.frombuffer(offsets, np.int32)
            self._encoded: NDArray[np.uint8] = np.frombuffer(encoded, np.uint8)
        self._verified = np.zeros(len(self.table), bool)

    def __len__(self) -> int:
        return len(self.table)

    def frames(self, row: int, start: int, stop: int) -> NDArray[np.uint8]:
        """Frames [start, stop) of an episode, uint8[stop - start, height, width, 3]. Raises UserError if damaged."""
        self.require_whole(row)
        first = self._first_frames[row]
        return np.stack([decode_frame(self._frames[int(first) + t].as_py()) for t in range(start, stop)])

    def row(self, row: int, columns: Sequence[str]) -> Row:
        """Some columns of an episode as plain values."""
        return {column: self.table[column][row].as_py() for column in columns}

    def verify(self, row: int) -> bool:
        """Whether the episode is what was written."""
        values = self.row(row, [name for name in SCHEMA.names if name != "frames"])
        first, last = self._first_frames[row : row + 2]
        if last - first != values["length"] + 1:
            return False
        starts, stop = self._offsets[first:last], self._offsets[last]
        # The checksum runs over the frames in a row; that each of them begins where it should is seen by its signature.
        signatures = self._encoded[np.minimum(starts[:, None] + np.arange(len(PNG)), len(self._encoded) - 1)]
        if not (signatures == PNG).all():
            return False
        return bool(checksum(values, self._encoded[starts[0] : stop].data) == values["crc32"])

    def require_whole(self, row: int) -> None:
        """Raises UserError naming the episode when it is not what was written. Verifies an episode once."""
        if not self._verified[row]:
            if not self.verify(row):
                values = self.row(row, ("task", "seed"))
                raise UserError(
                    f"{self.file}: episode {row} ({values['task']}, seed {values['seed']}) is damaged: wrong checksum; "
                    f"'agentgym check {self.file.parent} --repair' keeps what is good"
                )
            self._verified[row] = True


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


def shard_file(path: Path, number: int) -> Path:
    """Where a dataset's shard of that number is."""
    return path / f"shard-{number:06d}.arrow"


def shard_files(path: Path) -> list[Path]:
    """The shards that are there, in order."""
    return sorted(file for file in path.glob("shard-*.arrow") if re.fullmatch(r"shard-\d{6,}\.arrow", file.name))


def replace_file(file: Path, text: str) -> None:
    """The file holds the text, or what it held before, whatever happens."""
    temporary = file.with_name(file.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
    sync_folder(file.parent)


def sync_folder(path: Path) -> None:
    """What was renamed or removed in the folder stays so after a crash."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
