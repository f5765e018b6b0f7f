"""Rollout-IW on an Atari game's saved states: a planner for any game, without training.

It plans every `HOLD` steps on the state that the game is really in, and holds the action chosen. What it costs is
counted in simulated states, never in time, so that an episode is a function of its seed.
"""

from typing import TYPE_CHECKING

import numpy as np

from agentgym.environments import Observation, Task
from agentgym.errors import UserError
from agentgym.experts.atari.search import Search, Settings
from agentgym.experts.atari.simulator import AtariSimulator

if TYPE_CHECKING:
    from agentgym.environments.atari import AtariTask

HOLD = 4  # steps; with frame skip 4 an action lasts a quarter of a second, as in the paper
SETTINGS = Settings(states=12, horizon=15, discount=0.98)


class RolloutIW:
    """Acts by searching; two episodes of one seed are the same."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self._settings = settings

    def check(self, environment: Task) -> None:
        """Raises UserError for anything but an Atari game with a fixed frame skip."""
        if not environment.task.startswith("ALE/"):
            raise UserError(
                f"expert 'rollout-iw' cannot act in {environment.task}: it searches in saved states of ALE/* games"
            )
        if not isinstance(_atari(environment).frame_skip, int):
            raise UserError(f"{environment.task}: expert 'rollout-iw' needs a fixed `frameskip`, one number")

    def start(self, environment: Task, seed: int) -> None:
        """A new tree, and a new sequence of chances, by the seed."""
        self._task = _atari(environment)
        self._simulator = AtariSimulator(self._task, HOLD)
        self._search = Search(self._simulator, self._settings, np.random.default_rng(seed))
        self._steps = 0

    def act(self, observation: Observation) -> int:
        """The action held, chosen again every `HOLD` steps."""
        if self._steps % HOLD == 0:
            self._action = self._search.choose(self._simulator.present(self._task))
        self._steps += 1
        return self._action


def _atari(environment: Task) -> "AtariTask":
    from agentgym.environments.atari import AtariTask

    assert isinstance(environment, AtariTask)
    return environment
