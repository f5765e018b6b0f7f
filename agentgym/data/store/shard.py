"""Reading one shard: windows of its episodes out of the mapped file, each part verified when it is first read.

A window of steps is found by its offsets, whatever the length of its episode. Damage to an episode is an error that
names it, damage to what all episodes share an error that names the shard. `format` says what the columns are.
"""

import json
from collections.abc import Sequence
from copy import copy
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from zstandard import ZstdError

from agentgym.data.store.blocks import FRAMES_PER_BLOCK, count_blocks, decode_block, split_blocks
from agentgym.data.store.columns import Columns
from agentgym.data.store.extras import checksum_of
from agentgym.data.store.format import (
    EXTRAS_CRC,
    PLAIN_COLUMNS,
    STEP_COLUMNS,
    Attempt,
    FormatError,
    Header,
    Row,
    block_checksum,
    check_columns,
    read_attempts,
    read_metadata,
    row_checksum,
)
from agentgym.data.store.remote import RemoteFile
from agentgym.errors import UserError, first_line

DAMAGE = (pa.ArrowException, OSError, KeyError, TypeError, ValueError)  # what reading bytes that are no shard raises


class Shard:
    """One memory-mapped shard. Raises UserError when the file is cut short or no shard, FormatError by its version.

    Of a shard that is not on a disk of this machine, frames are read when they are asked for (see `remote`).
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._remote: RemoteFile | None = None
        self._frames_at = 0  # where the bytes of all frames begin
        self._camera: str | None = None  # the extra column in whose place the frames are
        try:
            if isinstance(file, Path):
                self._read(_map(file))
            else:
                self._remote = RemoteFile(file)
                self._read(self._remote.map())
        except DAMAGE as error:
            raise self._not_whole(error) from None

    def _not_whole(self, error: Exception) -> UserError:
        return UserError(
            f"{self.file}: not a whole shard ({first_line(error)}); 'agentgym check {self.file.parent} --repair' keeps "
            "the other shards"
        )

    def _read(self, content: pa.Buffer) -> None:
        """Raises one of DAMAGE. Offsets are checked here: a wrong one would be taken for an address later."""
        reader = pa.ipc.open_file(content)
        header, episodes, attempts = self._read_metadata(reader.schema)
        check_columns(reader.schema, header.schema)
        if self._remote and reader.num_record_batches != 1:
            self._remote.require(0, self._remote.size)
        rows = _rows_of(reader)
        if self._remote and reader.num_record_batches == 1:
            self._require_all_but_frames(rows, content)
        if episodes not in (None, rows.num_rows):
            raise ValueError(f"{rows.num_rows} of {episodes} episodes")
        self._columns = Columns(rows)
        self._rows, self.header, self._attempts = rows, header, attempts
        offsets = np.frombuffer(self._columns["rewards"].offsets, np.int32).astype(np.int64)
        self.lengths: NDArray[np.int64] = offsets[1 : len(rows) + 1] - offsets[: len(rows)]
        self._whole_rows = bytearray(len(rows))
        self._whole_extras = bytearray(len(rows))
        self._whole_blocks = bytearray(self._columns["frames"].offsets[len(rows)])

    def _require_all_but_frames(self, rows: pa.RecordBatch, content: pa.Buffer) -> None:
        assert self._remote
        frames = rows.column("frames").buffers()[-1]
        start = frames.address - content.address if frames else 0
        self._frames_at = start
        self._remote.require(0, start)
        self._remote.require(start + (frames.size if frames else 0), self._remote.size)

    def _fetch_blocks(self, row: int, places: range) -> None:
        """These blocks of an episode are here, of a shard that is elsewhere."""
        if self._remote:
            frames = self._columns["frames"]
            first, last = frames.offsets[row], frames.offsets[row + 1]
            ends = [frames.values.offsets[min(first + place, last)] for place in (places.start, places.stop)]
            self._remote.require(self._frames_at + ends[0], self._frames_at + ends[1])

    def _fetch_all(self) -> None:
        if self._remote:
            self._remote.require(0, self._remote.size)

    def _read_metadata(self, schema: pa.Schema) -> tuple[Header, int | None, bytes]:
        try:
            return read_metadata(schema)
        except FormatError as error:
            raise FormatError(f"{self.file}: {error}") from None

    @cached_property
    def attempts(self) -> list[Attempt]:
        """Every seed that was tried. Raises UserError when the header does not say."""
        try:
            return read_attempts(self._attempts)
        except DAMAGE as error:
            raise self._not_whole(error) from None

    @property
    def table(self) -> pa.Table:
        """All rows and columns, unverified."""
        self._fetch_all()
        return pa.Table.from_batches([self._rows])

    def __len__(self) -> int:
        return self._rows.num_rows

    def frames(self, row: int, start: int, stop: int) -> NDArray[np.uint8]:
        """Frames [start, stop) of an episode, uint8[stop - start, height, width, 3]. Raises UserError if damaged."""
        found = np.empty((stop - start, *self.header.frame_shape), np.uint8)
        self.fill(found, row, start)
        return found

    def fill(self, found: NDArray[np.uint8], row: int, start: int) -> None:
        """Puts the frames from `start` on into uint8[some, height, width, 3]. Raises UserError if damaged."""
        if self._camera is not None:
            found[:] = self.extra(row, self._camera, start, start + len(found))
            return
        stop = start + len(found)
        self._require_blocks(row, range(start // FRAMES_PER_BLOCK, count_blocks(stop)))
        try:
            for place, first, here in split_blocks(start, stop):
                decode_block(self._block(row, place), first, found[here])
        except (ValueError, ZstdError) as error:
            raise self._unfit(row, f"has frames that cannot be decoded ({first_line(error)})") from None

    def row(self, row: int, columns: Sequence[str]) -> Row:
        """Some columns of an episode as plain values, unverified; [] where there is no list."""
        if "frames" in columns:
            self._fetch_blocks(row, range(self._columns["frames"].size(row)))
        return {column: self._columns[column].at(row) for column in columns}

    def column(self, name: str) -> list[Any]:
        """A column as plain values, unverified."""
        if name == "frames":
            self._fetch_all()
        return self._columns[name].read(0, len(self))

    def steps(self, row: int, start: int, stop: int) -> Row:
        """What STEP_COLUMNS hold of steps [start, stop), as plain values, [] for no labels. UserError if damaged."""
        self._require_blocks(row, range(start // FRAMES_PER_BLOCK, count_blocks(stop)))
        return self._steps(row, start, stop)

    def plain(self, row: int, columns: Sequence[str]) -> Row:
        """Some of PLAIN_COLUMNS of an episode, versions as a mapping. UserError when they are not what was written."""
        self._require_row(row)
        found = self.row(row, columns)
        if "versions" in found:
            try:
                found["versions"] = dict(_read_versions(found["versions"]))
            except (ValueError, TypeError):
                raise self._unfit(row, "has versions that are not a JSON object of texts") from None
        return found

    def extras(self, row: int) -> dict[str, Any]:
        """What an episode has in addition to its frames, by name. Raises UserError when it is not what was written."""
        if not self.header.extras:
            return {}
        count = int(self.lengths[row]) + 1
        names = (*(extra.name for extra in self.header.extras), EXTRAS_CRC)
        stored = {name: self._rows.column(name)[row].as_py() for name in names}
        try:
            found = {extra.name: extra.decode(stored[extra.name], count) for extra in self.header.extras}
        except (ValueError, TypeError, IndexError):
            raise self._damaged(row) from None
        if checksum_of(found.values()) != stored[EXTRAS_CRC]:
            raise self._damaged(row)
        return found

    def seen_by(self, header: Header, camera: str) -> "Shard":
        """The same episodes under that header, with an extra column of pictures in the place of the frames."""
        seen = copy(self)
        seen.header, seen._camera = header, camera
        return seen

    def extra(self, row: int, name: str, start: int, stop: int) -> NDArray[Any]:
        """Values [start, stop) of a column of arrays. Raises UserError when the episode's are damaged."""
        if not self._whole_extras[row]:
            self.extras(row)
            self._whole_extras[row] = True
        extra = next(each for each in self.header.extras if each.name == name)
        column = self._columns[name]
        if extra.in_blocks:
            found = np.empty((stop - start, *extra.shape), np.uint8)
            for place, inside, here in split_blocks(start, stop):
                decode_block(column.value(row, place), inside, found[here])
            return found
        return np.array(column.part(row, start, stop), extra.dtype).reshape(stop - start, *extra.shape)

    def require_whole(self, row: int) -> None:
        """Raises UserError naming the episode when any of it is not what was written."""
        self._require_blocks(row, range(count_blocks(int(self.lengths[row]) + 1)))
        self.plain(row, ("versions",))

    def _require_row(self, row: int) -> None:
        """Raises UserError when what a row has once is not what was written. Verifies a row once."""
        if self._whole_rows[row]:
            return
        if not self._verify_row(row):
            raise self._damaged(row)
        shape = self._columns["frame_shape"].at(row)
        if self._camera is None and shape != list(self.header.frame_shape):
            raise self._unfit(row, f"its frames are {shape}, those of the dataset {list(self.header.frame_shape)}")
        self._whole_rows[row] = True

    def _require_blocks(self, row: int, places: range) -> None:
        """Raises UserError when one of these blocks of an episode is not what was written. Verifies a block once."""
        self._require_row(row)
        self._fetch_blocks(row, places)
        first = self._columns["frames"].offsets[row]
        for place in places:
            if not self._whole_blocks[first + place]:
                if not self._verify_block(row, place):
                    raise self._damaged(row)
                self._whole_blocks[first + place] = True

    def _verify_row(self, row: int) -> bool:
        """Every list is as long as the episode, and what is there once is what was written."""
        values = self.row(row, PLAIN_COLUMNS)
        sizes = [self._columns[name].size(row) for name in ("frames", "block_crc32", *STEP_COLUMNS)]
        steps, blocks = values["length"], count_blocks(values["length"] + 1)
        if sizes not in ([blocks, blocks, steps, labels, steps] for labels in (steps, 0)):
            return False
        checksums = self._columns["block_crc32"].part(row, 0, blocks)
        return bool(row_checksum(values, checksums) == self._columns["crc32"].at(row))

    def _verify_block(self, row: int, place: int) -> bool:
        start = place * FRAMES_PER_BLOCK
        steps = list(self._steps(row, start, start + FRAMES_PER_BLOCK).values())
        expected = self._columns["block_crc32"].value(row, place)
        return bool(block_checksum(self._block(row, place), steps) == expected)

    def _block(self, row: int, place: int) -> memoryview:
        block: memoryview = self._columns["frames"].value(row, place)
        return block

    def _steps(self, row: int, start: int, stop: int) -> Row:
        return {name: self._columns[name].among(row, start, stop) for name in STEP_COLUMNS}

    def _damaged(self, row: int) -> UserError:
        return self._unfit(row, "is damaged: wrong checksum")

    def _unfit(self, row: int, reason: str) -> UserError:
        values = self.row(row, ("task", "seed"))
        return UserError(
            f"{self.file}: episode {row} ({values['task']}, seed {values['seed']}) {reason}; "
            f"'agentgym check {self.file.parent} --repair' keeps what is good"
        )


@lru_cache(maxsize=64)  # thousands of episodes were drawn by the same packages
def _read_versions(text: str) -> dict[str, str]:
    found = json.loads(text)
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise ValueError
    return found


def _rows_of(reader: pa.ipc.RecordBatchFileReader) -> pa.RecordBatch:
    """All rows as one batch, as the writer made them; there is none where a shard has only attempts."""
    if reader.num_record_batches == 1:
        return reader.get_batch(0)
    batches = reader.read_all().combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=reader.schema)


def _map(file: Path) -> pa.Buffer:
    """Mapped into memory."""
    with pa.memory_map(str(file)) as source:  # what is mapped stays so; an open file for every shard would be too many
        return source.read_buffer()
