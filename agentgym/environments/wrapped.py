"""wrap(env): any Gymnasium environment, with the user's own wrappers, as a Task.

What the agent is to see is taken out of what the environment shows; the rest can be kept with it, for recordings.
"""

from collections import UserDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from agentgym.environments.generic import is_picture, own_word, packages_of, reset_by_seed, within
from agentgym.environments.pixels import as_picture, resize
from agentgym.environments.task import StepResult, Task, as_reward, encode_instruction
from agentgym.errors import Foreign, UserError
from agentgym.recipes import FrameRecipe, TaskRecipe

Instruct = Callable[[Any, Mapping[str, Any]], str]
Look = Callable[[Any], Any]
KEPT = ("observation", "info", "state")


def wrap(
    env: gymnasium.Env[Any, Any],
    *,
    instruction: str | Instruct,
    frame: str | Look | None = None,
    size: tuple[int, int] | None = None,
    action_names: Sequence[str] = (),
    action_limits: tuple[float, float] | None = None,
    success_return: float | None = None,
    keep: Sequence[str] = (),
    task: str | None = None,
) -> "WrappedTask":
    """The environment, with the user's own wrappers, as one that shows {"frame", "instruction"} as `make`'s do.

    `instruction` is a text, or a function of observation and info that gives one. `frame` says where the picture is:
    "render", a key of a dictionary of observations, or a function of the observation; without it, the observation
    where that is a picture, else the only picture in it, else what the environment draws. `size` is the frame's
    (height, width), `action_limits` those of a Box without bounds. `keep` names what recorders store with the frames:
    "observation", "info" (or "info.KEY") and "state" (the environment's attribute of that name). Success is
    `info["is_success"]`, `info["success"]` or a return of at least `success_return`.

    Raises UserError for what has no picture, no text or no such part, and for a vector environment, whose rows are
    wrapped one by one.
    """
    if isinstance(env, gymnasium.vector.VectorEnv):
        raise UserError(
            f"{env}: is a vector environment; wrap each of its rows: SyncVectorEnv([lambda: agentgym.wrap(...), ...])"
        )
    unknown = [name for name in keep if name not in KEPT and not name.startswith("info.")]
    if unknown:
        raise UserError(f"keep: '{unknown[0]}' is none of {', '.join(KEPT)} and info.KEY")
    named = task or (env.spec.id if env.spec else type(env.unwrapped).__name__)
    recipe = TaskRecipe(
        id=named,
        action_names=tuple(action_names),
        action_limits=action_limits,
        success_return=success_return,
    )
    return WrappedTask(env, recipe, instruction, frame, size, tuple(keep))


class Kept(UserDict[str, Any]):
    """What is recorded with a frame, by name. Not a `dict`: Gymnasium would cast one row's infos to another's types."""


