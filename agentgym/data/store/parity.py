"""What restores a damaged shard, in a file beside it: a checksum for every page, and the parity of groups of pages.

Pages are dealt to the groups in turn, and a group has the exclusive or of its pages. One page of each group can be
restored, so that a flipped bit, or a sector that can no longer be read, costs nothing. Knows bytes, not what they mean.

    shard-000000.parity   MAGIC, size u64, page checksums u32[pages], parity u8[groups, PAGE], checksum of all that u32
"""

import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAGIC = b"AGPARIT1"
PAGE = 1024
PAGES_IN_GROUP = 32  # the parity takes a 32nd of the shard
LEAST_GROUPS = 4  # so that a disk's sector of 4 KiB, four pages in a row, lies in four groups


@dataclass(frozen=True)
class Parity:
    """What is known of `size` bytes besides themselves."""

    size: int
    page_crc32: NDArray[np.uint32]
    groups: NDArray[np.uint8]  # [groups, PAGE]

    def damage(self, content: bytes) -> list[tuple[int, int]]:
        """Byte ranges [first, behind) in which these are not the bytes that were written."""
        bad = self._bad_pages(self._paged(content))
        ranges = [(page * PAGE, min((page + 1) * PAGE, self.size)) for page in bad]
        return [*ranges, (self.size, len(content))] if len(content) > self.size else ranges

    def restore(self, content: bytes) -> bytes | None:
        """The bytes that were written; None when more is damaged than the parity tells."""
        pages = self._paged(content)
        bad = self._bad_pages(pages)
        touched = [page % len(self.groups) for page in bad]
        if len(set(touched)) < len(bad) or (bad and len(bad) == len(pages)):  # the latter is another file's parity
            return None
        for page, group in zip(bad, touched, strict=True):
            pages[page] = 0
            pages[page] = np.bitwise_xor.reduce(pages[group :: len(self.groups)]) ^ self.groups[group]
        return None if self._bad_pages(pages) else pages.tobytes()[: self.size]

    def to_bytes(self) -> bytes:
        """As it stands in a file."""
        values = self.size.to_bytes(8, "little") + self.page_crc32.astype("<u4").tobytes() + self.groups.tobytes()
        content = MAGIC + values
        return content + zlib.crc32(content).to_bytes(4, "little")

    @staticmethod
    def from_bytes(content: bytes) -> "Parity":
        """The inverse of `to_bytes`. Raises ValueError when it is damaged itself."""
        if not content.startswith(MAGIC) or zlib.crc32(content[:-4]) != int.from_bytes(content[-4:], "little"):
            raise ValueError("has a wrong checksum")
        size = int.from_bytes(content[8:16], "little")
        behind = 16 + 4 * -(-size // PAGE)
        checksums = np.frombuffer(content[16:behind], "<u4")
        return Parity(size, checksums, np.frombuffer(content[behind:-4], np.uint8).reshape(-1, PAGE))

    def _paged(self, content: bytes) -> NDArray[np.uint8]:
        """uint8[pages, PAGE], zeros where bytes are missing."""
        length = len(self.page_crc32) * PAGE
        return np.frombuffer(bytearray(content[: self.size].ljust(length, b"\0")), np.uint8).reshape(-1, PAGE)

    def _bad_pages(self, pages: NDArray[np.uint8]) -> list[int]:
        return [i for i, expected in enumerate(self.page_crc32.tolist()) if zlib.crc32(pages[i]) != expected]


def parity_of(content: bytes) -> Parity:
    """The parity of a file's bytes."""
    count = -(-len(content) // PAGE)
    groups = max(LEAST_GROUPS, -(-count // PAGES_IN_GROUP))
    padded = content.ljust(groups * math.ceil(count / groups) * PAGE, b"\0")
    pages = np.frombuffer(padded, np.uint8).reshape(-1, groups, PAGE)
    checksums = [zlib.crc32(padded[page * PAGE : (page + 1) * PAGE]) for page in range(count)]
    return Parity(len(content), np.array(checksums, np.uint32), np.bitwise_xor.reduce(pages, axis=0))


def parity_file(shard: Path) -> Path:
    """Where the parity of a shard is."""
    return shard.with_suffix(".parity")


def read_parity(shard: Path) -> Parity | None:
    """The parity of a shard; None where there is none, as beside shards of format 2.0. Raises ValueError if damaged."""
    file = parity_file(shard)
    return Parity.from_bytes(file.read_bytes()) if file.is_file() else None
