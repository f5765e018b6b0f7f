"""The BabyAI bot as an expert. It plans on the true grid, but only on what the agent has seen so far."""

import contextlib
import io

import numpy as np
from minigrid.core.constants import OBJECT_TO_IDX
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.utils.baby_ai_bot import BabyAIBot

from agentgym.environments import MiniGridTask, Observation, Task
from agentgym.errors import UserError


class BabyAIExpert:
    """One bot an episode; it may raise or never return on levels that it cannot do, so give it a budget."""

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
        self._suggested = int(self._bot.replan(self._other))
        return self._suggested

    def executed(self, action: int) -> None:
        """Another action than the bot's own is something that it has to make up for."""
        self._other = None if action == self._suggested else int(action)


class _SeeingBot(BabyAIBot):
    """The bot, reading what is visible from the view that the environment has just computed.

    Upstream computes the same view again at every step, which is a quarter of the time of recording.
    """

    def __init__(self, environment: MiniGridTask) -> None:
        self._environment = environment
        super().__init__(environment.minigrid)

    def _process_obs(self) -> None:
        inner = self._environment.minigrid
        columns, rows = np.nonzero(self._environment.symbolic[..., 0] != OBJECT_TO_IDX["unseen"])
        size = inner.agent_view_size
        corner = inner.agent_pos + inner.dir_vec * (size - 1) - inner.right_vec * (size // 2)
        cells = corner - rows[:, None] * inner.dir_vec + columns[:, None] * inner.right_vec
        inside = ((cells >= 0) & (cells < self.vis_mask.shape)).all(axis=1)
        self.vis_mask[tuple(cells[inside].T)] = True
