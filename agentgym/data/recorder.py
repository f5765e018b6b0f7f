"""Recorder: a wrapper that changes nothing the agent sees and turns every episode into a Sample.

It knows no file: samples go to whatever has `append`, such as a `store.DatasetWriter` or a list.
"""

from typing import Any

import gymnasium

from agentgym.data.episode_builder import EpisodeBuilder, Sink
from agentgym.environments import Observation
from agentgym.spaces import SpaceCodec
from agentgym.versions import installed_versions


class Recorder(gymnasium.Wrapper[Observation, Any, Observation, Any]):
    """Passes observations, rewards and infos through untouched and appends each episode to `sink` when it ends.

    The environment shows {"frame", "instruction"} and names the episode's seed in `info["seed"]` of `reset`, as all
    environments of `agentgym.make` do; otherwise reset raises KeyError. An episode that is left by `reset` or `close`
    in mid-course is recorded as neither terminated nor truncated; `discard` forgets it instead. Actions reach the
    environment as its space has them, in the dtype in which they are recorded, so that a replay is the same.
    """

    def __init__(self, env: gymnasium.Env[Observation, Any], sink: Sink, *, task: str, expert: str) -> None:
        super().__init__(env)
        packages = installed_versions(getattr(env.unwrapped, "packages", ()))
        self._builder = EpisodeBuilder(
            sink, SpaceCodec.of(env.action_space).root, task=task, expert=expert, versions=packages
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """As the environment's; a new episode begins."""
        builder = self._builder
        builder.flush()
        observation, info = self.env.reset(seed=seed, options=options)
        builder.begin(observation["instruction"], observation["frame"], int(info["seed"]))
        return observation, info

    def label(self, action: Any) -> None:
        """Says what the expert would do, whatever the next step executes. Either all steps of an episode or none."""
        self._builder.label(action)

    def step(self, action: Any) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        """As the environment's; at the end of the episode its sample goes to the sink.

        Raises ValueError when some steps of the episode have labels and others have none.
        """
        builder = self._builder  # once: looking up what a wrapper has costs more than elsewhere
        action = builder.prepare(action)
        result = observation, reward, terminated, truncated, info = self.env.step(action)
        builder.add(action, observation["frame"], float(reward))
        if terminated or truncated:
            builder.end(terminated=terminated, truncated=truncated, success=bool(info["is_success"]))
        return result

    def close(self) -> None:
        """Records what is unfinished, then closes the environment."""
        self._builder.flush()
        super().close()

    def discard(self) -> None:
        """Forgets the episode in hand."""
        self._builder.discard()
