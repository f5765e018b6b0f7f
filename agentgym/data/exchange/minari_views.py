"""Where a Minari dataset's observations have the frame: an image, one in a dictionary, or MiniGrid's symbolic view."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from agentgym import environments
from agentgym.environments.tiles import draw_partial_view
from agentgym.errors import UserError
from agentgym.recipes import FrameRecipe

CELLS, TILE_SIZE = 7, 8  # of MiniGrid's partial view; a symbolic one is drawn in tiles of that many pixels
AGENT = 10  # the symbol of an agent in MiniGrid's grids, and the largest there is


@dataclass(frozen=True)
class ObservationView:
    """Where a Minari dataset's observations have the frame, and how it is drawn."""

    key: str | None  # None: the observation is the frame
    recipe: FrameRecipe
    symbolic: bool

    def of(self, observations: Any) -> NDArray[np.uint8]:
        """What is there, as it is, uint8[frames, height, width, 3]. Raises ValueError when it is not of its space."""
        found = np.asarray(observations if self.key is None else observations[self.key])
        if found.dtype != np.uint8:
            raise ValueError(f"its frames are {found.dtype}{list(found.shape)}, not uint8 as their space has it")
        return found

    def frames(self, observations: Any) -> NDArray[np.uint8]:
        """uint8[steps + 1, height, width, 3]."""
        images = self.of(observations)
        if not self.symbolic:
            return images
        return np.stack([draw_partial_view(image, self.recipe.tile_size or TILE_SIZE) for image in images])


def parts_of(space: gymnasium.Space[Any]) -> dict[str | None, gymnasium.Space[Any]]:
    """The parts of an observation by their keys; one without a key where it has no parts."""
    return dict(space.spaces.items()) if isinstance(space, gymnasium.spaces.Dict) else {None: space}


def is_minigrid(task: str, space: gymnasium.Space[Any]) -> bool:
    """Whether observations are MiniGrid's, by the task's id or by their keys."""
    return environments.is_minigrid(task) or {"image", "direction", "mission"} <= {str(key) for key in parts_of(space)}


def find_view(space: gymnasium.Space[Any], task: str, source: str | Path) -> ObservationView:
    """The part `image`, else the first one, that has the form of a picture. Raises UserError when there is none."""
    grid = is_minigrid(task, space)
    for key, part in sorted(parts_of(space).items(), key=lambda each: each[0] != "image"):
        if isinstance(part, gymnasium.spaces.Box) and part.dtype == np.uint8 and part.shape[2:] == (3,):
            height, width, _ = part.shape
            symbolic = grid and (height, width) == (CELLS, CELLS)
            if not grid or height != width or height % CELLS:
                return ObservationView(key, FrameRecipe(size=(height, width)), symbolic=False)
            tile_size = TILE_SIZE if symbolic else height // CELLS
            return ObservationView(key, FrameRecipe(view="partial", tile_size=tile_size), symbolic=symbolic)
    raise UserError(f"{source}: its observations are {space}, without an image of uint8[height, width, 3]")


def check_not_symbolic(view: ObservationView, shown: NDArray[np.uint8], source: str | Path) -> None:
    """Raises UserError for MiniGrid's grids of the whole room, where the agent is a symbol among others.

    `shown` is uint8[frames, height, width, 3].
    """
    agent = bool((shown[..., 0] == AGENT).any())
    if shown.max(initial=0) <= AGENT and (agent or not view.symbolic):
        raise UserError(
            f"{source}: its images {list(shown.shape[1:])} are MiniGrid's symbolic grid of the whole room "
            f"(no value above {shown.max(initial=0)}), which is not a picture; record it with RGBImgObsWrapper or "
            "RGBImgPartialObsWrapper, or the partial view of 7x7 cells as it is"
        )
