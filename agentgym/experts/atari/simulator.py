"""An Atari game as a world that a search can try, in an emulator of its own.

It is handed the screen's and the memory's state, never the random state: what will stick is as unknown to it as to the
agent, so it foresees that nothing sticks. An atom is one byte of the memory having one value.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from agentgym.experts.atari.search import Outcome

if TYPE_CHECKING:
    from agentgym.environments.atari import AtariTask

BYTES, VALUES = 128, 256
LOST_LIFE = -10_000.0  # more than anything within the horizon is worth


class AtariSimulator:
    """One action of the search is `hold` steps of the task with the same action; a lost life is an end, and a loss."""

    num_atoms = BYTES * VALUES

    def __init__(self, task: "AtariTask", hold: int) -> None:
        assert isinstance(task.frame_skip, int)
        self._ale = task.twin(frame_skip=hold * task.frame_skip)
        self._codes = task.codes()
        self.num_actions = len(self._codes)

    def present(self, task: "AtariTask") -> Outcome:
        """The state that the task is in, to restore."""
        self._ale.restoreState(task.ale.cloneState(include_rng=False))
        return self._outcome(0.0, over=False)

    def after(self, state: Any, action: int) -> Outcome:
        """What holding that action leads to from that state."""
        self._ale.restoreState(state)
        lives = self._ale.lives()
        reward = float(self._ale.act(self._codes[action]))
        lost = self._ale.lives() < lives
        return self._outcome(reward + LOST_LIFE * lost, over=lost or self._ale.game_over())

    def _outcome(self, reward: float, *, over: bool) -> Outcome:
        atoms = np.arange(BYTES) * VALUES + self._ale.getRAM()
        return Outcome(self._ale.cloneState(include_rng=False), reward, over, atoms)
