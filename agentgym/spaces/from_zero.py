"""Actions as Stable-Baselines3 counts them: its policies know no `start`, and choose from 0 on."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete, MultiDiscrete


def from_zero(space: gymnasium.Space[Any]) -> tuple[gymnasium.Space[Any], Any]:
    """The same actions counted from 0, and what to add to one to have the space's own; 0 where there is nothing."""
    if isinstance(space, Discrete) and space.start:
        return Discrete(int(space.n)), space.start
    if isinstance(space, MultiDiscrete) and np.any(space.start):
        return MultiDiscrete(space.nvec, dtype=space.dtype), space.start
    return space, 0
