"""Recorder: a wrapper that changes nothing the agent sees and turns every episode into a Sample.

It knows no file: samples go to whatever has `append`, such as a `store.DatasetWriter` or a list.
"""

from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from agentgym.environments import Observation, decode_instruction, versions
from agentgym.samples import Sample


class Sink(Protocol):
    """Where finished episodes go."""

    def append(self, sample: Sample, /) -> Any:
        """Takes one episode."""
        ...


class Recorder(gymnasium.Wrapper[Observation, Any, Observation, Any]):
    """Passes observations, rewards and infos through untouched and appends each episode to `sink` when it ends.

    The environment shows {"frame", "instruction"} and names the episode's seed in `info["seed"]` of `reset`, as all
    environments of `agentgym.make` do; otherwise reset raises KeyError. An episode that is left by `reset` or `close`
    in mid-course is recorded as neither terminated nor truncated; `discard` forgets it instead.
    """

    def __init__(self, env: gymnasium.Env[Observation, Any], sink: Sink, *, task: str, expert: str) -> None:
        super().__init__(env)
        self._sink = sink
        self._task = task
        self._expert = expert
        self._versions = versions(getattr(env.unwrapped, "packages", ()))
        self._instruction = ""
        self._seed = 0
        self._frames: list[NDArray[np.uint8]] = []
        self._actions: list[int] = []
        self._rewards: list[float] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """As the environment's; a new episode begins."""
        self._finish(terminated=False, truncated=False, success=False)
        observation, info = self.env.reset(seed=seed, options=options)
        self._instruction = decode_instruction(observation["instruction"])
        self._seed = int(info["seed"])
        self._frames = [observation["frame"].copy()]
        return observation, info

    def step(self, action: Any) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        """As the environment's; at the end of the episode its sample goes to the sink."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._frames.append(observation["frame"].copy())
        self._actions.append(int(action))
        self._rewards.append(float(reward))
        if terminated or truncated:
            self._finish(terminated=terminated, truncated=truncated, success=bool(info["is_success"]))
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        """Records what is unfinished, then closes the environment."""
        self._finish(terminated=False, truncated=False, success=False)
        super().close()

    def discard(self) -> None:
        """Forgets the episode in hand."""
        self._frames, self._actions, self._rewards = [], [], []

    def _finish(self, *, terminated: bool, truncated: bool, success: bool) -> None:
        if self._actions:
            sample = Sample(
                instruction=self._instruction,
                frames=np.stack(self._frames),
                actions=np.array(self._actions, dtype=np.int64),
                rewards=np.array(self._rewards, dtype=np.float64),
                terminated=terminated,
                truncated=truncated,
                success=success,
                seed=self._seed,
                task=self._task,
                expert=self._expert,
                versions=self._versions,
            )
            self._sink.append(sample)
        self.discard()
