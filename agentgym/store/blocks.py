"""Frames as blocks: eight frames of an episode, raw, in one zstd frame. Lossless, and as fast to read as memory.

A block is the unit of reading, of damage and of the checksum, so that a window costs the same in an episode of twenty
steps and of thousands. Any zstd decompressor reads them; those of an episode, in a row, are one zstd stream of its
frames. What was measured against PNG and other layouts stands in docs/datasets.md.
"""

import json
import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

FRAMES_PER_BLOCK = 8
SMALL = 2**18  # bytes of a block, up to which zstd's levels mean others than above: 9 is nearly as small as 11 there
QUICK, CODEC = pa.Codec("zstd", 9), pa.Codec("zstd", 11)  # both smaller and faster to write than PNG


def encode_blocks(frames: NDArray[np.uint8]) -> list[bytes]:
    """uint8[frames, height, width, 3] as blocks."""
    starts = range(0, len(frames), FRAMES_PER_BLOCK)
    codec = QUICK if FRAMES_PER_BLOCK * math.prod(frames.shape[1:]) <= SMALL else CODEC
    return [codec.compress(np.ascontiguousarray(frames[s : s + FRAMES_PER_BLOCK]), asbytes=True) for s in starts]


def decode_block(block: bytes | memoryview, shape: Sequence[int]) -> NDArray[np.uint8]:
    """A block as uint8[shape]; the shape has its number of frames first."""
    return np.frombuffer(CODEC.decompress(block, math.prod(shape)), np.uint8).reshape(shape)


def checksum(values: Any, content: bytes | memoryview) -> int:
    """CRC-32 over plain values and bytes."""
    return zlib.crc32(content, zlib.crc32(json.dumps(values).encode()))


def count_blocks(frames: int) -> int:
    """How many blocks hold that many frames."""
    return -(-frames // FRAMES_PER_BLOCK)
