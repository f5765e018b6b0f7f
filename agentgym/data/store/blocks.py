"""Frames as blocks: eight frames of an episode, raw, in one zstd frame. Lossless, and as fast to read as memory.

A block is the unit of reading, of damage and of the checksum, so that a window costs the same in an episode of twenty
steps and of thousands. Any zstd decompressor reads them; those of an episode, in a row, are one zstd stream of its
frames. What was measured against PNG and other layouts is in docs/datasets.md.
"""

import json
import math
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

FRAMES_PER_BLOCK = 8
SMALL = 2**18  # bytes of a block, up to which zstd's levels mean others than above; 3 takes half the time of 5 there
FAST = zstandard.ZstdCompressionParameters(  # level 3 with tables of 16 KiB, which leave the cache to the environment
    window_log=18, hash_log=12, chain_log=12, min_match=5, strategy=zstandard.STRATEGY_DFAST
)


class _Codecs(threading.local):
    """Each thread has its own, since one that is in use serves no other; making them again would cost half the time."""

    def __init__(self) -> None:
        self.reader = zstandard.ZstdDecompressor()
        self._writers: dict[int, zstandard.ZstdCompressor] = {}

    def writer(self, size: int) -> zstandard.ZstdCompressor:
        """What compresses blocks of up to that many bytes; one serves all small ones."""
        size = max(size, SMALL)
        if size not in self._writers:
            parameters = FAST if size == SMALL else _thorough(size)
            self._writers[size] = zstandard.ZstdCompressor(compression_params=parameters)
        return self._writers[size]


def _thorough(size: int) -> zstandard.ZstdCompressionParameters:
    """Level 11, which sees the frame before, parsed a step simpler: as small, in two thirds of the time."""
    return zstandard.ZstdCompressionParameters.from_level(
        11, source_size=size, hash_log=15, chain_log=15, min_match=6, strategy=zstandard.STRATEGY_LAZY
    )


_codecs = _Codecs()


@dataclass(frozen=True)
class CompressedFrames:
    """The blocks of an episode in place of its frames, uint8[frames, height, width, 3]; decoded on demand."""

    blocks: list[bytes]
    shape: tuple[int, ...]
    dtype = np.dtype(np.uint8)
    ndim = 4

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, places: Any) -> NDArray[np.uint8]:
        return self.__array__()[places]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.uint8]:
        frames = np.empty(self.shape, np.uint8)
        for place, block in enumerate(self.blocks):
            decode_block(block, 0, frames[place * FRAMES_PER_BLOCK : (place + 1) * FRAMES_PER_BLOCK])
        return frames if dtype is None else frames.astype(dtype, copy=False)


class FrameEncoder:
    """Takes an episode's frames one by one: eight are held as they are, those before them as blocks."""

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()  # of a frame
        self._eight = np.empty((0,), np.uint8)
        self._held = 0  # of the eight
        self._blocks: list[bytes] = []

    def append(self, frame: NDArray[np.uint8]) -> None:
        """Appends a copy of a frame, uint8[H, W, 3]. Raises ValueError when the frames before have another shape."""
        if frame.shape != self._shape:
            self._resize(frame.shape)
        held = self._held
        self._eight[held] = frame
        self._held = held + 1
        if held == FRAMES_PER_BLOCK - 1:
            self._blocks.append(_encode(self._eight))
            self._held = 0

    def pop_all(self) -> CompressedFrames:
        """All frames since the last time, as they will be stored."""
        count = len(self._blocks) * FRAMES_PER_BLOCK + self._held
        if self._held:
            self._blocks.append(_encode(self._eight[: self._held]))
        frames = CompressedFrames(self._blocks, (count, *self._shape))
        self.clear()
        return frames

    def clear(self) -> None:
        """Forgets them."""
        self._blocks, self._held = [], 0

    def _resize(self, shape: tuple[int, ...]) -> None:
        if self._held or self._blocks:
            raise ValueError(f"a frame has shape {list(shape)}, those before it in the episode {list(self._shape)}")
        self._shape, self._eight = shape, np.empty((FRAMES_PER_BLOCK, *shape), np.uint8)


def encode_blocks(frames: NDArray[np.uint8] | CompressedFrames) -> list[bytes]:
    """uint8[frames, height, width, 3] as blocks."""
    if isinstance(frames, CompressedFrames):
        return frames.blocks
    return [_encode(frames[start : start + FRAMES_PER_BLOCK]) for start in range(0, len(frames), FRAMES_PER_BLOCK)]


def _encode(frames: NDArray[np.uint8]) -> bytes:
    codec = _codecs.writer(FRAMES_PER_BLOCK * math.prod(frames.shape[1:]))
    block = codec.compress(np.ascontiguousarray(frames).data)
    return bytes(memoryview(block))  # in memory of its own size: the compressor's bytes keep room for the worst case


def decode_block(block: bytes | memoryview, first: int, frames: NDArray[np.uint8]) -> None:
    """Fills uint8[some, height, width, 3] with the frames of a block from its place `first` on.

    What comes after them is not decoded. Raises ValueError when the block has fewer.
    """
    stream = _codecs.reader.stream_reader(block)
    if first:
        stream.seek(first * math.prod(frames.shape[1:]))
    if stream.readinto(frames.data.cast("B")) < frames.nbytes:
        raise ValueError(f"a block has fewer than {first + len(frames)} frames")


def split_blocks(start: int, stop: int) -> Iterator[tuple[int, int, slice]]:
    """Which frames [start, stop) of an episode are where: a block, the first place in it, and where those are to go."""
    for block in range(start // FRAMES_PER_BLOCK, count_blocks(stop)):
        begin = block * FRAMES_PER_BLOCK
        yield block, max(0, start - begin), slice(max(0, begin - start), min(begin + FRAMES_PER_BLOCK, stop) - start)


def checksum(values: Sequence[Any], content: bytes | memoryview) -> int:
    """CRC-32 over plain values, as `json.dumps` writes them, and bytes."""
    return zlib.crc32(content, zlib.crc32(json.dumps(values).encode()))


def count_blocks(frames: int) -> int:
    """How many blocks hold that many frames."""
    return -(-frames // FRAMES_PER_BLOCK)
