"""The actions of an episode as samples hold them: one value after another, exact for every Gymnasium space.

    Discrete                         int64[T]
    MultiDiscrete, MultiBinary, Box  the space's dtype, [T, *shape]
    Text, Dict, Tuple                a tuple of T values, their arrays of the space's dtypes

Plain values are what JSON takes: numbers, nested lists, text. Nothing here knows tokens, files or environments.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentgym.spaces import Buttons, Characters, CompositeSpace, Integers, Node, TextTokenSpace

Actions = NDArray[Any] | tuple[Any, ...]
NO_ARRAYS = (Characters, TextTokenSpace, CompositeSpace)
WHOLE_NUMBER = np.dtype(np.int64), ()


def array_type(space: Node) -> tuple[np.dtype[Any], tuple[int, ...]] | None:
    """The dtype and shape of one action, None where it is no array."""
    if isinstance(space, Integers) and space.shape is None:
        return WHOLE_NUMBER
    if isinstance(space, NO_ARRAYS):
        return None
    if isinstance(space, Buttons):
        return np.dtype(np.int8), space.shape
    if isinstance(space, Integers):
        return np.dtype(space.dtype), space.shape or ()
    return np.dtype(space.dtype), space.shape


def as_action(space: Node, value: Any) -> Any:
    """An action, or its plain values, as the space has it: its own copy, of its dtype. Raises ValueError by shape."""
    if isinstance(space, Integers) and space.shape is None:
        return _as_whole_number(value)
    if isinstance(space, Characters):
        return str(value)
    if isinstance(space, CompositeSpace):
        keys = range(len(space.parts)) if space.keys is None else space.keys
        parts = [as_action(part, value[key]) for key, part in zip(keys, space.parts, strict=True)]
        return tuple(parts) if space.keys is None else dict(zip(space.keys, parts, strict=True))
    found = array_type(space)
    assert found is not None
    array = np.array(value, dtype=found[0])
    if array.shape != found[1]:
        raise ValueError(f"action {value} has shape {list(array.shape)}; expected {list(found[1])}")
    return array


def reader(space: Node) -> Callable[[Any], Any]:
    """`as_action` for that space."""
    if isinstance(space, Integers) and space.shape is None:
        return _as_whole_number  # the commonest, and asked for at every step
    return partial(as_action, space)


def _as_whole_number(value: Any) -> np.int64:
    if isinstance(value, np.int64):
        return value
    number = _known(value) if type(value) is int else np.int64(value)
    if isinstance(number, np.int64):
        return number
    raise ValueError(f"action {value} has shape {list(np.shape(value))}; expected []")


@lru_cache(maxsize=256)  # making one takes five times as long
def _known(value: int) -> np.int64:
    return np.int64(value)


def as_plain(space: Node, value: Any) -> Any:
    """An action as plain values."""
    if isinstance(space, CompositeSpace):
        if space.keys is None:
            return [as_plain(part, each) for part, each in zip(space.parts, value, strict=True)]
        return {key: as_plain(part, value[key]) for key, part in zip(space.keys, space.parts, strict=True)}
    return value if isinstance(space, Characters) else np.asarray(value).tolist()


def stack(space: Node, values: Iterable[Any]) -> Actions:
    """Actions, or their plain values, as a series."""
    found = array_type(space)
    if found is None:
        return tuple(as_action(space, value) for value in values)
    (dtype, shape), taken = found, list(values)
    series = np.array(taken, dtype) if taken else np.zeros((0, *shape), dtype)
    if series.shape != (len(taken), *shape):
        raise ValueError(f"actions have shape {list(series.shape[1:])}; expected {list(shape)}")
    return series


def name(space: Node, value: Any) -> str:
    """An action for people: its name where it has one, else its plain values."""
    if isinstance(space, Integers) and space.shape is None:
        return space.names[0][int(value) - space.starts[0]]
    return str(as_plain(space, value))
