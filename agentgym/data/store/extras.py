"""What is recorded in addition to the frames: the environment's own observation, state and infos, one value a frame.

Dictionaries and tuples become columns of their own ("observation.joints"). Numbers are columns of their own dtype, text
is text, anything else a JSON text; large arrays of uint8, such as further cameras, are blocks as frames are.
"""

import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from agentgym.data.store.blocks import FRAMES_PER_BLOCK, count_blocks, decode_block, encode_blocks
from agentgym.errors import UserError

LARGE = 1024  # elements of uint8 from which on an array is kept in blocks
LABEL_PROBABILITIES = "label_probabilities"  # float32[T + 1, actions] of the expert; zeros at the last frame
JSON_ALONE = ("info",)  # whose keys come and go, and what begins so


@dataclass(frozen=True)
class Extra:
    """An extra column, with one value a frame: its name, and what one value is."""

    name: str
    kind: Literal["array", "text", "json"]
    dtype: str = ""
    shape: tuple[int, ...] = ()

    @property
    def in_blocks(self) -> bool:
        """Whether the values are kept as frames are."""
        return self.dtype == "uint8" and len(self.shape) > 1 and math.prod(self.shape) >= LARGE

    @property
    def is_camera(self) -> bool:
        """Whether the values are pictures, uint8[height, width, 3]."""
        return self.dtype == "uint8" and len(self.shape) == 3 and self.shape[2] == 3

    @property
    def column_type(self) -> pa.DataType:
        """Of the column: a list of values, or of blocks."""
        if self.kind != "array":
            return pa.list_(pa.string())
        if self.in_blocks:
            return pa.list_(pa.binary())
        kind = pa.from_numpy_dtype(np.float32 if self.dtype == "float16" else np.dtype(self.dtype))
        return pa.list_(pa.list_(kind, math.prod(self.shape)) if self.shape else kind)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "shape": list(self.shape)}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Extra":
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for values that are no column's."""
        name, kind, dtype, shape = values["name"], values["kind"], values["dtype"], tuple(values["shape"])
        sides = all(type(side) is int and 0 <= side < 2**31 for side in shape) and math.prod(shape) < 2**31
        if not isinstance(name, str) or kind not in ("array", "text", "json") or not sides:
            raise ValueError(f"column {name!r} is of no kind that is known")
        if kind == "array" and np.dtype(dtype).kind not in "iufb":
            raise ValueError(f"column {name} has the dtype {dtype!r}, which is none of numbers")
        return Extra(name, kind, dtype, shape)

    def gather(self, values: Sequence[Any]) -> Any:
        """Values one after another: an array [values, *shape], or a list of texts.

        Raises ValueError for a value of another kind.
        """
        if self.kind == "json":
            return [value if isinstance(value, JsonText) else JsonText(_to_json(self.name, value)) for value in values]
        if self.kind == "text":
            wrong = next((value for value in values if not isinstance(value, str)), None)
            if wrong is not None:
                raise ValueError(f"{self.name} is {wrong!r}, not text")
            return [_encodable(self.name, value) for value in values]
        arrays = [np.asarray(value) for value in values]
        for array in arrays:
            if array.shape != self.shape or array.dtype != np.dtype(self.dtype):
                raise ValueError(
                    f"{self.name} is {array.dtype}{list(array.shape)}, in the dataset {self.dtype}{list(self.shape)}"
                )
        return np.stack(arrays)

    def encode(self, gathered: Any) -> list[Any]:
        """As values of the column."""
        if self.kind != "array":
            return list(gathered)
        if self.in_blocks:
            return encode_blocks(gathered)
        flat = gathered.reshape(len(gathered), -1) if self.shape else gathered
        return list(flat.tolist())

    def decode(self, column: list[Any], count: int) -> Any:
        """The inverse of `encode`, of `count` values."""
        if self.kind != "array":
            return column if self.kind == "text" else [JsonText(text) for text in column]
        found = np.empty((count, *self.shape), self.dtype)
        if not self.in_blocks:
            found[:] = np.array(column, self.dtype).reshape(found.shape)
            return found
        for place in range(count_blocks(count)):
            first = place * FRAMES_PER_BLOCK
            decode_block(column[place], 0, found[first : first + FRAMES_PER_BLOCK])
        return found


class JsonText(str):
    """A value of any kind as the JSON text of it."""

    def value(self) -> Any:
        """What the text says."""
        return json.loads(self)


def extras_of(kept: Mapping[str, Any]) -> tuple[Extra, ...]:
    """The columns of what an environment shows, by the first it shows."""
    return tuple(_describe(name, value) for name, value in flatten(kept).items())


def flatten(kept: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of dictionaries and tuples by their names; infos stay whole. Raises UserError for two of one name."""
    found: dict[str, Any] = {}
    for name, value in kept.items():
        inner = {name: value}
        if name.partition(".")[0] not in JSON_ALONE and isinstance(value, Mapping | tuple):
            parts = value.items() if isinstance(value, Mapping) else enumerate(value)
            inner = flatten({f"{name}.{key}": part for key, part in parts})
        if twice := found.keys() & inner.keys():
            raise UserError(f"two parts of what is kept are called '{min(twice)}'; rename a key that has a dot")
        found |= inner
    return found


def checksum_of(values: Iterable[Any]) -> int:
    """CRC-32 over gathered values, in the order of their columns."""
    found = 0
    for gathered in values:
        content = gathered.tobytes() if isinstance(gathered, np.ndarray) else "\0".join(gathered).encode()
        found = zlib.crc32(content, found)
    return found


def _describe(name: str, value: Any) -> Extra:
    if isinstance(value, str):
        return Extra(name, "text")
    numeric = isinstance(value, np.ndarray | np.generic | bool | int | float) and np.asarray(value).dtype.kind in "iufb"
    if name.partition(".")[0] in JSON_ALONE or not numeric:
        return Extra(name, "json")
    array = np.asarray(value)
    return Extra(name, "array", str(array.dtype), array.shape)


def _to_json(name: str, value: Any) -> str:
    def plain(part: Any) -> Any:
        if isinstance(part, np.ndarray | np.generic):
            return part.tolist()
        raise ValueError(f"{name} holds a {type(part).__name__}, which JSON has no value for")

    try:
        return _encodable(name, json.dumps(value, default=plain, ensure_ascii=False))
    except TypeError as error:  # of a key that is no text
        raise ValueError(f"{name} has no JSON text ({error})") from None


def _encodable(name: str, text: str) -> str:
    """The text, of which UTF-8 can be made. Raises ValueError."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} is not Unicode text ({error.reason})") from None
    return text
