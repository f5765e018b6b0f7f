"""Any other Gymnasium environment with pictures, with an instruction from the recipe."""

import os
import warnings
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from tempfile import gettempdir
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from agentgym.environments.pixels import as_picture, resize
from agentgym.environments.task import StepResult, Task, as_reward, decode_instruction
from agentgym.errors import Foreign, UserError
from agentgym.recipes import FrameRecipe, TaskRecipe


class GenericTask(Task):
    """A Gymnasium id whose observation is a picture, or which draws one with `render_mode="rgb_array"`.

    `frame.camera` chooses one of several pictures of the observation, by the name of its column ("observation.wrist").
    Success is what the environment says in `info["is_success"]` or `info["success"]`, or the recipe's `success_return`.

    Raises UserError for an environment without a picture, and for a task without `instructions`.
    """

    knows_success = True  # it may: environments do not declare what they will say

    def __init__(self, recipe: TaskRecipe, frame: FrameRecipe) -> None:
        self._id = recipe.id
        self._camera = frame.camera
        self._inner = _make(recipe, pictured=bool(frame.camera))
        self._is_task = isinstance(self._inner.unwrapped, Task)  # registered by somebody, as `wrap` makes it
        if not recipe.instructions and not self._is_task:
            raise UserError(
                f"{recipe.id}: it has no language of its own; give its task `instructions` in a suite's recipe"
            )
        _check_action_names(recipe, self._inner.action_space)
        space = self._inner.observation_space
        self._shows_pictures = is_picture(space) and not frame.camera
        self._seen: Any = None
        self._info: dict[str, Any] = {}
        self.keep = self._inner.unwrapped.keep if self._is_task else ()  # type: ignore[attr-defined]
        if not self._shows_pictures:
            self._seen, self._info = reset_by_seed(self._inner, 0, self._id)
        shape = space.shape if self._shows_pictures else self._picture().shape
        assert shape is not None
        self._drawn_size = None if frame.size else (shape[0], shape[1])  # with a size, what is drawn is brought to it
        self._size = frame.size or (shape[0], shape[1])
        self.state_space = self._inner.unwrapped.state_space if self._is_task else space  # type: ignore[attr-defined]
        self.packages = packages_of(self._inner)
        super().__init__(
            recipe,
            frame,
            action_space=within(self._inner.action_space, recipe.action_limits),
            action_names=tuple(recipe.action_names) or None,
            frame_shape=(*self._size, 3),
        )

    @property
    def state(self) -> Any:
        """The environment's own observation."""
        return self._inner.unwrapped.state if self._is_task else self._seen  # type: ignore[attr-defined]

    @property
    def longest(self) -> int | None:
        """The limit that the environment is registered with."""
        return self._inner.spec.max_episode_steps if self._inner.spec else None

    def own_info(self) -> dict[str, Any]:
        """What a task within keeps with its frame."""
        return {"kept": self._info["kept"]} if self.keep else {}

    def start(self, seed: int) -> None:
        """The environment's own reset with that seed."""
        self._seen, self._info = reset_by_seed(self._inner, seed, self._id)

    def advance(self, action: Any) -> StepResult:
        """The environment's own step."""
        self._seen, reward, terminated, truncated, self._info = self._inner.step(action)
        return StepResult(as_reward(reward, self._id), bool(terminated), bool(truncated), own_word(self._info))

    def draw(self) -> NDArray[np.uint8]:
        """The observation, when it is a picture, or what the environment draws, at the recipe's size.

        uint8[height, width, 3]. Raises UserError when the environment changes the size of its frames.
        """
        picture = self._picture()
        if self._drawn_size not in (None, picture.shape[:2]):
            raise UserError(f"{self._id}: its frames change their size, from {self._drawn_size} to {picture.shape[:2]}")
        return resize(picture, self._size)

    def render(self) -> NDArray[np.uint8]:
        """What the environment draws, or its observation: uint8[height, width, 3]."""
        if self._inner.render_mode != "rgb_array":
            return self._picture()
        with Foreign(self._id, "render"):
            return as_picture(self._inner.render(), self._id)

    def close(self) -> None:
        """Closes the environment within."""
        with Foreign(self._id, "close"):
            self._inner.close()

    def instruct(self, seed: int) -> str:
        """One of the recipe's wordings, or what a task within says."""
        if self.recipe.instructions:
            return super().instruct(seed)
        return decode_instruction(self._seen["instruction"])

    def _picture(self) -> NDArray[np.uint8]:
        """What the frame is made of."""
        if self._camera:
            return as_picture(_part(self.state, self._camera, self._id), self._id)
        if self._shows_pictures:
            return as_picture(self._seen, self._id)
        return as_picture(self._seen["frame"], self._id) if self._is_task else self.render()


