"""A shard whose checksums are right and whose content is not: named in one line, and left out by a repair."""

import json
import math
import zlib

import numpy as np
import pyarrow as pa
import pytest
from counted import counted_episode, write_counted
from refusals import refusal

from agentgym.data.store import EpisodeDataset, check, format, repair
from agentgym.data.store.blocks import encode_blocks

SHORT = encode_blocks(np.zeros((1, 8, 8, 3), np.uint8))[0]


def lie(file, *, header=lambda values: values, row=None):
    """The shard as one writes it who means to deceive: with another header or first row, and checksums of those."""
    table = pa.ipc.open_file(pa.py_buffer(file.read_bytes())).read_all()
    rows = table.to_pylist()
    rows[0].update(row or {})
    for each in rows:
        steps = [each[name] or [] for name in format.STEP_COLUMNS]
        each["block_crc32"] = [format.block_checksum(block, steps) for block in each["frames"]]
        blocks = b"".join(crc.to_bytes(4, "little") for crc in each["block_crc32"])
        each["crc32"] = format.row_checksum(each, blocks)
    values = json.dumps(header(json.loads(table.schema.metadata[format.METADATA_KEY]))).encode()
    metadata = {format.METADATA_KEY: values, format.METADATA_CRC_KEY: str(zlib.crc32(values))}
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema.with_metadata(metadata)) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=table.schema.with_metadata(metadata)))
    file.write_bytes(sink.getvalue().to_pybytes())


@pytest.fixture
def path(tmp_path):
    return write_counted(tmp_path / "data", [counted_episode(seed, steps=3) for seed in range(2)])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"frames": [b"no block"]}, "has frames that cannot be decoded"),
        ({"frames": [b""]}, "has frames that cannot be decoded"),
        ({"frames": [SHORT]}, "has frames that cannot be decoded (a block has fewer than 4 frames)"),
        ({"versions": "{"}, "has versions that are not a JSON object"),
        ({"versions": '{"numpy": [2]}'}, "has versions that are not a JSON object"),
        ({"frame_shape": [9, 9, 3]}, "its frames are [9, 9, 3]"),
        ({"actions": [0, 1, 7]}, "is unfit: action 7 of step 2 is outside the space"),
        ({"length": 4}, "is damaged"),
    ],
)
def test_an_episode_that_is_not_what_it_says_is_named_and_left_out_by_a_repair(path, row, said):
    lie(path / "shard-000000.arrow", row=row)
    (problem,) = check(path)
    assert f"episode 0 (seed 0) {said.removeprefix('is unfit: ')}" in problem.replace("is unfit: ", "")
    dataset = EpisodeDataset(path)
    if "actions" not in row:
        assert said in refusal(dataset.__getitem__, 0)
    assert dataset[1].seed == 1
    repair(path)
    assert check(path) == []
    assert EpisodeDataset(path).column("seed") == [1]


def test_rewards_that_are_not_finite_are_no_lie(path):
    lie(path / "shard-000000.arrow", row={"rewards": [math.nan, math.inf, 0.5]})
    assert check(path) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"frame_shape": [8, 8]},
        {"frame_shape": [8, 8, 4]},
        {"frame_shape": [10**9, 10**9, 3]},
        {"frame_shape": ["8", "8", "3"]},
        {"actions": 7},
        {"actions": {"root": {"kind": "Integers", "names": math.nan, "starts": [0], "shape": None, "dtype": "int64"}}},
        {"actions": {"root": {"kind": "Words", "size": 10**12, "longest": 3}, "tokens": []}},
        {"recipe": []},
        {"recipe": {"suite": []}},
        {"recipe": {"suite": {"tasks": [{"id": 7}]}}},
        {"recipe": {"name": 7}},
        {"extras": [{"name": "x", "kind": "array", "dtype": "O", "shape": []}]},
        {"format": None},
        {"episodes": "two"},
    ],
)
def test_a_header_that_is_none_is_one_line(path, changes):
    lie(
        path / "shard-000000.arrow",
        header=lambda values: {**changes, **{k: v for k, v in values.items() if k not in changes}},
    )
    assert "not a whole shard" in refusal(EpisodeDataset, path)


@pytest.mark.parametrize("attempts", [7, [7], [["a", "b", "c"]], [["Count-v0", 0, "won"]], [["Count-v0", 0]]])
def test_attempts_that_are_none_are_one_line(path, attempts):
    lie(path / "shard-000000.arrow", header=lambda values: {**values, "attempts": attempts})
    assert "not a whole shard" in refusal(EpisodeDataset(path).outcomes)
