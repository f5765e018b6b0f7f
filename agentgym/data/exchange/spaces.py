"""Spaces of actions as Gymnasium has them, and the actions of an episode as Minari holds them: an array for each part.

The inverse of what `SpaceCodec.of` and `action_series` do. Gymnasium has no names for numbers, dimensions and buttons.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from agentgym.spaces import Buttons, Characters, CompositeSpace, Integers, Node, Reals
from agentgym.spaces.values import Actions, array_type, stack


def space_of(node: Node) -> gymnasium.Space[Any]:
    """The space that a codec's root describes; a Box as wide as its bins."""
    if isinstance(node, CompositeSpace):
        parts = [space_of(part) for part in node.parts]
        return spaces.Tuple(parts) if node.keys is None else spaces.Dict(list(zip(node.keys, parts, strict=True)))
    if isinstance(node, Integers):
        return _numbers(node)
    if isinstance(node, Reals):
        dtype: Any = np.dtype(node.dtype).type
        low, high = (np.array(bound).astype(dtype).reshape(node.shape) for bound in (node.lows, node.highs))
        return spaces.Box(low, high, node.shape, dtype)
    if isinstance(node, Buttons):
        return spaces.MultiBinary(node.shape[0] if len(node.shape) == 1 else node.shape)
    assert isinstance(node, Characters)  # no dataset's actions are words of a tokenizer
    return spaces.Text(node.longest, min_length=node.shortest, charset="".join(node.characters))


def _numbers(node: Integers) -> gymnasium.Space[Any]:
    if node.shape is None:
        return spaces.Discrete(len(node.names[0]), start=node.starts[0])
    dtype: Any = np.dtype(node.dtype).type
    sizes, starts = (
        np.array(values, dtype).reshape(node.shape) for values in (list(map(len, node.names)), node.starts)
    )
    return spaces.MultiDiscrete(sizes, dtype=dtype, start=starts)


def batch(node: Node, actions: Actions | Sequence[Any]) -> Any:
    """Actions one after another as one array, a list of texts, or a dictionary or tuple of such for each part."""
    if isinstance(node, CompositeSpace):
        keys = range(len(node.parts)) if node.keys is None else node.keys
        parts = [batch(part, [action[key] for action in actions]) for key, part in zip(keys, node.parts, strict=True)]
        return tuple(parts) if node.keys is None else dict(zip(node.keys, parts, strict=True))
    found = stack(node, actions)
    return found if array_type(node) else list(found)


def unbatch(space: gymnasium.Space[Any], actions: Any, steps: int) -> list[Any]:
    """The inverse of `batch`."""
    if isinstance(space, spaces.Dict):
        parts = {key: unbatch(part, actions[key], steps) for key, part in space.spaces.items()}
        return [{key: parts[key][step] for key in parts} for step in range(steps)]
    if isinstance(space, spaces.Tuple):
        columns = [unbatch(part, each, steps) for part, each in zip(space.spaces, actions, strict=True)]
        return list(zip(*columns, strict=True)) if columns else [()] * steps
    return list(actions)
