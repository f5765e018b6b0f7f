"""Recorder: a wrapper that changes nothing the agent sees and turns every episode into an Episode.

It knows no file: episodes go to whatever has `append`, such as a `store.DatasetWriter` or a list.
"""

import inspect
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from agentgym.data.episode_builder import EpisodeBuilder, Sink
from agentgym.environments import Observation, Task
from agentgym.errors import UserError
from agentgym.spaces import SpaceCodec
from agentgym.versions import installed_versions

CHANGING = (
    *(gymnasium.ActionWrapper, gymnasium.ObservationWrapper, gymnasium.RewardWrapper),
    *(gymnasium.wrappers.StickyAction, gymnasium.wrappers.RepeatAction, gymnasium.wrappers.NormalizeReward),
    *(gymnasium.vector.VectorActionWrapper, gymnasium.vector.VectorObservationWrapper),
    gymnasium.vector.VectorRewardWrapper,
)
WORKERS = ("gymnasium.vector.async_vector_env", "stable_baselines3.common.vec_env.subproc_vec_env")


class Recorder(gymnasium.Wrapper[Observation, Any, Observation, Any]):
    """Passes observations, rewards and infos through untouched and appends each episode to `sink` when it ends.

    The environment is one of `agentgym.make` or `agentgym.wrap`, under any wrappers that leave its observation as it is
    (TimeLimit, RecordEpisodeStatistics, ...): it shows {"frame": uint8[H, W, 3], "instruction": uint8[L]} and names the
    episode's seed in `info["seed"]` of `reset`. Wrappers that change what the agent sees, or that reset by themselves,
    go around the recorder. An end without `info["is_success"]` is no success. An episode that `reset` or
    `close` in mid-course is recorded as neither terminated nor truncated; `discard` forgets it instead. Actions reach
    the environment as its space has them, in the dtype in which they are recorded, so that a replay is the same.

    Raises UserError for an environment that cannot be recorded, for wrappers between it and the recorder that change
    actions, frames or rewards, and for a list as sink in the worker of a vector
    environment, which would stay there.
    """

    def __init__(self, env: gymnasium.Env[Observation, Any], sink: Sink, *, task: str, expert: str) -> None:
        super().__init__(env)
        check_no_autoreset(env, "a recorder", "put the recorder inside: Autoreset(Recorder)")
        if isinstance(env.unwrapped, Task):
            check_nothing_changed(env)
        _check_sink(sink)
        self._task = task
        packages = installed_versions(getattr(env.unwrapped, "packages", ()))
        self._builder = EpisodeBuilder(
            sink, SpaceCodec.of(env.action_space).root, task=task, expert=expert, versions=packages
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """As the environment's; a new episode begins. Raises UserError for options, which a replay would not know."""
        builder = self._builder
        builder.flush()
        if options:
            raise UserError(f"{self._task}: a recorded reset takes no options ({', '.join(map(str, options))})")
        observation, info = self.env.reset(seed=seed)
        parts = observation if isinstance(observation, dict) else {}
        if not {"frame", "instruction"} <= parts.keys() or getattr(parts["frame"], "ndim", 3) > 3:
            check_observations(self.env.observation_space, str(self.env))
        named = info.get("seed", seed)
        if named is None:
            raise UserError(
                f"{self._task}: its reset names no seed in info['seed']; give reset one, or use agentgym.wrap"
            )
        builder.begin(observation["instruction"], observation["frame"], int(named), info.get("kept"))
        return observation, info

    def label(self, action: Any, probabilities: NDArray[np.float32] | None = None) -> None:
        """Says what the expert would do, whatever the next step executes. Either all steps of an episode or none.

        `probabilities`, float32[actions], are the expert's of each action of a Discrete space; they are recorded in
        the column `label_probabilities`, which the dataset's header then names.
        """
        self._builder.label(action, probabilities)

    def step(self, action: Any) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        """As the environment's; an episode that ends goes to the sink.

        Raises ValueError for an action outside the space, and when some steps of the episode have labels and others
        have none; UserError for a step under another instruction than the episode's.
        """
        builder = self._builder  # once: looking up what a wrapper has costs more than elsewhere
        action = builder.prepare(action)
        result = observation, reward, terminated, truncated, info = self.env.step(action)
        builder.add(action, observation["frame"], float(reward), observation["instruction"], info.get("kept"))
        if terminated or truncated:
            success = bool(info.get("is_success", False))
            builder.end(terminated=bool(terminated), truncated=bool(truncated), success=success)
        return result

    def close(self) -> None:
        """Records what is unfinished, then closes the environment."""
        self._builder.flush()
        super().close()

    def discard(self) -> None:
        """Drops the current episode."""
        self._builder.discard()


def check_observations(space: gymnasium.Space[Any], who: str) -> None:
    """Raises UserError unless the observations are {"frame": uint8[height, width, 3], "instruction": uint8[bytes]}."""
    parts = space.spaces if isinstance(space, gymnasium.spaces.Dict) else {}
    found = {name: (part.dtype, len(part.shape or ())) for name, part in parts.items()}
    if (found.get("frame"), found.get("instruction")) == ((np.uint8, 3), (np.uint8, 1)):
        return
    shown = f"a dictionary of {', '.join(parts)}" if parts else str(space)
    if "frame" in found and "instruction" in found:
        shown = f"frames {parts['frame'].dtype}{list(parts['frame'].shape or ())}"
    raise UserError(
        f"{who}: shows {shown}; a recorder records what agentgym.make or agentgym.wrap shows: put wrappers that change "
        "observations around the recorder"
    )


def check_nothing_changed(env: Any) -> None:
    """Raises UserError for a wrapper that executes other actions than it is given, or shows other frames or rewards.

    Of a task by its name that would be a demonstration of something else. What `agentgym.wrap` has inside is its own.
    """
    layer = env
    while isinstance(layer, gymnasium.Wrapper | gymnasium.vector.VectorWrapper):
        if isinstance(layer, CHANGING):
            raise UserError(
                f"{env}: {type(layer).__name__} changes what the task is given or shows, so that something else "
                "would be recorded: put it around the recorder, or inside agentgym.wrap"
            )
        layer = layer.env
    for row in getattr(layer, "envs", ()):  # of a vector environment in this process
        check_nothing_changed(row)


def check_no_autoreset(env: gymnasium.Env[Any, Any], who: str, remedy: str) -> None:
    """Raises UserError for an environment that resets itself, which `who`, around it, would not see."""
    layer: Any = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, gymnasium.wrappers.Autoreset):
            raise UserError(f"{env}: resets on its own, unseen by {who}; {remedy}")
        layer = layer.env


def _check_sink(sink: Sink) -> None:
    """Raises UserError for a list that lives in a worker of a vector environment: no one else would see it."""
    frame = inspect.currentframe() if isinstance(sink, list) else None
    while frame is not None:
        if frame.f_globals.get("__name__") in WORKERS:
            raise UserError(
                "a recorder in another process appends to a list of that process, which is lost with it; use "
                "VectorRecorder or DummyVecEnv, or open a DatasetWriter there, with a folder for each process"
            )
        frame = frame.f_back
