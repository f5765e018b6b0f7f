"""The format of a shard: its columns, its header, the checksums of an episode, and how it is written.

A shard is an Arrow file of whole episodes, a row each, that is there whole or not at all: it is written to a temporary
name, synced, then renamed. `blocks` has its frames, `shard` reads it. This module knows no folder, environment or
model.
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from agentgym.data.episode import Episode
from agentgym.data.store.blocks import FRAMES_PER_BLOCK, checksum, encode_blocks
from agentgym.data.store.extras import Extra, checksum_of
from agentgym.data.store.steps import column_type, encode_steps
from agentgym.errors import UserError
from agentgym.files import replace_bytes
from agentgym.spaces import SpaceCodec

FORMAT = "2.1"  # readers take any 2.x: a new minor number adds something, a new major one changes something
LARGEST_SIDE = 2**15  # of a frame, in pixels
FORMAT_WITH_EXTRAS, EXTRAS_CRC = "2.2", "extras_crc32"
OUTCOMES = ("solved", "failed", "error", "timeout")
METADATA_KEY, METADATA_CRC_KEY = b"agentgym", b"agentgym.crc32"
ATTEMPTS = b', "attempts": '  # comes after what is the same in all shards, in the metadata's JSON

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


class Attempt(NamedTuple):
    """One seed that was tried, and its outcome (one of OUTCOMES), kept or not."""

    task: str
    seed: int
    outcome: str


@dataclass(frozen=True)
class Header:
    """What is the same for every episode of a dataset."""

    space: SpaceCodec
    frame_shape: tuple[int, int, int]
    recipe: Mapping[str, Any]
    extras: tuple[Extra, ...] = ()  # the extra columns

    @property
    def schema(self) -> pa.Schema:
        """The columns of a shard."""
        return schema_of(self.space, self.extras)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        extras = {"extras": [extra.to_json() for extra in self.extras]} if self.extras else {}
        return {
            "format": FORMAT_WITH_EXTRAS if self.extras else FORMAT,
            "actions": self.space.to_json(),
            "frame_shape": list(self.frame_shape),
            **extras,
            "recipe": dict(self.recipe),
        }

    @staticmethod
    def from_json(values: Mapping[str, Any], reads: str) -> "Header":
        """From plain values. Raises FormatError for another major format than that of `reads`.

        Raises KeyError, TypeError or ValueError for values that are no header's.
        """
        found, ours = (int(str(format).split(".")[0]) for format in (values["format"], reads))
        if found != ours:
            remedy = (
                "install a newer agentgym"
                if found > ours
                else f"the same seeds record it again: 'agentgym collect {values['recipe'].get('name', 'RECIPE')}'"
            )
            raise FormatError(f"format {values['format']}; this agentgym reads {reads}: {remedy}")
        height, width, channels = values["frame_shape"]
        if channels != 3 or not all(type(side) is int and 0 < side <= LARGEST_SIDE for side in (height, width)):
            raise ValueError(f"no frame has the shape {values['frame_shape']}")
        _check_recipe(values["recipe"])
        extras = tuple(map(Extra.from_json, values.get("extras", ())))
        return Header(SpaceCodec.from_json(values["actions"]), (height, width, channels), values["recipe"], extras)


def _check_recipe(recipe: Any) -> None:
    """Raises ValueError unless what is asked of a header's recipe, whatever wrote it, is of its kind."""
    suite = recipe.get("suite", {}) if isinstance(recipe, dict) else None
    tasks = suite.get("tasks", []) if isinstance(suite, dict) else None
    named = isinstance(tasks, list) and all(isinstance(t, dict) and isinstance(t.get("id"), str) for t in tasks)
    if not named or not isinstance(recipe.get("name", ""), str):
        raise ValueError("its recipe is none: it has no suite of tasks with their ids, or no name")


@lru_cache(maxsize=16)  # every shard of a dataset has the same
def schema_of(space: SpaceCodec, extras: tuple[Extra, ...] = ()) -> pa.Schema:
    """The columns of a dataset whose actions are of that space, with the extra ones."""
    actions = column_type(space.root)
    extra_columns = (
        [*((extra.name, extra.column_type) for extra in extras), (EXTRAS_CRC, pa.uint32())] if extras else []
    )
    return pa.schema([*((name, actions if kind is None else kind) for name, kind in COLUMNS), *extra_columns])


