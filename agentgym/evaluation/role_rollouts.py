"""The episodes of an evaluation by role: who is scored, and the references.

    agent      who is scored                       random     uniformly random actions
    expert     whose score is 1                    constant   the best constant action, chosen on other seeds
    repeat     the last action again

The same for any number of workers, on any engine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gymnasium

from agentgym import environments
from agentgym.evaluation import policy_registry
from agentgym.evaluation.expert_rollouts import rollout_expert
from agentgym.evaluation.policy_registry import PolicySpec
from agentgym.evaluation.protocol import EvaluationConfig, Play
from agentgym.evaluation.results import RolloutResult
from agentgym.evaluation.rollouts import rollout
from agentgym.executors import Executor
from agentgym.experts import CONSTANT
from agentgym.recipes import BudgetRecipe, EvaluationRecipe

CHOICE = range(1_900_000_000, 1_900_000_008)  # seeds on which the constant action is chosen: of no evaluation
CHOICE_STEPS = 1000  # of each of them: a constant action may never end a game
MANY_STEPS = 50_000  # that a policy may take in a task's episodes: below, what a process costs to start is not worth it
UNKNOWN_STEPS = 1000  # of an episode whose limit is not known
UNHURRIED = BudgetRecipe(seconds=1e6)  # players that compute nothing have no time budget

OnProgress = Callable[[int], None]


@dataclass(frozen=True)
class Workers:
    """Who does the work: an executor's workers, and whether those play a policy too: None where the task decides."""

    executor: Executor
    play_policies: bool | None


def play_role(
    config: EvaluationConfig, play: Play, role: str, seeds: Sequence[int], workers: Workers, on_progress: OnProgress
) -> list[RolloutResult]:
    """The episodes of those seeds of a task, by who has that role."""
    if role == "agent" and config.policy.kind != "expert":
        shared = _is_worth_sharing(config, play, seeds) if workers.play_policies is None else workers.play_policies
        return _rollout_agent(config, play, seeds, workers.executor if shared else None, on_progress)
    who, budget = _expert_of(config, play, role, workers)
    return rollout_expert(
        who, play.task, frame=play.frame, seeds=seeds, engine=workers.executor, budget=budget, on_progress=on_progress
    )


def has_role(play: Play, role: str) -> bool:
    """Whether a task has such a player: not all have an expert, or actions one of which can be constant."""
    if role == "constant":
        return num_actions(play) is not None
    return role != "expert" or play.expert is not None


def _is_worth_sharing(config: EvaluationConfig, play: Play, seeds: Sequence[int]) -> bool:
    """Whether several processes play an agent's episodes sooner: on a CPU, where there may be many steps."""
    if config.policy.kind != "agent":
        return False
    from agentgym.model.device import default_device

    env = environments.make(play.task, frame=play.frame)
    longest = env.longest or UNKNOWN_STEPS
    env.close()
    return default_device().type == "cpu" and len(seeds) * longest >= MANY_STEPS


def num_actions(play: Play) -> int | None:
    """How many actions a task has; None where they are not of a Discrete space."""
    env = environments.make(play.task, frame=play.frame)
    space = env.action_space
    env.close()
    return int(space.n) if isinstance(space, gymnasium.spaces.Discrete) else None


def best_constant(play: Play, engine: Executor) -> int:
    """The action that has the highest mean return where nothing else is ever done, on seeds of their own."""
    key = play.task.model_dump_json(), play.frame.model_dump_json()
    if key not in _chosen:
        _chosen[key] = _choose_constant(play, engine)
    return _chosen[key]


_chosen: dict[tuple[str, str], int] = {}  # the choice depends only on the task, and costs more than a few episodes


def _choose_constant(play: Play, engine: Executor) -> int:
    budget = BudgetRecipe(seconds=UNHURRIED.seconds, steps=CHOICE_STEPS)
    totals = []
    for place in range(num_actions(play) or 0):
        played = rollout_expert(
            f"{CONSTANT}{place}", play.task, frame=play.frame, seeds=CHOICE, engine=engine, budget=budget
        )
        totals.append(sum(episode.total_reward for episode in played))
    return totals.index(max(totals))


def _expert_of(config: EvaluationConfig, play: Play, role: str, workers: Workers) -> tuple[str, BudgetRecipe]:
    """The expert that plays a role, and what its episodes may cost."""
    if role == "agent":
        own = play.budget if config.policy.who == play.expert else BudgetRecipe()
        return config.policy.who, own
    if role == "expert":
        assert play.expert
        return play.expert, play.budget
    return f"{CONSTANT}{best_constant(play, workers.executor)}" if role == "constant" else role, UNHURRIED


def _rollout_agent(
    config: EvaluationConfig, play: Play, seeds: Sequence[int], executor: Executor | None, on_progress: OnProgress
) -> list[RolloutResult]:
    """The episodes of the policy that is scored; without an executor by this process, whose threads it uses."""
    if executor is None:
        return _play_seeds(config.policy, play, config.protocol, seeds, on_progress)
    size = -(-len(seeds) // executor.workers)
    jobs = [(config.policy, play, config.protocol, seeds[first : first + size]) for first in range(0, len(seeds), size)]
    episodes: list[RolloutResult] = []
    for played in executor.map(_play_seeds, jobs):
        episodes += played
        on_progress(len(played))
    return episodes


def _play_seeds(
    spec: PolicySpec,
    play: Play,
    protocol: EvaluationRecipe,
    seeds: Sequence[int],
    on_progress: OnProgress = lambda count: None,
) -> list[RolloutResult]:
    return rollout(
        policy_registry.load_once(spec, sampled=not protocol.deterministic),
        play.task,
        frame=play.frame,
        seeds=seeds,
        num_environments=protocol.environments,
        deterministic=protocol.deterministic,
        vector=protocol.vector,
        on_progress=on_progress,
    )
