"""Episodes that were played: the outcome of a seed, and its frames again. This module knows no policy."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentgym import environments
from agentgym.recipes import FrameRecipe, TaskRecipe
from agentgym.spaces import Node, SpaceCodec
from agentgym.spaces.values import as_action, as_plain


@dataclass(frozen=True)
class RolloutResult:
    """One rolled-out episode; its seed and actions reproduce it. `error` says why an expert gave it up.

    `over_budget` when it was not the expert who gave up, but the budget of steps or time that was used up.
    """

    task: str
    seed: int
    instruction: str
    success: bool
    total_reward: float
    length: int
    actions: tuple[Any, ...]  # as plain values (see `agentgym.spaces.values`)
    error: str | None = None
    over_budget: bool = False

    @property
    def outcome(self) -> str:
        """The outcome: "solved", "failed", "error" or "timeout", as a recording counts them."""
        if self.over_budget:
            return "timeout"
        return "error" if self.error else "solved" if self.success else "failed"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "actions": list(self.actions)}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "RolloutResult":
        """From plain values."""
        return RolloutResult(**{**values, "actions": tuple(values["actions"])})


@dataclass
class RolloutBuilder:
    """An episode in the making, of actions in `space`."""

    task: str
    seed: int
    instruction: str
    space: Node
    actions: list[Any] = field(default_factory=list)
    total_reward: float = 0.0

    def add(self, action: Any, reward: float) -> None:
        """One step more."""
        self.actions.append(as_plain(self.space, action))
        self.total_reward += float(reward)

    def end(self, *, success: bool) -> RolloutResult:
        """The episode."""
        actions = tuple(self.actions)
        return RolloutResult(self.task, self.seed, self.instruction, success, self.total_reward, len(actions), actions)

    def give_up(self, error: str, *, over_budget: bool = False) -> RolloutResult:
        """The episode as far as it came: a failure."""
        return replace(self.end(success=False), error=error, over_budget=over_budget)


def replay_frames(
    episode: RolloutResult, task: str | TaskRecipe, frame: FrameRecipe, *, steps: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """What the agent saw and the whole room from above, uint8[T + 1, ...] each, by playing the episode again.

    Of a longer episode only its first `steps` are played: those of a whole game of Atari would fill gigabytes.
    """
    env = environments.make(task, frame=frame)
    observation, _ = env.reset(seed=episode.seed)
    seen, world = [observation["frame"]], [env.render()]
    space = SpaceCodec.of(env.action_space).root
    for action in episode.actions[:steps]:
        observation = env.step(as_action(space, action))[0]
        seen.append(observation["frame"])
        world.append(env.render())
    env.close()
    return np.stack(seen), np.stack(world)
