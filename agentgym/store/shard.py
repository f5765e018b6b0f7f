"""One shard: an Arrow file of whole episodes, a row each, that is there whole or not at all.

Owns the format: schema, header, checksums; `blocks` has the frames. It is written to a temporary name, synced, then
renamed. A window of steps is found by its offsets in the memory-mapped file, whatever the length of its episode. Rows
and blocks have checksums, verified when they are first read. This module knows no folder, environment or model.
"""

import json
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agentgym.action_spaces import SpaceCodec
from agentgym.errors import UserError
from agentgym.samples import Sample
from agentgym.store.blocks import FRAMES_PER_BLOCK, checksum, count_blocks, decode_block, encode_blocks
from agentgym.store.files import sync_folder
from agentgym.store.steps import column_type, encode_steps

FORMAT = "2.0"  # readers take any 2.x: a new minor number adds columns, a new major one changes what there is
OUTCOMES = ("solved", "failed", "error", "timeout")
METADATA_KEY, METADATA_CRC_KEY = b"agentgym", b"agentgym.crc32"

COLUMNS = (
    ("task", pa.string()),
    ("instruction", pa.string()),
    ("seed", pa.int64()),
    ("expert", pa.string()),
    ("success", pa.bool_()),
    ("terminated", pa.bool_()),
    ("truncated", pa.bool_()),
    ("length", pa.int64()),
    ("total_reward", pa.float64()),
    ("frame_shape", pa.list_(pa.int32())),
    ("frames", pa.list_(pa.binary())),
    ("actions", None),  # of a type that follows the space of actions
    ("labels", None),  # of the same type; no list where there are none
    ("rewards", pa.list_(pa.float64())),
    ("versions", pa.string()),
    ("block_crc32", pa.list_(pa.uint32())),
    ("crc32", pa.uint32()),
)
NAMES = tuple(name for name, _ in COLUMNS)
STEP_COLUMNS = ("actions", "labels", "rewards")  # a value for every action, or no label for any
PLAIN_COLUMNS = tuple(
    name for name in NAMES if name not in (*STEP_COLUMNS, "frames", "block_crc32", "crc32")
)  # one for the episode

Row = dict[str, Any]


class FormatError(UserError):
    """The file is whole, and of a version that is not read here: no damage to repair."""


@dataclass(frozen=True)
class Attempt:
    """One seed that was tried, and what became of it (one of OUTCOMES), kept or not."""

    task: str
    seed: int
    outcome: str


@dataclass(frozen=True)
class Header:
    """What is the same for every episode of a dataset."""

    space: SpaceCodec
    frame_shape: tuple[int, int, int]
    recipe: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "format": FORMAT,
            "actions": self.space.to_json(),
            "frame_shape": list(self.frame_shape),
            "recipe": dict(self.recipe),
        }

    @staticmethod
    def from_json(values: Mapping[str, Any], path: Path) -> "Header":
        """From plain values. Raises FormatError for a format that this version does not read."""
        found, ours = (int(format.split(".")[0]) for format in (values["format"], FORMAT))
        if found != ours:
            remedy = (
                "install a newer agentgym"
                if found > ours
                else f"the same seeds record it again: 'agentgym collect {values['recipe'].get('name', 'RECIPE')}'"
            )
            raise FormatError(f"{path}: format {values['format']}; this agentgym reads {FORMAT}: {remedy}")
        height, width, channels = values["frame_shape"]
        return Header(SpaceCodec.from_json(values["actions"]), (height, width, channels), values["recipe"])


def schema_of(space: SpaceCodec) -> pa.Schema:
    """The columns of a dataset whose actions are of that space."""
    actions = column_type(space.root)
    return pa.schema([(name, actions if kind is None else kind) for name, kind in COLUMNS])


def encode_row(sample: Sample) -> Row:
    """A sample as a row of a shard, its frames as blocks."""
    row: Row = {
        "task": sample.task,
        "instruction": sample.instruction,
        "seed": int(sample.seed),
        "expert": sample.expert,
        "success": bool(sample.success),
        "terminated": bool(sample.terminated),
        "truncated": bool(sample.truncated),
        "length": len(sample),
        "total_reward": sample.total_reward,
        "frame_shape": list(sample.frames.shape[1:]),
        "frames": encode_blocks(sample.frames),
        "actions": encode_steps(sample.actions),
        "labels": None if sample.labels is None else encode_steps(sample.labels),
        "rewards": sample.rewards.tolist(),
        "versions": json.dumps(dict(sample.versions), sort_keys=True),
    }
    blocks: NDArray[np.uint32] = np.array(
        [
            block_checksum(block, [(row[name] or [])[place : place + FRAMES_PER_BLOCK] for name in STEP_COLUMNS])
            for block, place in zip(row["frames"], range(0, len(sample) + 1, FRAMES_PER_BLOCK), strict=True)
        ],
        np.uint32,
    )
    return {**row, "block_crc32": blocks.tolist(), "crc32": row_checksum(row, blocks)}


