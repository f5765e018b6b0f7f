"""The actions of an episode as episodes hold them: one value after another, exact for every Gymnasium space.

    Discrete                         int64[T]
    MultiDiscrete, MultiBinary, Box  the space's dtype, [T, *shape]
    Text, Dict, Tuple                a tuple of T values, their arrays of the space's dtypes

Plain values are what JSON takes: numbers, nested lists, text. A value is taken exactly or refused: no real number is
cut to a whole one, none wraps around. Nothing here knows tokens, files or environments.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentgym.spaces import Buttons, Characters, CompositeSpace, Integers, Node, Reals, TextTokenSpace
from agentgym.spaces.nodes import leaves_of, split

Actions = NDArray[Any] | tuple[Any, ...]
NO_ARRAYS = (Characters, TextTokenSpace, CompositeSpace)
WHOLE_NUMBER = np.dtype(np.int64), ()


def array_type(space: Node) -> tuple[np.dtype[Any], tuple[int, ...]] | None:
    """The dtype and shape of one action, None where it is not an array."""
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
    """An action, or its plain values, as the space has it: its own copy, of its dtype.

    Raises ValueError for another shape, and for a value that the dtype does not hold exactly.
    """
    if isinstance(space, Integers) and space.shape is None:
        return _as_whole_number(value)
    if isinstance(space, Characters):
        if not isinstance(value, str):
            raise ValueError(f"action {value!r} is of type {type(value).__name__}; expected text")
        return str(value)
    if isinstance(space, CompositeSpace):
        keys = range(len(space.parts)) if space.keys is None else space.keys
        parts = [as_action(part, value[key]) for key, part in zip(keys, space.parts, strict=True)]
        return tuple(parts) if space.keys is None else dict(zip(space.keys, parts, strict=True))
    found = array_type(space)
    assert found is not None
    array = _exactly(np.array(value), found[0])
    if array.shape != found[1]:
        raise ValueError(f"action {value} has shape {list(array.shape)}; expected {list(found[1])}")
    return array


def _exactly(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array in that dtype. Raises ValueError for what is not a number, and for whole numbers that would change."""
    if array.dtype == dtype:
        return array
    whole = dtype.kind in "iub"
    if array.size and array.dtype.kind not in ("iub" if whole else "iubf"):
        raise ValueError(f"action {array} is {array.dtype}; expected {'whole numbers' if whole else 'numbers'}")
    found = array.astype(dtype)
    if whole and not np.array_equal(found, array):
        raise ValueError(f"action {array} does not fit {dtype}")
    return found


def reader(space: Node) -> Callable[[Any], Any]:
    """`as_action` for that space, which also raises ValueError for an action outside it."""
    if isinstance(space, Integers) and space.shape is None:  # the commonest, and asked for at every step
        low, stop = space.starts[0], space.starts[0] + len(space.names[0])

        def read_number(value: Any) -> np.int64:
            number = value if isinstance(value, np.int64) else _as_whole_number(value)
            if not low <= number < stop:
                raise ValueError(f"action {number} is outside the space: whole numbers from {low} to {stop - 1}")
            return number

        return read_number

    def read(value: Any) -> Any:
        action = as_action(space, value)
        if not contains(space, action):
            raise ValueError(f"action {as_plain(space, action)} is outside the space")
        return action

    return read


def contains(space: Node, action: Any) -> bool:
    """Whether an action (see `as_action`) is of the space, by its limits and not only by its form."""
    return all(_inside(leaf, value) for leaf, value in zip(leaves_of(space), split(space, action), strict=True))


def find_outside(space: Node, actions: Actions) -> int | None:
    """The first step of a series (see `stack`) whose action is outside the space; None where there is none."""
    if isinstance(actions, np.ndarray):
        if not len(actions):
            return None
        wrong = ~_elements_inside(space, actions).reshape(len(actions), -1).all(axis=1)
        return int(wrong.argmax()) if wrong.any() else None
    return next((step for step, action in enumerate(actions) if not contains(space, action)), None)


def _inside(leaf: Node, value: Any) -> bool:
    if isinstance(leaf, Characters):
        return leaf.shortest <= len(value) <= leaf.longest and set(value) <= set(leaf.characters)
    return isinstance(leaf, TextTokenSpace) or bool(_elements_inside(leaf, np.asarray(value)[None]).all())


def _elements_inside(leaf: Node, values: NDArray[Any]) -> NDArray[np.bool_]:
    """For values [T, *shape] whether each is within its limits, [T, elements]."""
    flat = values.reshape(len(values), -1)
    if isinstance(leaf, Buttons):
        return (flat == 0) | (flat == 1)
    if isinstance(leaf, Integers):
        lows = np.array(leaf.starts, np.int64)
        return (flat >= lows) & (flat < lows + np.array([len(names) for names in leaf.names], np.int64))
    assert isinstance(leaf, Reals)
    return (flat >= np.array(leaf.lows)) & (flat <= np.array(leaf.highs))  # false of NaN


def _as_whole_number(value: Any) -> np.int64:
    if isinstance(value, np.int64):
        return value
    if type(value) is int and abs(value) < 2**63:
        return _known(value)
    array = np.asarray(value)
    if array.shape:
        raise ValueError(f"action {value} has shape {list(array.shape)}; expected []")
    return np.int64(_exactly(array, WHOLE_NUMBER[0]))


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
    """Actions, or their plain values, as a series. Raises ValueError when one has another shape or type."""
    found = array_type(space)
    if found is None:
        return tuple(as_action(space, value) for value in values)
    (dtype, shape), taken = found, list(values)
    series = _exactly(np.array(taken), dtype) if taken else np.zeros((0, *shape), dtype)
    if series.shape != (len(taken), *shape):
        raise ValueError(f"actions have shape {list(series.shape[1:])}; expected {list(shape)}")
    return series


def name(space: Node, value: Any) -> str:
    """An action for people: its name where it has one, else its plain values."""
    if isinstance(space, Integers) and space.shape is None:
        names, place = space.names[0], int(value) - space.starts[0]
        return names[place] if 0 <= place < len(names) else f"{int(value)} (outside the space)"
    return str(as_plain(space, value))
