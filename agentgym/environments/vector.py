"""Environments side by side in one of Gymnasium's vector environments, each playing the seeds that it is given.

"sync" steps them one after another in this process (SyncVectorEnv), "async" each in a process of its own
(AsyncVectorEnv). A row whose episode is over rests, at no cost, until it is given another seed; so the number of rows
decides nothing about an episode. This module knows no policy.
"""

import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from agentgym import environments, trust
from agentgym.environments import Observation, Task
from agentgym.errors import Foreign, UserError
from agentgym.executors import begin_worker
from agentgym.recipes import FrameRecipe, TaskRecipe
from agentgym.spaces import SpaceCodec
from agentgym.spaces.batching import batch
from agentgym.spaces.values import as_action

Vector = Literal["sync", "async"]


@dataclass(frozen=True)
class VectorStep:
    """What one step did in each row: the actions as the environment has them, rewards, whose episode is over and how.

    A row at rest has an action too, which did nothing.
    """

    actions: list[Any]
    rewards: NDArray[np.float64]
    over: NDArray[np.bool_]
    successes: NDArray[np.bool_]


class SeededEnvironments:
    """`count` environments of one task; `observation` is the latest of each, one batch."""

    def __init__(self, task: str | TaskRecipe, frame: FrameRecipe, count: int, vector: Vector = "sync") -> None:
        makers = [partial(_make, trust.current(), os.getpid(), task, frame)] * count
        self._envs: SyncVectorEnv | AsyncVectorEnv = (
            SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED) if vector == "sync" else _processes(makers)
        )
        self.count = count
        self.space = SpaceCodec.of(self._envs.single_action_space).root
        self.task = task if isinstance(task, str) else task.id
        self.observation: dict[str, NDArray[np.uint8]] = {}

    def begin(self, seeds: Sequence[int | None], rows: NDArray[np.bool_]) -> None:
        """Starts the episodes of those seeds in the `rows` (bool[N]) that are true; a row with None rests.

        Raises UserError when the process of an environment has died.
        """
        try:
            with Foreign(self.task, "reset"):  # from a process of its own an error comes without its notes
                self.observation, _ = self._envs.reset(seed=list(seeds), options={"reset_mask": rows})
        except (EOFError, ConnectionError) as error:
            raise self._lost() from error

    def step(self, chosen: Sequence[Any]) -> VectorStep:
        """Executes one action in each row."""
        actions = [as_action(self.space, action) for action in chosen]
        batched = batch(self._envs.single_action_space, self.space, actions)
        try:
            with Foreign(self.task, "step"):
                self.observation, rewards, terminated, truncated, infos = self._envs.step(batched)
        except (EOFError, ConnectionError) as error:
            raise self._lost() from error
        over = terminated | truncated
        successes = np.asarray(infos["is_success"], bool) if over.any() else np.zeros(len(over), bool)
        return VectorStep(actions, rewards, over, successes)

    def close(self) -> None:
        """Ends the processes of the environments."""
        self._envs.close(**({"terminate": True} if isinstance(self._envs, AsyncVectorEnv) else {}))

    def _lost(self) -> UserError:
        return UserError(
            f"{self.task}: the process of an environment died: it was killed, or memory ran out (fewer environments "
            "at once need less)"
        )


class Resting(gymnasium.Wrapper[Observation, Any, Observation, Any]):
    """Plays the episode of the seed it is reset with; without one, and after its end, it rests."""

    def __init__(self, env: Task) -> None:
        super().__init__(env)
        self._latest: Observation = {}
        self._rests = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """The first observation of that seed's episode."""
        self._rests = seed is None
        if not self._rests:
            self._latest, _ = self.env.reset(seed=seed, options=options)
        return self._latest, {}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One step; the info says at the end whether the episode succeeded."""
        if self._rests:
            return self._latest, 0.0, False, False, {}
        self._latest, reward, terminated, truncated, info = self.env.step(action)
        self._rests = terminated or truncated
        return self._latest, float(reward), terminated, truncated, _ending(info) if self._rests else {}


def _ending(info: dict[str, Any]) -> dict[str, Any]:
    return {"is_success": bool(info["is_success"])}


def _make(granted: trust.Grant, owner: int, task: str | TaskRecipe, frame: FrameRecipe) -> Resting:
    if os.getpid() != owner:
        begin_worker()
    with trust.granted(granted):
        return Resting(environments.make(task, frame=frame))


def _processes(makers: Sequence[partial[Resting]]) -> AsyncVectorEnv:
    # From a server that has no threads: a process with torch's, or Ray's, may hang in processes forked from it.
    # A process inside one of joblib's workers inherits the start method "loky", which joblib registers.
    multiprocessing.set_forkserver_preload(["joblib", "agentgym.environments.vector"])
    return AsyncVectorEnv(makers, context="forkserver", autoreset_mode=AutoresetMode.DISABLED)
