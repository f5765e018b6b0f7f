"""Frames in blocks: lossless, each readable for itself, and under a checksum."""

import json
import re
import zlib

import numpy as np
import pyarrow as pa
import pytest
from counted import FOUR_EPISODES
from hypothesis import given
from hypothesis import strategies as st

from agentgym.data.store.blocks import FRAMES_PER_BLOCK, FrameEncoder, checksum, decode_block, encode_blocks


def test_frames_taken_one_by_one_are_the_same_blocks_and_are_independent():
    encoder, random_ = FrameEncoder(), np.random.default_rng(0)
    for count in (1, FRAMES_PER_BLOCK - 1, FRAMES_PER_BLOCK, 2 * FRAMES_PER_BLOCK + 1):
        frames = random_.integers(0, 256, (count, 5, 4, 3), np.uint8)
        encoder.append(frames[0])
        encoder.clear()
        for frame in frames:
            encoder.append(frame)
        taken = encoder.pop_all()
        assert encode_blocks(taken) == encode_blocks(frames)
        assert (len(taken), taken.shape, taken.dtype, taken.ndim) == (count, frames.shape, frames.dtype, 4)
        np.testing.assert_array_equal(taken, frames)
        np.testing.assert_array_equal(taken[count // 2 :], frames[count // 2 :])


def test_a_frame_of_another_shape_in_mid_episode_is_refused_and_the_episode_continues():
    encoder, frame = FrameEncoder(), np.ones((5, 4, 3), np.uint8)
    for count in (1, FRAMES_PER_BLOCK):
        for _ in range(count):
            encoder.append(frame)
        with pytest.raises(ValueError, match=re.escape("shape [1, 1, 3], those before it in the episode [5, 4, 3]")):
            encoder.append(frame[:1, :1])
        np.testing.assert_array_equal(encoder.pop_all(), np.stack([frame] * count))
    encoder.append(frame[:1, :1])
    assert encoder.pop_all().shape == (1, 1, 1, 3)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists), st.binary())
def test_a_checksum_is_over_the_text_that_json_makes_of_the_values_and_the_bytes(value, content):
    assert checksum([value], content) == zlib.crc32(json.dumps([value]).encode() + content)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 24])
def test_frames_are_lossless(count):
    frames = np.random.default_rng(0).integers(0, 256, (count, 56, 48, 3), dtype=np.uint8)
    blocks = encode_blocks(frames)
    assert len(blocks) == -(-count // FRAMES_PER_BLOCK)
    held = [min(FRAMES_PER_BLOCK, count - FRAMES_PER_BLOCK * place) for place in range(len(blocks))]
    decoded = [np.empty((some, 56, 48, 3), np.uint8) for some in held]
    for block, here in zip(blocks, decoded, strict=True):
        decode_block(block, 0, here)
    assert np.array_equal(np.concatenate(decoded), frames)


@pytest.mark.parametrize("side", [8, 210])  # one zstd block holds all eight frames, or not one of them
def test_some_frames_of_a_block_are_decoded_without_the_others(side):
    frames = np.random.default_rng(0).integers(0, 256, (6, side, side, 3), dtype=np.uint8)
    (block,) = encode_blocks(frames)
    for first, behind in ((0, 6), (0, 1), (2, 5), (5, 6)):
        found = np.zeros_like(frames[first:behind])
        decode_block(block, first, found)
        assert np.array_equal(found, frames[first:behind])
    with pytest.raises(ValueError, match="fewer than 7 frames"):
        decode_block(block, 5, np.zeros_like(frames[:2]))


def test_any_arrow_reader_finds_an_episodes_frames_as_one_zstd_stream(path):
    row = pa.ipc.open_file(path / "shard-000000.arrow").read_all().to_pylist()[0]
    stream = pa.input_stream(pa.py_buffer(b"".join(row["frames"])), compression="zstd")
    frames = np.frombuffer(stream.read(), np.uint8).reshape(-1, *row["frame_shape"])
    assert np.array_equal(frames, FOUR_EPISODES[0].frames)