def block_checksum(block: bytes | memoryview, steps: Sequence[Sequence[Any]]) -> int:
    """CRC-32 over a block of frames and what STEP_COLUMNS hold of its steps."""
    return checksum(steps, block)


def row_checksum(row: Row, blocks: NDArray[np.uint32]) -> int:
    """CRC-32 over PLAIN_COLUMNS and the checksums of the blocks."""
    return checksum([row[name] for name in PLAIN_COLUMNS], blocks.astype("<u4").tobytes())


def write_shard(file: Path, header: Header, episodes: pa.Table, attempts: Sequence[Attempt]) -> None:
    """The file is there with these episodes, whole and synced, or it is not there. Raises OSError."""
    tried = [[a.task, a.seed, a.outcome] for a in attempts]
    values = json.dumps({**header.to_json(), "attempts": tried}).encode()
    schema = schema_of(header.space).with_metadata({METADATA_KEY: values, METADATA_CRC_KEY: str(zlib.crc32(values))})
    columns = episodes.select(NAMES).replace_schema_metadata(schema.metadata).combine_chunks()
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
    """One memory-mapped shard. Raises UserError when the file is cut short or no shard, FormatError by its version."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            with _open(file) as source:  # what is mapped stays so; an open file for every shard would be too many
                reader = pa.ipc.open_file(source)
                self._values = _read_metadata(reader.schema)
                self.header = Header.from_json(self._values, file)
                _check_columns(reader.schema, schema_of(self.header.space))
                batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            self.table = pa.Table.from_batches(batches, reader.schema).combine_chunks()
            self.table.validate(full=True)  # a wrong offset would be read as an address
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{file}: not a whole shard ({reason}); 'agentgym check {file.parent}' says what is lost, "
                "with --repair it keeps the rest"
            ) from None
        self._columns = {name: self.table[name].chunk(0) for name in NAMES} if len(self.table) else {}
        self.lengths: NDArray[np.int64] = np.zeros(0, np.int64)
        self._whole_rows = np.zeros(len(self.table), bool)
        if self._columns:
            self.lengths = _numbers(self._columns["length"], np.int64)
            lists = ("frames", "block_crc32", *STEP_COLUMNS)
            self._first = {name: _numbers(self._columns[name].offsets, np.int32) for name in lists}
            self._step_values = {name: self._columns[name].values for name in STEP_COLUMNS}
            blocks = self._columns["frames"].values
            self._offsets = np.frombuffer(blocks.buffers()[1], np.int32)
            self._encoded = memoryview(blocks.buffers()[2])
            self._checksums = _numbers(self._columns["block_crc32"].values, np.uint32)
            self._whole_blocks = np.zeros(len(blocks), bool)

    @cached_property
    def attempts(self) -> list[Attempt]:
        """Every seed that was tried."""
        return [Attempt(task, seed, outcome) for task, seed, outcome in self._values["attempts"]]

    def __len__(self) -> int:
        return len(self.table)

    def frames(self, row: int, start: int, stop: int) -> NDArray[np.uint8]:
        """Frames [start, stop) of an episode, uint8[stop - start, height, width, 3]. Raises UserError if damaged."""
        places = range(start // FRAMES_PER_BLOCK, count_blocks(stop))
        self._require_blocks(row, places)
        height, width, channels = self.header.frame_shape
        total = int(self.lengths[row]) + 1
        blocks = []
        for place in places:
            first = place * FRAMES_PER_BLOCK
            held = min(FRAMES_PER_BLOCK, total - first)
            block = decode_block(self._block(row, place), (held, height, width, channels))
            blocks.append(block[max(0, start - first) : stop - first])
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def row(self, row: int, columns: Sequence[str]) -> Row:
        """Some columns of an episode as plain values."""
        return {column: self._columns[column][row].as_py() for column in columns}

    def steps(self, row: int, start: int, stop: int) -> Row:
        """What STEP_COLUMNS hold of steps [start, stop), as plain values, [] for no labels. UserError if damaged."""
        self._require_blocks(row, range(start // FRAMES_PER_BLOCK, count_blocks(stop)))
        return self._steps(row, start, stop)

    def verify(self, row: int) -> bool:
        """Whether the episode is what was written."""
        blocks = count_blocks(int(self.lengths[row]) + 1)
        return self._verify_row(row, self.row(row, PLAIN_COLUMNS)) and all(
            self._verify_block(row, place) for place in range(blocks)
        )

    def require_whole(self, row: int) -> None:
        """Raises UserError naming the episode when any of it is not what was written."""
        self._require_blocks(row, range(count_blocks(int(self.lengths[row]) + 1)))

    def plain(self, row: int) -> Row:
        """PLAIN_COLUMNS of an episode. Raises UserError when they are not what was written; verifies them once."""
        values = self.row(row, PLAIN_COLUMNS)
        if not self._whole_rows[row]:
            if not self._verify_row(row, values):
                raise self._damaged(row)
            self._whole_rows[row] = True
        return values

    def _require_blocks(self, row: int, places: range) -> None:
        """Raises UserError when one of these blocks of an episode is not what was written. Verifies a block once."""
        if not self._whole_rows[row]:
            self.plain(row)
        first = self._first["frames"][row]
        if self._whole_blocks[first + places.start : first + places.stop].all():
            return
        for place in places:
            if not self._verify_block(row, place):
                raise self._damaged(row)
            self._whole_blocks[first + place] = True

    def _verify_row(self, row: int, values: Row) -> bool:
        """Every list is as long as the episode, and what stands there once is what was written."""
        held = {name: int(first[row + 1] - first[row]) for name, first in self._first.items()}
        blocks = count_blocks(values["length"] + 1)
        expected = {"frames": blocks, "block_crc32": blocks} | dict.fromkeys(STEP_COLUMNS, values["length"])
        if held not in (expected, {**expected, "labels": 0}):
            return False
        first, last = self._first["block_crc32"][row : row + 2]
        return bool(row_checksum(values, self._checksums[first:last]) == self._columns["crc32"][row].as_py())

    def _verify_block(self, row: int, place: int) -> bool:
        start = place * FRAMES_PER_BLOCK
        stop = min(start + FRAMES_PER_BLOCK, int(self.lengths[row]))
        steps = list(self._steps(row, start, stop).values())
        expected = self._checksums[self._first["block_crc32"][row] + place]
        return bool(block_checksum(self._block(row, place), steps) == expected)

    def _block(self, row: int, place: int) -> memoryview:
        block = self._first["frames"][row] + place
        return self._encoded[self._offsets[block] : self._offsets[block + 1]]

    def _steps(self, row: int, start: int, stop: int) -> Row:
        found: Row = {}
        for name, values in self._step_values.items():
            first, end = self._first[name].item(row), self._first[name].item(row + 1)
            begin, behind = min(first + start, end), min(first + stop, end)
            found[name] = values.slice(begin, behind - begin).to_pylist() if behind > begin else []
        return found

    def _damaged(self, row: int) -> UserError:
        values = self.row(row, ("task", "seed"))
        return UserError(
            f"{self.file}: episode {row} ({values['task']}, seed {values['seed']}) is damaged: wrong checksum; "
            f"'agentgym check {self.file.parent} --repair' keeps what is good"
        )


def count_outcomes(attempts: Iterable[Attempt]) -> dict[str, int]:
    """How many attempts ended in each of OUTCOMES."""
    counts = Counter(attempt.outcome for attempt in attempts)
    return {outcome: counts[outcome] for outcome in OUTCOMES}


def _numbers(array: pa.Array, dtype: type) -> NDArray[Any]:
    """An array without nulls as it lies in the file; to_numpy would import pandas first."""
    return np.frombuffer(array.buffers()[1], dtype)[array.offset : array.offset + len(array)]


def _open(file: Path) -> Any:
    """Mapped into memory when it is on a disk, read from wherever else it is."""
    return pa.memory_map(str(file)) if isinstance(file, Path) else file.open("rb")


def _read_metadata(schema: pa.Schema) -> Any:
    """What is the same for all rows of a shard. Raises KeyError, TypeError or ValueError when the schema is damaged."""
    encoded = schema.metadata[METADATA_KEY]
    if zlib.crc32(encoded) != int(schema.metadata[METADATA_CRC_KEY]):
        raise ValueError("its header has a wrong checksum")
    return json.loads(encoded)


def _check_columns(schema: pa.Schema, expected: pa.Schema) -> None:
    """Raises KeyError or ValueError when a column is missing or of another type."""
    for field in expected:
        if schema.field(field.name).type != field.type:
            raise ValueError(f"column '{field.name}' is {schema.field(field.name).type}, not {field.type}")
