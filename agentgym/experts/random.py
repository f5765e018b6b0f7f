"""The random expert: uniformly random actions, the baseline of every score."""

import numpy as np

from agentgym.environments import MiniGridTask, Observation


class RandomExpert:
    """Draws every action uniformly; the sequence is a function of the episode's seed."""

    def check(self, environment: MiniGridTask) -> None:
        """Acts anywhere."""

    def start(self, environment: MiniGridTask, seed: int) -> None:
        """A new sequence for the episode."""
        self._generator = np.random.default_rng(seed)
        self._num_actions = int(environment.action_space.n)

    def act(self, observation: Observation) -> int:
        """The next random action."""
        return int(self._generator.integers(self._num_actions))