def encode_row(episode: Episode, extras: tuple[Extra, ...] = ()) -> Row:
    """An episode as a row of a shard, its frames as blocks, with the extra columns."""
    row: Row = {
        "task": episode.task,
        "instruction": episode.instruction,
        "seed": int(episode.seed),
        "expert": episode.expert,
        "success": bool(episode.success),
        "terminated": bool(episode.terminated),
        "truncated": bool(episode.truncated),
        "length": len(episode),
        "total_reward": episode.total_reward,
        "frame_shape": list(episode.frames.shape[1:]),
        "frames": encode_blocks(episode.frames),
        "actions": encode_steps(episode.actions),
        "labels": None if episode.labels is None else encode_steps(episode.labels),
        "rewards": episode.rewards.tolist(),
        "versions": _versions_text(tuple(episode.versions.items())),
    }
    steps = [row[name] or [] for name in STEP_COLUMNS]
    blocks = [
        block_checksum(block, [column[place : place + FRAMES_PER_BLOCK] for column in steps])
        for block, place in zip(row["frames"], range(0, len(episode) + 1, FRAMES_PER_BLOCK), strict=True)
    ]
    row["block_crc32"] = blocks
    row["crc32"] = row_checksum(row, b"".join(found.to_bytes(4, "little") for found in blocks))
    if extras:
        row |= {extra.name: extra.encode(episode.extras[extra.name]) for extra in extras}
        row[EXTRAS_CRC] = checksum_of(episode.extras[extra.name] for extra in extras)
    return row


@lru_cache(maxsize=64)  # the episodes of a dataset mostly have the same
def _versions_text(versions: tuple[tuple[str, str], ...]) -> str:
    return json.dumps(dict(versions), sort_keys=True)


def block_checksum(block: bytes | memoryview, steps: Sequence[Sequence[Any]]) -> int:
    """CRC-32 over a block of frames and what STEP_COLUMNS hold of its steps."""
    return checksum(steps, block)


def row_checksum(row: Row, blocks: bytes | memoryview) -> int:
    """CRC-32 over PLAIN_COLUMNS and the checksums of the blocks, each as four bytes, the lowest first."""
    return checksum([row[name] for name in PLAIN_COLUMNS], blocks)


def write_shard(file: Path, header: Header, episodes: pa.Table, attempts: Sequence[Attempt]) -> None:
    """The file is there with these episodes, whole and synced, or it is not there. Raises OSError."""
    values = json.dumps({**header.to_json(), "episodes": len(episodes), "attempts": list(attempts)}).encode()
    schema = header.schema.with_metadata({METADATA_KEY: values, METADATA_CRC_KEY: str(zlib.crc32(values))})
    columns = episodes.select(schema.names).replace_schema_metadata(schema.metadata).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(columns)
    replace_bytes(file, memoryview(sink.getvalue()))


def count_outcomes(attempts: Iterable[Attempt]) -> dict[str, int]:
    """How many attempts ended in each of OUTCOMES."""
    counts = Counter(attempt.outcome for attempt in attempts)
    return {outcome: counts[outcome] for outcome in OUTCOMES}


def read_metadata(schema: pa.Schema) -> tuple[Header, int | None, bytes]:
    """The header, how many episodes there are (as far as it says), and the attempts as text for `read_attempts`.

    Raises KeyError, TypeError or ValueError when the schema is damaged, FormatError by its version.
    """
    encoded = schema.metadata[METADATA_KEY]
    if zlib.crc32(encoded) != int(schema.metadata[METADATA_CRC_KEY]):
        raise ValueError("its header has a wrong checksum")
    head, _, attempts = encoded.rpartition(ATTEMPTS)  # no text reads so: its quotes are escaped
    return *_read_head(head, FORMAT), attempts


@lru_cache(maxsize=64)  # a thousand shards have the same
def _read_head(head: bytes, reads: str) -> tuple[Header, int | None]:
    values = json.loads(head + b"}")
    return Header.from_json(values, reads), values.get("episodes")


def read_attempts(text: bytes) -> list[Attempt]:
    """Every seed that was tried. Raises ValueError or TypeError for values that are no attempts."""
    found = [
        Attempt(task, seed, outcome) for task, seed, outcome in json.loads(b'{"": ""' + ATTEMPTS + text)["attempts"]
    ]
    if not all(isinstance(a.task, str) and type(a.seed) is int and a.outcome in OUTCOMES for a in found):
        raise ValueError("its attempts are not a task, a seed and an outcome each")
    return found


def check_columns(schema: pa.Schema, expected: pa.Schema) -> None:
    """Raises KeyError or ValueError when a column is missing or of another type."""
    if schema.equals(expected):  # as always but in a newer minor format
        return
    for field in expected:
        if schema.field(field.name).type != field.type:
            raise ValueError(f"column '{field.name}' is {schema.field(field.name).type}, not {field.type}")
