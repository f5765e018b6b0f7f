"""Extra columns <-> further parts of Minari's observations, value for value.

Minari holds arrays of numbers and texts; what a column is beyond that (a truth value, JSON) is in its metadata.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from agentgym.data.store import NAMES, Extra, JsonText

KEY = "agentgym_columns"  # of Minari's metadata
KNOWN = (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete, spaces.Text)  # arrays, and text


def shared_columns(extras: Sequence[Extra]) -> list[Extra]:
    """Those that a Minari dataset can hold: HDF5 takes a slash for a folder."""
    return [extra for extra in extras if "/" not in extra.name and extra.name not in ("image", "mission", ".", "..")]


def spaces_of(extras: Sequence[Extra], values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The space of each column, which `values` of the episodes fit into."""
    return {extra.name: _space_of(extra, [each[extra.name] for each in values]) for extra in extras}


def observations_of(extras: Sequence[Extra], values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of an episode as Minari holds them."""
    return {extra.name: _stored(extra, values[extra.name]) for extra in extras}


def describe(extras: Sequence[Extra]) -> dict[str, str]:
    """What Minari's metadata says of the columns."""
    return {KEY: json.dumps([extra.to_json() for extra in extras])} if extras else {}


def find_columns(space: gymnasium.Space[Any], metadata: Mapping[str, Any], taken: set[str | None]) -> list[Extra]:
    """The columns of a dataset's observations but for what is `taken`: as we wrote them down, else by their spaces."""
    if KEY in metadata:
        return [Extra.from_json(values) for values in json.loads(metadata[KEY])]
    parts = space.spaces if isinstance(space, spaces.Dict) else {}
    names = [name for name in parts if name not in (*taken, *NAMES)]  # a column cannot be called as another one
    return [_extra_of(name, parts[name]) for name in names if isinstance(parts[name], KNOWN)]


def read_columns(extras: Sequence[Extra], observations: Any) -> dict[str, Any]:
    """The values of the columns in an episode's observations. Raises KeyError or ValueError for what is not as said."""
    return {extra.name: _read(extra, observations[extra.name]) for extra in extras}


def _extra_of(name: str, space: gymnasium.Space[Any]) -> Extra:
    if isinstance(space, spaces.Text):
        return Extra(name, "text")
    return Extra(name, "array", str(space.dtype), space.shape or ())


def _space_of(extra: Extra, values: Sequence[Any]) -> gymnasium.Space[Any]:
    if extra.kind != "array":
        texts = [str(text) for column in values for text in column]
        charset = "".join(sorted(set("".join(texts)))) or " "
        return spaces.Text(max([1, *map(len, texts)]), min_length=0, charset=charset)
    dtype: Any = np.dtype("uint8" if extra.dtype == "bool" else extra.dtype)
    if dtype.kind == "f":
        return spaces.Box(-np.inf, np.inf, extra.shape, dtype.type)
    return spaces.Box(np.iinfo(dtype).min, np.iinfo(dtype).max, extra.shape, dtype.type)


def _stored(extra: Extra, values: Any) -> Any:
    if extra.kind != "array":
        return [str(text) for text in values]
    return values.astype(np.uint8) if extra.dtype == "bool" else values


def _read(extra: Extra, values: Any) -> Any:
    if extra.kind == "json":
        return [JsonText(text) for text in values]
    if extra.kind == "text":
        return [str(text) for text in values]
    found = np.asarray(values)
    if extra.dtype == "bool":
        found = found.astype(bool)
    if found.dtype != np.dtype(extra.dtype) or found.shape[1:] != extra.shape:
        raise ValueError(f"its {extra.name} is {found.dtype}{list(found.shape[1:])}, expected {extra.dtype}")
    return found
