"""Rollouts: any `predict` x environment x seeds -> episodes.

A policy is known only by `predict`, so that a random, scripted, Stable-Baselines3 or agent policy is scored by the same
code. Each seed is one episode, whatever the number of environments and whichever way they run side by side. This module
knows no model and no statistics.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from agentgym import environments
from agentgym.environments import decode_instruction
from agentgym.environments.vector import SeededEnvironments, Vector
from agentgym.evaluation.results import RolloutBuilder, RolloutResult
from agentgym.policies.protocol import Policy
from agentgym.recipes import FrameRecipe, SuiteRecipe, TaskRecipe
from agentgym.spaces import SpaceCodec


@runtime_checkable
class Seeded(Protocol):
    """A policy that draws by the episode's seed, so that its draws do not depend on what else is in the batch."""

    def start(self, row: int, seed: int) -> None:
        """An episode of that seed has begun in row `row` of the batch."""
        ...


@runtime_checkable
class SupportsSelect(Protocol):
    """A policy whose batch may become narrower, so that it need not act where no episode is left."""

    def select(self, state: Any, rows: NDArray[np.int64]) -> Any:
        """The state of those rows (int64[K]), which are the whole batch from now on."""
        ...


@runtime_checkable
class MultiDomain(Protocol):
    """A policy that knows several spaces of actions, and is given the one that it plays."""

    def playing(self, space: SpaceCodec, task: str) -> Policy:
        """The policy as it plays environments with that space; raises UserError when it knows none such."""
        ...


def fitted(policy: Policy, task: str | TaskRecipe, frame: FrameRecipe) -> Policy:
    """The policy as it plays that task."""
    if not isinstance(policy, MultiDomain):
        return policy
    env = environments.make(task, frame=frame)
    space = SpaceCodec.of(env.action_space, env.action_names)
    env.close()
    return policy.playing(space, env.task)


def rollout(
    policy: Policy,
    task: str | TaskRecipe,
    *,
    seeds: Sequence[int],
    frame: FrameRecipe | None = None,
    num_environments: int = 32,
    deterministic: bool = True,
    vector: Vector = "sync",
    on_progress: Callable[[int], None] = lambda count: None,
) -> list[RolloutResult]:
    """One episode for each seed, in the order of the seeds; every seed counts, however long its episode takes.

    The environments share the seeds: each takes the next one when its episode ends; so the results do not depend on
    `num_environments` or `vector`. Returns are undiscounted sums of rewards, lengths are in steps. `on_progress(1)` is
    called after each episode. Raises UserError when the environment does not fit the policy, or its process dies.
    """
    if not seeds:
        return []
    frame = frame or FrameRecipe()
    policy = fitted(policy, task, frame)
    envs = SeededEnvironments(task, frame, min(num_environments, len(seeds)), vector)
    finished: dict[int, RolloutResult] = {}
    try:
        for number, episode in _Rows(policy, envs, seeds).play(deterministic):
            finished[number] = episode
            on_progress(1)
    finally:
        envs.close()
    return [finished[number] for number in range(len(seeds))]


def play_suite(
    policy: Policy, suite: SuiteRecipe, seeds: Sequence[int], *, num_environments: int, deterministic: bool
) -> list[RolloutResult]:
    """The episodes of those seeds of each task of a suite, in this process."""
    if not len(seeds):
        return []
    return [
        episode
        for task in suite.tasks
        for episode in rollout(
            policy,
            task,
            frame=suite.frame,
            seeds=seeds,
            num_environments=num_environments,
            deterministic=deterministic,
        )
    ]


class _Rows:
    """The episodes in a batch of environments; a row that finds no seed waiting rests."""

    def __init__(self, policy: Policy, envs: SeededEnvironments, seeds: Sequence[int]) -> None:
        self._policy, self._envs = policy, envs
        self._waiting = deque(enumerate(seeds))
        self._numbers = [-1] * envs.count
        self._builders: list[RolloutBuilder | None] = [None] * envs.count

    def play(self, deterministic: bool) -> Iterator[tuple[int, RolloutResult]]:
        """Each episode with its number, as they end."""
        state, over = None, np.ones(self._envs.count, bool)
        shown = np.arange(self._envs.count)  # the rows that the policy sees
        while True:
            self._begin(over)
            resting = np.array([builder is None for builder in self._builders])
            if resting.all():
                return
            if resting[shown].any() and isinstance(self._policy, SupportsSelect):
                state = self._policy.select(state, np.flatnonzero(~resting[shown]))
                shown = shown[~resting[shown]]
            starts = over | resting  # a row without an episode stays at its start
            observation = {key: values[shown] for key, values in self._envs.observation.items()}
            chosen, state = self._policy.predict(observation, state, starts[shown], deterministic)
            actions = dict(zip(shown.tolist(), chosen, strict=True))
            moves = self._envs.step([actions.get(row, chosen[0]) for row in range(self._envs.count)])
            over = moves.over
            for row, builder in enumerate(self._builders):
                if builder is not None:
                    builder.add(moves.actions[row], moves.rewards[row])
                    if over[row]:
                        yield self._numbers[row], builder.end(success=bool(moves.successes[row]))

    def _begin(self, over: NDArray[np.bool_]) -> None:
        """The waiting seeds begin in the rows whose episode is over."""
        if not over.any():
            return
        seeds: list[int | None] = [None] * len(over)
        for row in np.flatnonzero(over).tolist():
            if self._waiting:
                self._numbers[row], seeds[row] = self._waiting.popleft()
        self._envs.begin(seeds, over)
        for row in np.flatnonzero(over).tolist():
            self._builders[row] = self._start_builder(row, seeds[row])

    def _start_builder(self, row: int, seed: int | None) -> RolloutBuilder | None:
        if seed is None:
            return None
        if isinstance(self._policy, Seeded):
            self._policy.start(row, seed)
        instruction = decode_instruction(self._envs.observation["instruction"][row])
        return RolloutBuilder(self._envs.task, seed, instruction, self._envs.space)
