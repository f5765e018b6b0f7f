"""A shard that is not on this machine's disks: ranges of it are read when they are asked for, into a sparse file.

Arrow maps that file as it maps a shard of the disk. Opening reads the ends of the shard and all columns but the frames;
frames come by CHUNK when a window of them is read, each chunk once. Memory holds what the system keeps of a file's
pages, and the file is gone with the dataset.
"""

import os
import shutil
import tempfile
import threading
import weakref
from pathlib import Path

import pyarrow as pa

from agentgym.errors import UserError, first_line

CHUNK = 2**20  # bytes of a request: small frames of hundreds of windows, a few windows of large ones
MESSAGE = b"\xff\xff\xff\xff"  # what each message of an Arrow file begins with
TAIL = 10  # bytes: the footer's length and the magic word


class RemoteFile:
    """A file elsewhere, as a local one of the same size that has of it what was required. For several threads."""

    def __init__(self, file: Path) -> None:
        self.file, self.size = file, file.stat().st_size
        folder = tempfile.mkdtemp(prefix="agentgym-remote-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._copy = Path(folder) / "shard.arrow"
        with self._copy.open("wb") as made:
            made.truncate(self.size)
        self._has = bytearray(-(-self.size // CHUNK))
        self._lock = threading.Lock()

    def map(self) -> pa.Buffer:
        """All bytes, those that were not required yet as zeros. Arrow can open it: its ends are there."""
        self._require_ends()
        with pa.memory_map(str(self._copy)) as source:
            return source.read_buffer()

    def require(self, start: int, stop: int) -> None:
        """Bytes [start, stop) are there. Raises UserError when they cannot be read."""
        with self._lock:
            first, last = start // CHUNK, -(-min(stop, self.size) // CHUNK)
            missing = [place for place in range(first, last) if not self._has[place]]
            while missing:
                run = next((n for n in range(1, len(missing)) if missing[n] != missing[0] + n), len(missing))
                self._read(missing[0], missing[0] + run)
                missing = missing[run:]

    def _read(self, first: int, last: int) -> None:
        start, stop = first * CHUNK, min(last * CHUNK, self.size)
        try:
            with self.file.open("rb", cache_type="none") as source:  # type: ignore[call-overload]  # fsspec's own
                source.seek(start)
                content = source.read(stop - start)
        except Exception as error:  # whatever a file system elsewhere raises without a network, a right, a file
            raise UserError(f"{self.file}: bytes {start:,} to {stop:,} cannot be read ({first_line(error)})") from error
        if len(content) != stop - start:
            raise UserError(f"{self.file}: has fewer than the {stop:,} bytes that it had; open the dataset again")
        with self._copy.open("r+b") as copy:
            copy.seek(start)
            copy.write(content)
        self._has[first:last] = b"\1" * (last - first)

    def _require_ends(self) -> None:
        """The footer, the schema and the head of the first batch. Raises ValueError when it is not an Arrow file."""
        footer = int.from_bytes(self._bytes(self.size - TAIL, 4), "little")
        self.require(max(0, self.size - TAIL - footer), self.size)
        place = 8  # the magic word, padded
        for _ in range(2):
            head = self._bytes(place, 8)
            length = int.from_bytes(head[4:], "little")
            if head[:4] != MESSAGE or place + length > self.size:
                raise ValueError("it does not begin as a shard")
            self.require(place, place + 8 + length)
            place += 8 + length

    def _bytes(self, start: int, count: int) -> bytes:
        if start < 0:
            raise ValueError("it is too short")
        self.require(start, start + count)
        with self._copy.open("rb") as copy:
            return os.pread(copy.fileno(), count, start)
