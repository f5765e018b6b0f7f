"""The random expert: uniformly random actions, the baseline of every score."""

from copy import deepcopy
from typing import Any

from agentgym.environments import Observation, Task


class RandomExpert:
    """Draws every action uniformly; the sequence is a function of the episode's seed."""

    def check(self, environment: Task) -> None:
        """Acts anywhere."""

    def start(self, environment: Task, seed: int) -> None:
        """A new sequence for the episode."""
        self._space = deepcopy(environment.action_space)
        self._space.seed(seed)

    def act(self, observation: Observation) -> Any:
        """The next random action."""
        return self._space.sample()
