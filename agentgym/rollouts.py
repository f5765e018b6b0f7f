"""Rollouts: any `predict` x environment x seeds -> episodes.

A policy is known only by `predict`, so that a random, scripted, Stable-Baselines3 or agent policy is scored by the same
code. Each seed is one episode, whatever the number of environments. Experts, who plan on the environment's own state,
are played one at a time, and what they do wrong costs their own episode. This module knows no model and no statistics.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from agentgym import environments, experts
from agentgym.acting import Policy
from agentgym.action_series import as_action, as_plain
from agentgym.action_spaces import SpaceCodec
from agentgym.collection import OutOfTime, ignore_interrupts, time_limit
from agentgym.environments import Task, decode_instruction
from agentgym.errors import UserError
from agentgym.recipes import BudgetRecipe, FrameRecipe, TaskRecipe

CHUNK = 25  # seeds that a worker plays before it is given more


@dataclass(frozen=True)
class Episode:
    """One rolled-out episode; its seed and actions reproduce it. `error` says why an expert gave it up.

    `over_budget` when it was not the expert who gave up, but the budget of steps or time that was used up.
    """

    task: str
    seed: int
    instruction: str
    success: bool
    total_reward: float
    length: int
    actions: tuple[Any, ...]  # as plain values (see `agentgym.action_series`)
    error: str | None = None
    over_budget: bool = False

    @property
    def outcome(self) -> str:
        """What became of it: "solved", "failed", "error" or "timeout", as a recording counts them."""
        if self.over_budget:
            return "timeout"
        return "error" if self.error else "solved" if self.success else "failed"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "actions": list(self.actions)}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Episode":
        """From plain values."""
        return Episode(**{**values, "actions": tuple(values["actions"])})


@runtime_checkable
class Seeded(Protocol):
    """A policy that draws by the episode's seed, so that its draws do not depend on what else is in the batch."""

    def start(self, row: int, seed: int) -> None:
        """An episode of that seed has begun in row `row` of the batch."""
        ...


@runtime_checkable
class Versatile(Protocol):
    """A policy that knows several spaces of actions, and is told which of them it plays."""

    def playing(self, space: SpaceCodec, task: str) -> Policy:
        """The policy as it plays environments with that space; raises UserError when it knows none such."""
        ...


def fitted(policy: Policy, task: str | TaskRecipe, frame: FrameRecipe) -> Policy:
    """The policy as it plays that task."""
    if not isinstance(policy, Versatile):
        return policy
    env = environments.make(task, frame=frame)
    space = SpaceCodec.of(env.action_space, env.action_names)
    env.close()
    return policy.playing(space, env.task)


