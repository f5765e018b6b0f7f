"""Action perturbation while collecting: noise, or DAgger's mixing (arXiv 1011.0686); the expert labels every step.

Random actions, or a trained agent's, lead to states that the expert would not reach on its own. When they replace the
expert's action is a function of the episode's seed. This module knows no recipe, no expert and no model.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Protocol

import numpy as np

from agentgym.environments import Task

OWN_DRAWS = 1  # in addition to the seed, so that no expert that draws by the seed draws the same numbers


class SubstituteActor(Protocol):
    """Acts for one episode at a time, whether or not its action is the one that is executed."""

    def start(self, environment: Task, seed: int) -> None:
        """Called after the reset of each episode, with the episode's seed."""
        ...

    def act(self, observation: Any) -> Any:
        """The action for the present observation."""
        ...

    def executed(self, action: Any) -> None:
        """Called after each step with the action that was executed."""
        ...


class RandomActor:
    """Draws from the action space, of whatever kind it is, by the episode's seed."""

    def start(self, environment: Task, seed: int) -> None:
        """A new sequence for the episode."""
        self._space = deepcopy(environment.action_space)  # the environment's own draws are left as they are
        self._space.seed(int(np.random.default_rng([seed, OWN_DRAWS]).integers(2**31)))  # not the random expert's

    def act(self, observation: Any) -> Any:
        """The next random action."""
        return self._space.sample()

    def executed(self, action: Any) -> None:
        """What is executed changes nothing."""


class ActionNoise:
    """Actors with the probability that each acts; of two that would, the later one does."""

    def __init__(self, turns: Sequence[tuple[float, SubstituteActor]]) -> None:
        self._turns = turns

    def __bool__(self) -> bool:
        """Whether anyone but the expert may act."""
        return bool(self._turns)

    def start(self, environment: Task, seed: int) -> None:
        """Called after the reset of each episode, with the episode's seed."""
        self._generator = np.random.default_rng([seed, OWN_DRAWS])
        for _, actor in self._turns:
            actor.start(environment, seed)

    def choose(self, observation: Any, label: Any) -> Any:
        """The action to execute: another actor's, or the expert's, which is the label."""
        action = label
        for probability, actor in self._turns:
            other = actor.act(observation)  # also when it is not executed: its history has to be whole
            if self._generator.random() < probability:
                action = other
        return action

    def executed(self, action: Any) -> None:
        """Called after each step with the action that was executed."""
        for _, actor in self._turns:
            actor.executed(action)
