"""The BabyAI bot as an expert. It plans on the true grid, but only on what the agent has seen so far."""

import contextlib
import io

import numpy as np
from minigrid.core.constants import OBJECT_TO_IDX
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.utils.baby_ai_bot import BabyAIBot

from agentgym.environments import MiniGridTask, Observation, Task
from agentgym.errors import UserError
from agentgym.experts.budget import OutOfTime

MOST_SUBGOALS = 1_000  # of one action; eight were the most in the levels that it solves


class BabyAIExpert:
    """One bot an episode. It may raise on levels that it cannot do, and is out of time where it would plan for ever."""

    def check(self, environment: Task) -> None:
        """Raises UserError when the task is not a BabyAI level."""
        if not (isinstance(environment, MiniGridTask) and isinstance(environment.minigrid, RoomGridLevel)):
            raise UserError(f"expert 'babyai-bot' cannot act in {environment.task}: it needs a BabyAI-* task")

    def start(self, environment: Task, seed: int) -> None:
        """A new bot for the episode."""
        assert isinstance(environment, MiniGridTask)
        with contextlib.redirect_stdout(io.StringIO()):
            self._bot = _SeeingBot(environment)
        self._other: int | None = None

    def act(self, observation: Observation) -> int:
        """The bot's next action."""
        self._suggested = self._bot.replan(self._other)
        return self._suggested

    def executed(self, action: int) -> None:
        """Another action than the bot's own is something that it has to make up for."""
        self._other = None if action == self._suggested else int(action)


class _Plan(list[object]):
    """The bot's stack of subgoals. Upstream may push them for ever: two that undo each other."""

    pushed = 0  # for this action

    def append(self, subgoal: object) -> None:
        """Raises OutOfTime when the bot goes round in circles, on whatever machine."""
        self.pushed += 1
        if self.pushed > MOST_SUBGOALS:
            raise OutOfTime("the bot plans in circles")
        super().append(subgoal)


class _SeeingBot(BabyAIBot):
    """The bot, reading what is visible from the view that the environment has just computed.

    Upstream computes the same view again at every step, which is a quarter of the time of recording.
    """

    stack: _Plan

    def __init__(self, environment: MiniGridTask) -> None:
        self._environment = environment
        super().__init__(environment.minigrid)
        self.stack = _Plan(self.stack)

    def replan(self, action_taken: int | None = None) -> int:
        """The next action."""
        self.stack.pushed = 0
        return int(super().replan(action_taken))

    def _process_obs(self) -> None:
        inner = self._environment.minigrid
        columns, rows = np.nonzero(self._environment.symbolic[..., 0] != OBJECT_TO_IDX["unseen"])
        size = inner.agent_view_size
        corner = inner.agent_pos + inner.dir_vec * (size - 1) - inner.right_vec * (size // 2)
        cells = corner - rows[:, None] * inner.dir_vec + columns[:, None] * inner.right_vec
        inside = ((cells >= 0) & (cells < self.vis_mask.shape)).all(axis=1)
        self.vis_mask[tuple(cells[inside].T)] = True
