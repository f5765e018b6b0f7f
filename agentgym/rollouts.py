"""Rollouts: any `predict` x environment x seeds -> episodes.

A policy is known only by `predict`, so that a random, scripted, Stable-Baselines3 or agent policy is scored by the same
code. Each seed is one episode, whatever the number of environments. This module knows no model and no statistics.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from agentgym import environments, experts
from agentgym.acting import Policy
from agentgym.environments import MiniGridTask, Observation, decode_instruction
from agentgym.recipes import FrameRecipe


@dataclass(frozen=True)
class Episode:
    """One rolled-out episode; its seed and actions reproduce it."""

    task: str
    seed: int
    instruction: str
    success: bool
    total_reward: float
    length: int
    actions: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "actions": list(self.actions)}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Episode":
        """From plain values."""
        return Episode(**{**values, "actions": tuple(values["actions"])})


class ExpertPolicy:
    """An expert as a policy: it is shown the environment when an episode starts, and may plan on its state."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._experts: dict[int, experts.Expert] = {}

    def start(self, row: int, environment: MiniGridTask, seed: int) -> None:
        """An episode of that seed has begun in row `row` of the batch."""
        self._experts[row] = experts.make(self._name)
        self._experts[row].start(environment, seed)

    def stop(self, row: int) -> None:
        """Row `row` has no further episode."""
        del self._experts[row]

    def predict(
        self, observation: Observation, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[NDArray[np.int64], None]:
        """The experts' actions; 0 for rows that have no further episode."""
        actions = np.zeros(len(observation["frame"]), np.int64)
        for row, expert in self._experts.items():
            actions[row] = expert.act({key: values[row] for key, values in observation.items()})
        return actions, None


def rollout(
    policy: Policy,
    task: str,
    *,
    frame: FrameRecipe,
    seeds: Sequence[int],
    num_environments: int,
    deterministic: bool,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Episode]:
    """One episode for each seed, in the order of the seeds; every seed counts, however long its episode takes.

    The environments share the seeds: each takes the next one when its episode ends. `advance(1)` follows each episode.
    """
    slots = [_Slot(environments.make(task, frame=frame), task) for _ in range(min(num_environments, len(seeds)))]
    waiting = iter(enumerate(seeds))
    finished: dict[int, Episode] = {}
    for row, slot in enumerate(slots):
        slot.begin(*next(waiting))
        _show(policy, row, slot)
    episode_start, state = np.ones(len(slots), dtype=bool), None
    while len(finished) < len(seeds):
        live = [row for row, slot in enumerate(slots) if not slot.idle]
        observation = {key: np.stack([slot.observation[key] for slot in slots]) for key in slots[0].observation}
        actions, state = policy.predict(observation, state, episode_start, deterministic)
        episode_start = np.ones(len(slots), dtype=bool)  # a row without an episode stays at its start
        for row in live:
            slot = slots[row]
            episode = slot.step(actions[row])
            episode_start[row] = episode is not None
            if episode is None:
                continue
            finished[slot.number] = episode
            advance(1)
            following = next(waiting, None)
            slot.idle = following is None
            if following is not None:
                slot.begin(*following)
                _show(policy, row, slot)
            elif isinstance(policy, ExpertPolicy):
                policy.stop(row)
    for slot in slots:
        slot.environment.close()
    return [finished[number] for number in range(len(seeds))]


def rollout_expert(
    name: str, task: str, *, frame: FrameRecipe, seeds: Sequence[int], workers: int, advance: Callable[[int], None]
) -> list[Episode]:
    """An expert's episodes, by all workers; the same for any number of them."""
    chunks = [seeds[start : start + 25] for start in range(0, len(seeds), 25)]
    parallel = Parallel(n_jobs=min(workers, len(chunks)), return_as="generator")
    episodes: list[Episode] = []
    for chunk in parallel(delayed(_rollout_chunk)(name, task, frame, chunk) for chunk in chunks):
        episodes += chunk
        advance(len(chunk))
    return episodes


def _rollout_chunk(name: str, task: str, frame: FrameRecipe, seeds: Sequence[int]) -> list[Episode]:
    return rollout(ExpertPolicy(name), task, frame=frame, seeds=seeds, num_environments=1, deterministic=True)


def replay_frames(episode: Episode, frame: FrameRecipe) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """What the agent saw and the whole room from above, uint8[T + 1, ...] each, by playing the episode again."""
    env = environments.make(episode.task, frame=frame)
    observation, _ = env.reset(seed=episode.seed)
    seen, world = [observation["frame"]], [env.render()]
    for action in episode.actions:
        observation = env.step(action)[0]
        seen.append(observation["frame"])
        world.append(env.render())
    env.close()
    return np.stack(seen), np.stack(world)


class _Slot:
    """One environment of a rollout and the episode in it."""

    def __init__(self, environment: MiniGridTask, task: str) -> None:
        self.environment = environment
        self.task = task
        self.idle = False

    def begin(self, number: int, seed: int) -> None:
        self.number, self.seed = number, seed
        self.observation, _ = self.environment.reset(seed=seed)
        self.instruction = decode_instruction(self.observation["instruction"])
        self.actions: list[int] = []
        self.total_reward = 0.0

    def step(self, action: Any) -> Episode | None:
        """The episode, when this was its last step."""
        self.observation, reward, terminated, truncated, info = self.environment.step(int(action))
        self.actions.append(int(action))
        self.total_reward += reward
        if not (terminated or truncated):
            return None
        success, length = info["is_success"], len(self.actions)
        return Episode(self.task, self.seed, self.instruction, success, self.total_reward, length, tuple(self.actions))


def _show(policy: Policy, row: int, slot: _Slot) -> None:
    """Experts are shown the environment; other policies have only observations."""
    if isinstance(policy, ExpertPolicy):
        policy.start(row, slot.environment, slot.seed)
