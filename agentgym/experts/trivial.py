"""Players that look at nothing: one action forever. An agent has learnt only what it does better than they."""

from copy import deepcopy
from typing import Any

import gymnasium

from agentgym.environments import Observation, Task
from agentgym.errors import UserError


class ConstantExpert:
    """The same action at every step: a place of a Discrete space, 0 the first one."""

    unseeing = True

    def __init__(self, place: int) -> None:
        self.place = place

    def check(self, environment: Task) -> None:
        """Raises UserError unless the environment has such an action."""
        space = environment.action_space
        if not isinstance(space, gymnasium.spaces.Discrete):
            raise UserError(
                f"{environment.task}: its actions are {space}; a constant action is one of a Discrete space"
            )
        if not 0 <= self.place < space.n:
            raise UserError(f"{environment.task}: has {space.n} actions, so that there is no constant:{self.place}")

    def start(self, environment: Task, seed: int) -> None:
        """The action, as the environment counts them."""
        assert isinstance(environment.action_space, gymnasium.spaces.Discrete)
        self._action = int(environment.action_space.start) + self.place

    def act(self, observation: Observation) -> Any:
        """That action."""
        return self._action


class RepeatExpert:
    """The last action again: the first one is drawn by the episode's seed, and the episode is spent with it."""

    unseeing = True

    def check(self, environment: Task) -> None:
        """Acts anywhere."""

    def start(self, environment: Task, seed: int) -> None:
        """The first action of the episode."""
        space = deepcopy(environment.action_space)
        space.seed(seed)
        self._action = space.sample()

    def act(self, observation: Observation) -> Any:
        """The action before."""
        return self._action
