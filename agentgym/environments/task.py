"""Task: a Gymnasium environment that shows {"frame", "instruction"}, whichever environment is inside.

Every episode is a function of one seed, given to `reset` or drawn there and named in `info["seed"]`, so that a
recording can be replayed. A family of environments says how an episode starts, continues and looks; the rest is here:
the seed, the instruction, the time limit and success. This module knows no family.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from agentgym.errors import Foreign, UserError
from agentgym.recipes import INSTRUCTION_BYTES, FrameRecipe, TaskRecipe

MAX_SEED = 2**31 - 1

Observation = dict[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class StepResult:
    """What one action led to; `success` where the environment says so itself, at the end of an episode."""

    reward: float
    terminated: bool
    truncated: bool
    success: bool | None = None


def as_reward(reward: Any, who: str) -> float:
    """The reward of a step. Raises UserError when it is not one number."""
    try:
        return float(reward)
    except (TypeError, ValueError):
        raise UserError(f"{who}: its reward is {reward!r}; expected one number a step") from None


class Task(gymnasium.Env[Observation, Any]):
    """What every environment of `agentgym.make` is.

    `observation_space` is {"frame": uint8[height, width, 3], "instruction": uint8[256]} (zero-padded UTF-8). At the end
    of an episode `info["is_success"]` says whether it succeeded: as the environment reports it, or by the recipe's
    `success_return`; without either no episode does (`defines_success`).
    """

    observation_space: gymnasium.spaces.Dict  # type: ignore[assignment]  # Gymnasium types it Space[dict[str, Any]]
    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}  # type: ignore[misc]

    packages: tuple[str, ...] = ()  # of the index, those that decide what an episode looks like
    knows_success = False  # whether the environment within says what success is
    default_limit: int | None = None  # steps; None: only the environment's own limit
    keep: tuple[str, ...] = ()  # what recorders store with its frames (see `wrap`)
    drawn = True  # False: its frames stay black, for those who do not look
    state_space: gymnasium.Space[Any] | None = None  # of `state`, where the world can be read other than by looking

    def __init__(
        self,
        recipe: TaskRecipe,
        frame: FrameRecipe,
        *,
        action_space: gymnasium.Space[Any],
        action_names: tuple[str, ...] | None,
        frame_shape: tuple[int, int, int],
        instructions: tuple[str, ...] = (),
    ) -> None:
        self.task = recipe.id
        self.recipe = recipe
        self.render_mode = "rgb_array"
        name = f"agentgym/{recipe.id.replace('/', '-')}"
        self.spec = EnvSpec(name, "agentgym.environments:remake", kwargs={"task": recipe, "frame": frame})
        self.action_space = action_space
        self.action_names = action_names
        self.frame_shape = frame_shape
        self.observation_space = gymnasium.spaces.Dict(
            {
                "frame": gymnasium.spaces.Box(0, 255, frame_shape, np.uint8),
                "instruction": gymnasium.spaces.Box(0, 255, (INSTRUCTION_BYTES,), np.uint8),
            }
        )
        self.limit = recipe.limit or self.default_limit
        self._instructions = tuple(recipe.instructions) or instructions
        self._instruction = encode_instruction("")
        self._steps, self._return = 0, 0.0

    @property
    def state(self) -> Any:
        """What the world shows in addition to its frame, for experts that read it; of `state_space`, where it has one.

        Raises AttributeError for a task that has none.
        """
        raise AttributeError(f"{self.task} has no state but its frame")

    @property
    def longest(self) -> int | None:
        """The most steps that an episode can have, where that is known."""
        return self.limit

    @property
    def defines_success(self) -> bool:
        """Whether an episode can succeed at all."""
        return self.knows_success or self.recipe.success_return is not None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """The first observation of the episode of that seed; without one, of a seed drawn from the last one given.

        Raises UserError for `options`, which a recording would not have, and for a seed of more than 63 bits.
        """
        if options:
            given = ", ".join(map(str, options))
            raise UserError(
                f"{self.task}: reset takes no options ({given}): an episode is a function of only its seed; give them "
                "as `arguments` of the task"
            )
        if seed is not None and seed >= 2**63:
            raise UserError(f"{self.task}: seed {seed} has {int(seed).bit_length()} bits; at most 63 are recorded")
        super().reset(seed=seed)
        episode_seed = int(self.np_random.integers(MAX_SEED)) if seed is None else seed
        self.begin(episode_seed)
        return self._observe(), {**self.own_info(), "seed": episode_seed}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Observation, reward (undiscounted), terminated, truncated and info; `info["is_success"]` is set at the end.

        Raises UserError when the environment gives no number as reward.
        """
        step = self.play(action)
        info = self.own_info()
        if step.terminated or step.truncated:
            info["is_success"] = step.success
        return self._observe(), step.reward, step.terminated, step.truncated, info

    def begin(self, seed: int) -> None:
        """Starts the episode of that seed without drawing a frame."""
        with Foreign(self.task, "reset"):
            self.start(seed)
            self._instruction = encode_instruction(self.instruct(seed))
        self._steps, self._return = 0, 0.0

    def play(self, action: Any) -> StepResult:
        """One step within the time limit, with the episode's success at its end; nothing is drawn."""
        with Foreign(self.task, "step"):
            step = self.advance(action)
        self._steps += 1
        self._return += step.reward
        truncated = step.truncated or (not step.terminated and self._steps == self.limit)
        return StepResult(step.reward, step.terminated, truncated, self._succeeded(step))

    def render(self) -> NDArray[np.uint8]:
        """A picture for people, uint8[height, width, 3]."""
        with Foreign(self.task, "render"):
            return self.draw()

    def own_info(self) -> dict[str, Any]:
        """What the info has in addition to the seed and success; what recorders keep with the frame is its "kept"."""
        return {}

    @abstractmethod
    def start(self, seed: int) -> None:
        """Resets the world to the start of the episode of that seed, whatever happened before."""

    @abstractmethod
    def advance(self, action: Any) -> StepResult:
        """Steps the world once."""

    @abstractmethod
    def draw(self) -> NDArray[np.uint8]:
        """What the agent sees, an array of its own, uint8[height, width, 3]."""

    def instruct(self, seed: int) -> str:
        """The instruction of the episode that has just been started: one of the wordings, by the seed."""
        return self._instructions[seed % len(self._instructions)]

    def _succeeded(self, step: StepResult) -> bool:
        if self.recipe.success_return is not None:
            return self._return >= self.recipe.success_return
        return bool(step.success)

    def _observe(self) -> Observation:
        with Foreign(self.task, "frame"):
            frame = self.draw() if self.drawn else np.zeros(self.frame_shape, np.uint8)
        return {"frame": frame, "instruction": self._instruction.copy()}


def encode_instruction(text: str, length: int = INSTRUCTION_BYTES) -> NDArray[np.uint8]:
    """The text as zero-padded UTF-8, uint8[length]. Raises ValueError when it does not fit."""
    raw = text.encode("utf-8")
    if len(raw) > length:
        raise ValueError(f"an instruction has at most {length} bytes in UTF-8, this one {len(raw)}: {text!r}")
    padded = np.zeros(length, dtype=np.uint8)
    padded[: len(raw)] = np.frombuffer(raw, dtype=np.uint8)
    return padded


def decode_instruction(padded: NDArray[np.uint8]) -> str:
    """The text of zero-padded UTF-8, uint8[length]. Raises UnicodeDecodeError, a ValueError, for other bytes."""
    return padded.tobytes().rstrip(b"\0").decode("utf-8")
