"""Actions counted from 0: the same ones, and the way back."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from agentgym.spaces.from_zero import from_zero


@pytest.mark.parametrize("space", [Discrete(3, start=-2), Discrete(4, start=5), MultiDiscrete([2, 3], start=[1, -4])])
def test_every_action_counted_from_0_plus_the_first_is_one_of_the_space(space):
    counted, first = from_zero(space)
    for _ in range(20):
        assert space.contains(counted.sample() + first)
    assert not np.any(counted.start)


@pytest.mark.parametrize("space", [Discrete(3), MultiDiscrete([2, 3]), MultiBinary(2), Box(-1, 1, (2,))])
def test_spaces_that_count_from_0_are_left_as_they_are(space):
    assert from_zero(space) == (space, 0)
