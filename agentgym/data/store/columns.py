"""Columns of a shard as they are in its file: their values as plain ones, without making objects of Arrow or NumPy.

Reading a window takes fifty values and small slices, which is several times as fast this way. Only the types of the
format are known: numbers, rows of numbers, booleans, texts, bytes, and lists of those. A text that is not UTF-8 reads
with U+FFFD in it; its episode's checksum then says that it is damaged.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Numbers:
    """Of any dtype, bool among them."""

    content: Any  # a memoryview of that dtype

    def at(self, place: int) -> Any:
        """One value."""
        return self.content[place]

    def read(self, start: int, stop: int) -> list[Any]:
        """Values [start, stop)."""
        found: list[Any] = self.content[start:stop].tolist()
        return found

    def between(self, start: int, stop: int) -> memoryview:
        """Values [start, stop), not copied."""
        found: memoryview = self.content[start:stop]
        return found


@dataclass(frozen=True)
class Rows:
    """Rows of numbers, as many in each."""

    width: int
    values: Numbers

    def at(self, place: int) -> list[Any]:
        """One row."""
        return self.values.read(place * self.width, (place + 1) * self.width)

    def read(self, start: int, stop: int) -> list[list[Any]]:
        """Rows [start, stop)."""
        return [self.at(place) for place in range(start, stop)]

    def between(self, start: int, stop: int) -> memoryview:
        """The numbers of rows [start, stop), one row after another, not copied."""
        return self.values.between(start * self.width, stop * self.width)


@dataclass(frozen=True)
class Blobs:
    """Bytes of any length each."""

    offsets: memoryview  # one more than there are values
    content: memoryview

    def at(self, place: int) -> Any:
        """One value, not copied."""
        return self.content[self.offsets[place] : self.offsets[place + 1]]

    def read(self, start: int, stop: int) -> list[Any]:
        """Values [start, stop)."""
        return [self.at(place) for place in range(start, stop)]


class Texts(Blobs):
    """UTF-8."""

    def at(self, place: int) -> str:
        """One value."""
        return str(self.content[self.offsets[place] : self.offsets[place + 1]], "utf-8", "replace")


@dataclass(frozen=True)
class Lists:
    """Lists of any length each; one that is null reads as an empty one."""

    offsets: memoryview  # one more than there are lists
    values: Any  # the column of what they hold

    def size(self, place: int) -> int:
        """How many values a list has."""
        return self.offsets[place + 1] - self.offsets[place]

    def value(self, place: int, inside: int) -> Any:
        """One value of a list."""
        return self.values.at(self.offsets[place] + inside)

    def among(self, place: int, start: int, stop: int) -> list[Any]:
        """Values [start, stop) of a list, as far as it has them."""
        low, high = self.offsets[place], self.offsets[place + 1]
        return self.values.read(min(low + start, high), min(low + stop, high))

    def part(self, place: int, start: int, stop: int) -> memoryview:
        """The numbers of values [start, stop) of a list, not copied."""
        first = self.offsets[place]
        found: memoryview = self.values.between(first + start, first + stop)
        return found

    def at(self, place: int) -> list[Any]:
        """One list."""
        return self.values.read(self.offsets[place], self.offsets[place + 1])

    def read(self, start: int, stop: int) -> list[list[Any]]:
        """Lists [start, stop)."""
        return [self.at(place) for place in range(start, stop)]


Column = Numbers | Rows | Blobs | Lists


class Columns(dict[str, Any]):
    """The columns of a batch of rows by name, made when they are asked for. Raises ValueError for a wrong offset."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        super().__init__()
        self._batch = batch
        self._places = {name: place for place, name in enumerate(batch.schema.names)}
        try:
            batch.validate(full=True)
        except pa.ArrowInvalid:  # of a text that is not UTF-8 too, which harms no other row
            for array in batch.columns:
                array.view(_without_text(array.type)).validate(full=True)  # an ArrowInvalid is a ValueError

    def __missing__(self, name: str) -> Column:
        array = self._batch.column(self._places[name])
        self[name] = _column_of(array.type, iter(array.buffers()))
        return self[name]


def _column_of(kind: pa.DataType, buffers: Iterator[pa.Buffer]) -> Column:
    """A column out of its buffers in Arrow's order: of each level whether values are null, then offsets or values."""
    next(buffers)
    if pa.types.is_fixed_size_list(kind):
        values = _column_of(kind.value_type, buffers)
        assert isinstance(values, Numbers)
        return Rows(kind.list_size, values)
    content = next(buffers) or b""
    if pa.types.is_list(kind):
        return Lists(_offsets(content), _column_of(kind.value_type, buffers))
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return (Texts if pa.types.is_string(kind) else Blobs)(_offsets(content), memoryview(next(buffers) or b""))
    if pa.types.is_boolean(kind):
        bits = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")
        return Numbers(memoryview(bits.tobytes()).cast("?"))
    return Numbers(_numbers(content, _dtype(kind)))


def _offsets(content: Any) -> memoryview:
    return _numbers(content or bytes(4), np.dtype(np.int32))  # an empty column may have none


def _numbers(content: Any, dtype: np.dtype[Any]) -> memoryview:
    """What is in a buffer, which may extend beyond the last value."""
    code: Any = dtype.char
    return memoryview(content)[: len(content) // dtype.itemsize * dtype.itemsize].cast("B").cast(code)


@lru_cache(maxsize=64)
def _dtype(kind: pa.DataType) -> np.dtype[Any]:
    return np.dtype(kind.to_pandas_dtype())


@lru_cache(maxsize=64)
def _without_text(kind: pa.DataType) -> pa.DataType:
    """The type with bytes in the place of text."""
    if pa.types.is_list(kind):
        return pa.list_(_without_text(kind.value_type))
    return pa.binary() if pa.types.is_string(kind) else kind
