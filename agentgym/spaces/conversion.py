"""Gymnasium's action spaces as trees, with the names that their tokens get."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from agentgym.errors import UserError
from agentgym.spaces.nodes import Buttons, Characters, CompositeSpace, Node
from agentgym.spaces.numbers import Integers, Reals, Scale

if TYPE_CHECKING:
    import gymnasium

MOST_TOKENS = 2**17
LONGEST_NAME = 80  # of a space in a message
WIDEST = 2.0**32  # of integer limits, whose bins are computed in float64

Names = Sequence[Any] | Mapping[str, Any] | None


class Binning(NamedTuple):
    """How the boxes of a space become bins."""

    bins: int
    limits: tuple[float, float] | None
    scale: Scale


def check_size(space: "gymnasium.Space[Any]", bins: int) -> None:
    """Raises UserError for a space of more tokens than an agent can learn, before any of them is made."""
    count = _count_tokens(space, bins)
    if count > MOST_TOKENS:
        raise UserError(
            f"action space {_shortly(space)}: has {count:,} action tokens; at most {MOST_TOKENS:,} are taken: act in a "
            "smaller space, by a wrapper such as gymnasium.wrappers.TransformAction"
        )


def _count_tokens(space: "gymnasium.Space[Any]", bins: int) -> int:
    from gymnasium import spaces

    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum(dtype=np.int64))
    if isinstance(space, spaces.MultiBinary):
        return math.prod(space.shape)
    if isinstance(space, spaces.Box):
        return math.prod(space.shape) * bins
    if isinstance(space, spaces.Text):
        return len(space.character_list)
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        return sum(_count_tokens(part, bins) for part in parts)
    return 0  # of no tokens at all, which is said when it is converted


def _shortly(space: "gymnasium.Space[Any]") -> str:
    text = str(space)
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}..."


def node_of(space: "gymnasium.Space[Any]", names: Names, path: tuple[str, ...], binning: Binning) -> Node:
    """The node of a Gymnasium space. Raises UserError for a space that has no tokens."""
    from gymnasium import spaces  # only here: the model reads codecs without it

    if isinstance(space, spaces.Discrete):
        start, size = int(space.start), int(space.n)
        chosen = _named(names, path, [str(start + i) for i in range(size)])
        return Integers((chosen,), (start,), None, str(space.dtype))
    if isinstance(space, spaces.MultiDiscrete):
        starts, sizes = space.start.flatten().tolist(), space.nvec.flatten().tolist()
        slots = zip(_split_names(names, len(sizes)), _dimensions(space.nvec.shape), starts, sizes, strict=True)
        named = [
            _named(mine, (*path, name), [str(start + i) for i in range(size)]) for mine, name, start, size in slots
        ]
        return Integers(tuple(named), tuple(starts), space.nvec.shape, str(space.dtype))
    if isinstance(space, spaces.MultiBinary):
        return Buttons(_named(names, path, _dimensions(space.shape), joint="."), space.shape)
    if isinstance(space, spaces.Box):
        return _box(space, _named(names, path, _dimensions(space.shape), joint="."), binning)
    if isinstance(space, spaces.Text):
        return Characters(tuple(space.character_list), int(space.min_length), int(space.max_length))
    if isinstance(space, spaces.Dict):
        given = names if isinstance(names, Mapping) else {}
        return CompositeSpace(
            tuple(space.spaces),
            tuple(node_of(part, given.get(key), (*path, key), binning) for key, part in space.spaces.items()),
        )
    if isinstance(space, spaces.Tuple):
        listed = _split_names(names, len(space.spaces))
        parts = enumerate(zip(space.spaces, listed, strict=True))
        return CompositeSpace(None, tuple(node_of(part, mine, (*path, str(i)), binning) for i, (part, mine) in parts))
    raise UserError(
        f"action space {space}: action tokens exist for Discrete, MultiDiscrete, MultiBinary, Box, Text, Dict and Tuple"
    )


def _box(space: "gymnasium.spaces.Box", names: tuple[str, ...], binning: Binning) -> Reals:
    lows, highs = (bound.flatten().astype(np.float64) for bound in (space.low, space.high))
    whole = bool(np.issubdtype(space.dtype, np.integer))
    if binning.limits:
        lows, highs = np.maximum(lows, binning.limits[0]), np.minimum(highs, binning.limits[1])
    with np.errstate(over="ignore", invalid="ignore"):
        widths = highs - lows
    if not np.isfinite(widths).all() or (whole and (widths >= WIDEST).any()):
        raise UserError(
            f"action space {space}: is unbounded; give limits=(low, high), in a recipe its task's `action_limits`"
        )
    if (widths < 0).any():
        raise UserError(f"action space {space}: limits {binning.limits} leave nothing of it")
    if whole:
        lows, highs = np.ceil(lows), np.floor(highs)
        counts = np.minimum(binning.bins, highs - lows + 1).astype(int)
    else:
        counts = np.where(widths > 0, binning.bins, 1)
    return Reals(
        names,
        tuple(counts.tolist()),
        tuple(lows.tolist()),
        tuple(highs.tolist()),
        binning.scale,
        space.shape,
        str(space.dtype),
    )


def _named(names: Names, path: tuple[str, ...], default: Sequence[str], joint: str = "=") -> tuple[str, ...]:
    """The given names as they are, shared with all who use them; else numbers after the path."""
    if names is None:
        place = ".".join(path)
        return tuple(joint.join(filter(None, (place, number))) or "value" for number in default)
    if isinstance(names, Mapping) or len(names) != len(default):
        raise ValueError(f"{len(default)} actions need as many names, not {len(names)}")
    if len(set(names)) < len(names):
        raise ValueError(f"names of one choice must differ: {', '.join(names)}")
    return tuple(names)


def _split_names(names: Names, count: int) -> list[Any]:
    """Names of each of several parts."""
    if names is None:
        return [None] * count
    if isinstance(names, Mapping) or len(names) != count:
        raise ValueError(f"{count} parts need as many lists of names, not {len(names)}")
    return list(names)


def _dimensions(shape: tuple[int, ...]) -> list[str]:
    """The place of every element of an array, in order."""
    return [",".join(map(str, place)) for place in np.ndindex(*shape)]
