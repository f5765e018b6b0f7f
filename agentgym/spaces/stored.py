"""Whether a space that was read from a file could have been written there: what follows takes it for granted."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from agentgym.spaces.nodes import KINDS, Buttons, Characters, CompositeSpace, Node, TextTokenSpace
from agentgym.spaces.numbers import Integers, Reals

MOST_TOKENS = 2**22  # of a space: each is a row of a table
LONGEST = 2**24


def check_node(node: Node) -> Node:
    """The node. Raises ValueError when its fields are not of their kinds, or do not fit each other."""
    kinds: dict[type[Any], Any] = {
        CompositeSpace: _is_composite,
        Integers: _is_integers,
        Reals: _is_reals,
        Buttons: _is_buttons,
        Characters: _is_characters,
        TextTokenSpace: _is_words,
    }
    if not kinds[type(node)](node):
        raise ValueError(f"no space of actions has the parts of this {type(node).__name__}")
    return node


def read_node(values: Mapping[str, Any]) -> Node:
    """The node of `to_json`'s values. Raises ValueError, KeyError or TypeError for others."""
    fields = {key: _tuples(value) for key, value in values.items() if key not in ("kind", "parts")}
    if values["kind"] == "Parts":
        fields["parts"] = tuple(map(read_node, values["parts"]))
    return check_node(KINDS[values["kind"]](**fields))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _is_composite(node: CompositeSpace) -> bool:
    return node.keys is None or (_are_texts(node.keys) and len(node.keys) == len(node.parts))


def _is_integers(node: Integers) -> bool:
    slots = isinstance(node.names, tuple) and all(_are_texts(names) and names for names in node.names)
    return (
        slots
        and _are_whole(node.starts)
        and len(node.starts) == len(node.names)
        and (len(node.names) == 1 if node.shape is None else _has_shape(node.shape, len(node.names)))
        and _is_dtype(node.dtype, "iu")
    )


def _is_reals(node: Reals) -> bool:
    counts = _are_texts(node.names) and _are_whole(node.bins, least=1) and sum(node.bins) <= MOST_TOKENS
    limits = all(isinstance(bounds, tuple) and all(map(_is_number, bounds)) for bounds in (node.lows, node.highs))
    return (
        counts
        and limits
        and len({len(node.names), len(node.bins), len(node.lows), len(node.highs)}) == 1
        and node.scale in ("uniform", "mu-law")
        and _has_shape(node.shape, len(node.names))
        and _is_dtype(node.dtype, "biuf")
    )


def _is_buttons(node: Buttons) -> bool:
    return _are_texts(node.names) and _has_shape(node.shape, len(node.names))


def _is_characters(node: Characters) -> bool:
    lengths = _are_whole((node.shortest, node.longest), least=0)
    return _are_texts(node.characters) and lengths and node.shortest <= node.longest <= LONGEST


def _is_words(node: TextTokenSpace) -> bool:
    lengths = _are_whole((node.size, node.shortest, node.longest), least=0)
    return lengths and node.shortest <= node.longest <= LONGEST and node.size <= MOST_TOKENS


def _are_texts(values: Any) -> bool:
    return isinstance(values, tuple) and len(values) <= MOST_TOKENS and all(isinstance(each, str) for each in values)


def _are_whole(values: Any, least: int = -(2**63)) -> bool:
    return isinstance(values, tuple) and all(type(each) is int and least <= each < 2**63 for each in values)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _has_shape(shape: Any, count: int) -> bool:
    return _are_whole(shape, least=0) and math.prod(shape) == count


def _is_dtype(name: Any, kinds: str) -> bool:
    try:
        return isinstance(name, str) and np.dtype(name).kind in kinds
    except TypeError:
        return False
