"""The actions of several environments as one action of their vector environment."""

from typing import Any

import gymnasium
from gymnasium.vector.utils import concatenate, create_empty_array

from agentgym.spaces import Node
from agentgym.spaces.values import array_type, stack


def batch(space: gymnasium.Space[Any], node: Node, actions: list[Any]) -> Any:
    """Actions of `space` as they are recorded (`as_action` of its `node`), in the dtypes in which they are recorded."""
    if array_type(node) is not None:
        return stack(node, actions)  # which Gymnasium's own takes ten times as long for
    return concatenate(space, actions, create_empty_array(space, len(actions)))  # type: ignore[arg-type]
