"""MinAtar: five games on a grid of 10x10 cells, drawn in colour (Young and Tian 2019)."""

from typing import Any

import gymnasium
import minatar.gym
import numpy as np
from numpy.typing import NDArray

from agentgym.environments.minatar_colours import draw_cells
from agentgym.environments.task import StepResult, Task
from agentgym.recipes import FrameRecipe, TaskRecipe

SIDE = 80  # pixels: eight a cell
CELLS = 10
ACTIONS = {"n": "noop", "l": "left", "u": "up", "r": "right", "d": "down", "f": "fire"}
WORDINGS = {
    "asterix": ("collect the gold and avoid the enemies", "pick up gold, do not touch the enemies", "play asterix"),
    "breakout": ("break the bricks with the ball", "keep the ball in play and break every brick", "play breakout"),
    "freeway": ("cross the road", "walk to the other side without being hit by a car", "play freeway"),
    "seaquest": ("shoot the enemies and rescue the divers", "save the divers and mind the oxygen", "play seaquest"),
    "space_invaders": ("shoot the aliens", "destroy all aliens before they land", "play space invaders"),
}


class MinAtarTask(Task):
    """One game. `state` is its own observation, bool[10, 10, channels], for experts that read it.

    Ids end in -v1 for the game's minimal actions and in -v0 for all six. An episode is a function of only its seed:
    upstream's last action, which a sticky action repeats, is forgotten at its start.
    """

    packages = ("MinAtar",)
    default_limit = 2500  # steps: where Freeway ends; a good player of another game might never end

    def __init__(self, recipe: TaskRecipe, frame: FrameRecipe) -> None:
        made = gymnasium.make(recipe.id, disable_env_checker=True, **recipe.arguments).unwrapped
        assert isinstance(made, minatar.gym.BaseEnv)
        self._game = made.game
        self._actions = made.action_set
        self.state_space = gymnasium.spaces.MultiBinary(tuple(self._game.state_shape()))
        height, width = frame.size or (SIDE, SIDE)
        self._rows = np.arange(height) * CELLS // height
        self._columns = np.arange(width) * CELLS // width
        super().__init__(
            recipe,
            frame,
            action_space=gymnasium.spaces.Discrete(len(self._actions)),
            action_names=tuple(ACTIONS[self._game.env.action_map[index]] for index in self._actions),
            frame_shape=(height, width, 3),
            instructions=WORDINGS[self._game.game_name()],
        )

    @property
    def state(self) -> NDArray[np.bool_]:
        """The channels, bool[10, 10, channels]."""
        state: NDArray[np.bool_] = self._game.state()
        return state

    def start(self, seed: int) -> None:
        """The game of that seed."""
        self._game.seed(seed)
        self._game.last_action = 0
        self._game.reset()

    def advance(self, action: Any) -> StepResult:
        """One action of the game."""
        reward, terminated = self._game.act(self._actions[int(action)])
        return StepResult(float(reward), bool(terminated), False)

    def draw(self) -> NDArray[np.uint8]:
        """The cells, each in the colour of its combination of channels: uint8[height, width, 3]."""
        return draw_cells(self.state).take(self._columns, axis=1).take(self._rows, axis=0)
