"""Actions as columns of a shard: numbers and lists of them where they are arrays, else one JSON text a step."""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from agentgym.spaces import Node
from agentgym.spaces.values import Actions, array_type, stack


def column_type(space: Node) -> pa.DataType:
    """The type of a column with a series of actions in each row."""
    found = array_type(space)
    if found is None:
        return pa.list_(pa.string())
    dtype, shape = found
    column = pa.list_(pa.from_numpy_dtype(np.float32 if dtype == np.float16 else dtype))
    for _ in shape:
        column = pa.list_(column)
    return column


def encode_steps(actions: Actions) -> list[Any]:
    """A series as the values of its column."""
    return actions.tolist() if isinstance(actions, np.ndarray) else [_to_text(action) for action in actions]


def decode_steps(space: Node, values: list[Any]) -> Actions:
    """The inverse of `encode_steps`."""
    return stack(space, values if array_type(space) else map(json.loads, values))


def _to_text(action: Any) -> str:
    return json.dumps(action, default=lambda array: array.tolist(), ensure_ascii=False)