def reset_by_seed(env: gymnasium.Env[Any, Any], seed: int, who: str) -> tuple[Any, dict[str, Any]]:
    """The environment's own reset with a seed. Raises UserError when it takes none."""
    try:
        return env.reset(seed=seed)
    except TypeError as error:
        if "'seed'" not in str(error):
            raise
        raise UserError(
            f"{who}: its reset takes no seed, so that no recording could be replayed; "
            "write reset(self, *, seed=None, options=None) as Gymnasium has it"
        ) from None


def _part(observation: Any, column: str, who: str) -> Any:
    """The part of an observation that a column is named by, whose keys may have dots. Raises UserError without one."""
    shown, rest = observation, column.removeprefix("observation").removeprefix(".")
    while rest:
        parts = {str(place): part for place, part in enumerate(shown)} if isinstance(shown, tuple) else shown
        parts = parts if isinstance(parts, Mapping) else {}
        key = next((key for key in parts if rest == key or rest.startswith(f"{key}.")), None)
        if key is None:
            raise UserError(
                f"{who}: key 'frame.camera': its observation has no '{column}'; cameras are named as their columns, "
                f"observation.KEY, and its keys are {', '.join(map(str, parts)) or 'none'}"
            )
        shown, rest = parts[key], rest[len(key) + 1 :]
    return shown


def _make(recipe: TaskRecipe, *, pictured: bool) -> gymnasium.Env[Any, Any]:
    """The environment, drawing when it can.

    Raises UserError when it neither draws nor shows pictures, unless it is `pictured` another way.
    """
    os.environ.setdefault("XDG_RUNTIME_DIR", gettempdir())  # without one, what draws off screen complains on stderr
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ids that have a later version: the recipe's choice
        settings = {"disable_env_checker": True, **recipe.arguments}
        if recipe.limit:
            settings["max_episode_steps"] = recipe.limit  # in place of the environment's own, also when it is longer
        plain = gymnasium.make(recipe.id, **settings)
        if isinstance(plain.unwrapped, Task):
            return plain
        if "rgb_array" in plain.metadata.get("render_modes", ()):
            plain.close()
            return gymnasium.make(recipe.id, render_mode="rgb_array", **settings)
    if not pictured and not is_picture(plain.observation_space):
        shown = plain.observation_space
        raise UserError(f"{recipe.id}: has no frames: its observation is {shown} and it has no rgb_array render mode")
    return plain


def within(space: gymnasium.Space[Any], limits: tuple[float, float] | None) -> gymnasium.Space[Any]:
    """The space, every Box of it within the limits."""
    spaces = gymnasium.spaces
    if limits is None:
        return space
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: within(part, limits) for key, part in space.spaces.items()})
    if isinstance(space, spaces.Tuple):
        return spaces.Tuple([within(part, limits) for part in space.spaces])
    if not isinstance(space, spaces.Box):
        return space
    dtype: Any = space.dtype
    low, high = np.maximum(space.low, limits[0]), np.minimum(space.high, limits[1])
    return spaces.Box(low.astype(dtype), high.astype(dtype), space.shape, dtype.type)


def _check_action_names(recipe: TaskRecipe, space: gymnasium.Space[Any]) -> None:
    """Raises UserError unless every action of a Discrete space has a name, or none has."""
    names = recipe.action_names
    if names and not (isinstance(space, gymnasium.spaces.Discrete) and len(names) == space.n):
        raise UserError(f"{recipe.id}: {len(names)} `action_names` for {space}; a Discrete space takes one an action")


def is_picture(space: gymnasium.Space[Any]) -> bool:
    """Whether observations of that space are uint8[height, width, 3]."""
    return space.dtype == np.uint8 and space.shape is not None and len(space.shape) == 3 and space.shape[2] == 3


def own_word(info: Mapping[str, Any]) -> bool | None:
    """What an environment reports of success."""
    word = info.get("is_success", info.get("success"))
    return None if word is None else bool(word)


def packages_of(env: gymnasium.Env[Any, Any]) -> tuple[str, ...]:
    """The installed packages that the environment's class is from, apart from Gymnasium, which is always named."""
    module = type(env.unwrapped).__module__.partition(".")[0]
    return tuple(name for name in _distributions().get(module, ()) if name != "gymnasium")


@cache
def _distributions() -> Mapping[str, list[str]]:
    """By module the packages that it is from: half a second, which an evaluation would pay for each environment."""
    return packages_distributions()