def rollout(
    policy: Policy,
    task: str | TaskRecipe,
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
    policy = fitted(policy, task, frame)
    slots = [_Slot(environments.make(task, frame=frame)) for _ in range(min(num_environments, len(seeds)))]
    waiting = iter(enumerate(seeds))
    finished: dict[int, Episode] = {}

    def begin(row: int, number: int, seed: int) -> None:
        slots[row].begin(number, seed)
        if isinstance(policy, Seeded):
            policy.start(row, seed)

    for row in range(len(slots)):
        begin(row, *next(waiting))
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
                begin(row, *following)
    for slot in slots:
        slot.environment.close()
    return [finished[number] for number in range(len(seeds))]


def rollout_expert(
    name: str,
    task: str | TaskRecipe,
    *,
    frame: FrameRecipe,
    seeds: Sequence[int],
    workers: int,
    budget: BudgetRecipe = BudgetRecipe(),  # noqa: B008  (frozen)
    advance: Callable[[int], None] = lambda count: None,
) -> list[Episode]:
    """An expert's episodes, by all workers; the same for any number of them.

    An episode in which the expert raises, or that costs more than the budget, is a failure that says so in its `error`.
    """

    def chunk_of(seeds: Sequence[int]) -> tuple[Any, ...]:
        return name, task, frame, seeds, budget

    return on_workers(_expert_episodes, [chunk_of(seeds) for seeds in chunks(seeds, CHUNK)], workers, advance)


def chunks(seeds: Sequence[int], size: int) -> list[Sequence[int]]:
    """The seeds in consecutive parts of at most `size`."""
    return [seeds[start : start + size] for start in range(0, len(seeds), size)]


def on_workers(
    play: Callable[..., list[Episode]], jobs: list[tuple[Any, ...]], workers: int, advance: Callable[[int], None]
) -> list[Episode]:
    """The episodes of play(*job) for each job, in order, by as many processes; one worker is this process."""
    parallel = Parallel(n_jobs=min(workers, len(jobs)), return_as="generator", initializer=ignore_interrupts)
    episodes: list[Episode] = []
    for played in parallel(delayed(play)(*job) for job in jobs):
        episodes += played
        advance(len(played))
    return episodes


def _expert_episodes(
    name: str, task: str | TaskRecipe, frame: FrameRecipe, seeds: Sequence[int], budget: BudgetRecipe
) -> list[Episode]:
    slot = _Slot(environments.make(task, frame=frame))
    expert = experts.make(name)
    episodes = [_play_expert(expert, slot, number, seed, budget) for number, seed in enumerate(seeds)]
    slot.environment.close()
    return episodes


def _play_expert(expert: experts.Expert, slot: "_Slot", number: int, seed: int, budget: BudgetRecipe) -> Episode:
    slot.begin(number, seed)
    try:
        with time_limit(budget.seconds):
            expert.start(slot.environment, seed)
            episode = None
            while episode is None:
                if len(slot.actions) == budget.steps:
                    return slot.give_up(f"no end after {budget.steps} steps", over_budget=True)
                episode = slot.step(expert.act(slot.observation))
            return episode
    except OutOfTime:
        return slot.give_up(f"no end after {budget.seconds:g} s", over_budget=True)
    except UserError:
        raise
    except Exception as error:  # an expert is foreign code and may raise anything
        reason = str(error).partition("\n")[0]
        return slot.give_up(f"{type(error).__name__}: {reason}" if reason else type(error).__name__)


def replay_frames(
    episode: Episode, task: str | TaskRecipe, frame: FrameRecipe
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """What the agent saw and the whole room from above, uint8[T + 1, ...] each, by playing the episode again."""
    env = environments.make(task, frame=frame)
    observation, _ = env.reset(seed=episode.seed)
    seen, world = [observation["frame"]], [env.render()]
    space = SpaceCodec.of(env.action_space).root
    for action in episode.actions:
        observation = env.step(as_action(space, action))[0]
        seen.append(observation["frame"])
        world.append(env.render())
    env.close()
    return np.stack(seen), np.stack(world)


class _Slot:
    """One environment of a rollout and the episode in it."""

    def __init__(self, environment: Task) -> None:
        self.environment = environment
        self._space = SpaceCodec.of(environment.action_space).root
        self.idle = False

    def begin(self, number: int, seed: int) -> None:
        self.number, self.seed = number, seed
        self.observation, _ = self.environment.reset(seed=seed)
        self.instruction = decode_instruction(self.observation["instruction"])
        self.actions: list[Any] = []
        self.total_reward = 0.0

    def step(self, action: Any) -> Episode | None:
        """The episode, when this was its last step."""
        action = as_action(self._space, action)
        self.observation, reward, terminated, truncated, info = self.environment.step(action)
        self.actions.append(as_plain(self._space, action))
        self.total_reward += reward
        if not (terminated or truncated):
            return None
        return self._episode(success=info["is_success"])

    def give_up(self, error: str, *, over_budget: bool = False) -> Episode:
        """The episode as far as it came: a failure."""
        return replace(self._episode(success=False), error=error, over_budget=over_budget)

    def _episode(self, *, success: bool) -> Episode:
        actions = tuple(self.actions)
        return Episode(
            self.environment.task, self.seed, self.instruction, success, self.total_reward, len(actions), actions
        )