class WrappedTask(Task):
    """What `wrap` makes: `env` is the environment within, its infos are passed on. Raises UserError as that does."""

    knows_success = True

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        recipe: TaskRecipe,
        instruction: str | Instruct,
        frame: str | Look | None,
        size: tuple[int, int] | None,
        keep: tuple[str, ...],
    ) -> None:
        self.env = env
        self.keep = keep
        self._instruct = instruction if callable(instruction) else lambda seen, info: instruction
        self._look = _find_frame(env, frame, recipe.id)
        self._seen, self._info = reset_by_seed(env, 0, recipe.id)
        if "state" in keep and not env.has_wrapper_attr("state"):
            raise UserError(f"{recipe.id}: keep: the environment has no attribute 'state'")
        shape = as_picture(self._look(self._seen), recipe.id).shape
        self._drawn_size = None if size else shape[:2]
        self._size = size or (shape[0], shape[1])
        self.state_space = env.observation_space
        self.packages = packages_of(env)
        super().__init__(
            recipe,
            FrameRecipe(),
            action_space=within(env.action_space, recipe.action_limits),
            action_names=recipe.action_names or None,
            frame_shape=(*self._size, 3),
        )

    @property
    def state(self) -> Any:
        """The environment's own observation."""
        return self._seen

    @property
    def longest(self) -> int | None:
        """The limit that the environment is registered with."""
        return self.env.spec.max_episode_steps if self.env.spec else None

    def own_info(self) -> dict[str, Any]:
        """The environment's own info, and what is kept."""
        return {**self._info, "kept": self._kept()} if self.keep else dict(self._info)

    def start(self, seed: int) -> None:
        """The environment's own reset with that seed."""
        self._seen, self._info = reset_by_seed(self.env, seed, self.task)

    def instruct(self, seed: int) -> str:
        """The instruction as it is now. Raises UserError when it is not text."""
        text = self._instruct(self._seen, self._info)
        if not isinstance(text, str):
            raise UserError(f"{self.task}: its instruction is {text!r}; expected text")
        return text

    def advance(self, action: Any) -> StepResult:
        """The environment's own step."""
        self._seen, reward, terminated, truncated, self._info = self.env.step(action)
        self._instruction = encode_instruction(self.instruct(0))
        return StepResult(as_reward(reward, self.task), bool(terminated), bool(truncated), own_word(self._info))

    def draw(self) -> NDArray[np.uint8]:
        """The frame at its size, uint8[height, width, 3]. Raises UserError when the environment changes that size."""
        picture = as_picture(self._look(self._seen), self.task)
        if self._drawn_size not in (None, picture.shape[:2]):
            raise UserError(
                f"{self.task}: its frames change their size, from {self._drawn_size} to {picture.shape[:2]}"
            )
        return resize(picture, self._size)

    def render(self) -> NDArray[np.uint8]:
        """What the environment draws for people, else the frame; uint8[height, width, 3]."""
        if self.env.render_mode != "rgb_array":
            return self.draw()
        with Foreign(self.task, "render"):
            return as_picture(self.env.render(), self.task)

    def close(self) -> None:
        """Closes the environment within."""
        with Foreign(self.task, "close"):
            self.env.close()

    def _kept(self) -> Kept:
        """What `keep` names, now. A recorder takes it out of the info."""
        found = Kept()
        for name in self.keep:
            if name == "observation":
                found[name] = _by_parts(self.env.observation_space, self._seen)
            elif name == "state":
                found[name] = _of_one_kind(self.env.get_wrapper_attr("state"))
            elif name == "info":
                found[name] = dict(self._info)
            else:
                found[name] = self._info.get(name.removeprefix("info."))
        return found


def _of_one_kind(state: Any) -> Any:
    """A state, of which no space says what it is: a tuple as an array, real numbers as float64, which holds them all.

    MountainCar's is an array at first and then a tuple, Acrobot's float32 and then float64.
    """
    found = np.asarray(state) if isinstance(state, tuple | list) else state
    return np.asarray(found, np.float64) if getattr(found, "dtype", np.dtype(object)).kind == "f" else found


def _by_parts(space: gymnasium.Space[Any], seen: Any) -> Any:
    """An observation as dictionaries and tuples of parts that always are there; a list of what comes and goes."""
    if isinstance(space, gymnasium.spaces.Dict):
        return {key: _by_parts(part, seen[key]) for key, part in space.spaces.items()}
    if isinstance(space, gymnasium.spaces.Tuple):
        return tuple(_by_parts(part, each) for part, each in zip(space.spaces, seen, strict=True))
    if isinstance(space, gymnasium.spaces.Graph):
        return [seen._asdict()]
    if isinstance(space, gymnasium.spaces.Sequence | gymnasium.spaces.OneOf):
        return [seen] if isinstance(seen, Mapping) else list(seen)
    return seen


def _find_frame(env: gymnasium.Env[Any, Any], frame: str | Look | None, who: str) -> Look:
    """Where the picture is. Raises UserError when there is none."""
    space = env.observation_space
    parts = space.spaces if isinstance(space, gymnasium.spaces.Dict) else {}
    if callable(frame):
        return frame
    if frame == "render" or (frame is None and not is_picture(space) and not any(map(is_picture, parts.values()))):
        if env.render_mode != "rgb_array":
            raise UserError(
                f"{who}: its observation {space} is not a picture, and it draws none; make it with "
                'render_mode="rgb_array", or say where the picture is with frame='
            )
        return lambda seen: env.render()
    if frame is None:
        if is_picture(space):
            return lambda seen: seen
        pictures = [key for key, part in parts.items() if is_picture(part)]
        if len(pictures) > 1:
            raise UserError(f"{who}: shows several pictures ({', '.join(pictures)}); name one with frame=")
        frame = pictures[0]
    if frame not in parts:
        raise UserError(f"{who}: its observation has no '{frame}'; it is {space}")
    key = frame
    return lambda seen: seen[key]
