"""MiniGrid and BabyAI: grid worlds whose mission is the instruction."""

import contextlib
import io
import warnings
from typing import Any

import gymnasium
import minigrid  # noqa: F401  (registers its environments with Gymnasium)
import numpy as np
from minigrid.core.grid import Grid
from minigrid.minigrid_env import MiniGridEnv
from numpy.typing import NDArray

from agentgym.environments.task import StepResult, Task
from agentgym.environments.tiles import draw_partial_view, draw_whole_grid
from agentgym.environments.views import cells_seen, hasten_view, sees_as_usual
from agentgym.errors import UserError
from agentgym.recipes import FrameRecipe, TaskRecipe

TILE_SIZE = 8  # pixels: 56x56 for the usual view of 7x7 cells


class MiniGridTask(Task):
    """Any MiniGrid or BabyAI environment. Success is termination with a reward: some levels terminate on failure too.

    `minigrid` is the environment within, for experts that plan on the true grid; `symbolic` its latest partial view,
    uint8[cells, cells, 3] of MiniGrid's object, colour and state numbers. Raises UserError when the id is of another
    kind of environment.
    """

    action_space: gymnasium.spaces.Discrete
    action_names: tuple[str, ...]

    packages = ("minigrid",)
    knows_success = True

    def __init__(self, recipe: TaskRecipe, frame: FrameRecipe) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a few ids are registered twice or marked as outdated upstream
            made = gymnasium.make(recipe.id, render_mode="rgb_array", disable_env_checker=True, **recipe.arguments)
        inner = made.unwrapped
        if not isinstance(inner, MiniGridEnv):
            raise UserError(f"{recipe.id}: is not a MiniGrid environment; ids that begin so are taken for one")
        hasten_view(inner)
        self._usual = sees_as_usual(inner)
        self.minigrid = inner
        self._full = frame.view == "full"
        self._tile_size = frame.tile_size or TILE_SIZE
        cells = (inner.height, inner.width) if self._full else (inner.agent_view_size,) * 2
        self.symbolic: NDArray[np.uint8] = np.zeros((*cells, 3), np.uint8)
        names = tuple(action.name for action in inner.actions)
        super().__init__(
            recipe,
            frame,
            action_space=gymnasium.spaces.Discrete(len(names)),
            action_names=names,
            frame_shape=(cells[0] * self._tile_size, cells[1] * self._tile_size, 3),
        )

    def start(self, seed: int) -> None:
        """The level of that seed."""
        with contextlib.redirect_stdout(io.StringIO()):  # `_gen_grid` prints what it rejects
            observation, _ = self.minigrid.reset(seed=seed)
        self.symbolic = observation["image"]

    def instruct(self, seed: int) -> str:
        """The mission, or one of the recipe's wordings."""
        return super().instruct(seed) if self.recipe.instructions else str(self.minigrid.mission)

    def advance(self, action: Any) -> StepResult:
        """One action of MiniGrid."""
        observation, reward, terminated, truncated, _ = self.minigrid.step(int(action))
        self.symbolic = observation["image"]
        return StepResult(float(reward), bool(terminated), bool(truncated), bool(terminated and reward > 0))

    def draw(self) -> NDArray[np.uint8]:
        """The partial view, or the whole grid: uint8[height, width, 3]."""
        if self._full:
            return self._draw_whole(self._tile_size, highlight=self.minigrid.highlight)
        return draw_partial_view(self.symbolic, self._tile_size)

    def render(self) -> NDArray[np.uint8]:
        """The whole grid from above, uint8[height, width, 3], what the agent sees highlighted."""
        return self._draw_whole(32, highlight=True)

    def close(self) -> None:
        """Closes the environment within."""
        self.minigrid.close()

    def _draw_whole(self, tile_size: int, *, highlight: bool) -> NDArray[np.uint8]:
        """What `MiniGridEnv.get_frame` draws, drawn by MiniGrid where an environment has a view of its own."""
        inner = self.minigrid
        if not self._usual or type(inner.grid) is not Grid:
            return np.asarray(inner.get_frame(highlight, tile_size), dtype=np.uint8)
        lit = cells_seen(inner) if highlight else bytes(len(inner.grid.grid))
        x, y = inner.agent_pos
        return draw_whole_grid(inner.grid, tile_size, agent=(int(x), int(y)), direction=inner.agent_dir, lit=lit)
