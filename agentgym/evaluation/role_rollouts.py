"""A plan's episodes, by the workers of an engine: the same for any number of them, on any engine."""

from collections.abc import Callable, Sequence

from agentgym.evaluation import policy_registry
from agentgym.evaluation.expert_rollouts import rollout_expert
from agentgym.evaluation.policy_registry import PolicySpec
from agentgym.evaluation.protocol import EvaluationConfig
from agentgym.evaluation.results import RolloutResult
from agentgym.evaluation.rollouts import rollout
from agentgym.executors import Executor
from agentgym.recipes import EvaluationRecipe, FrameRecipe, TaskRecipe

OnProgress = Callable[[int], None]


def play_reference(plan: EvaluationConfig, expert: str, engine: Executor, advance: OnProgress) -> list[RolloutResult]:
    """The episodes of an expert, or of the random policy, over all tasks."""
    return [
        episode
        for task in plan.suite.tasks
        for episode in rollout_expert(
            expert, task, frame=plan.suite.frame, seeds=plan.seeds, engine=engine, advance=advance
        )
    ]


def play_agent(plan: EvaluationConfig, engine: Executor | None, advance: OnProgress) -> list[RolloutResult]:
    """The episodes of the plan's policy over all tasks; without an engine by this process, whose threads it uses."""
    size = len(plan.seeds) if engine is None else -(-len(plan.seeds) // engine.workers)
    parts = [plan.seeds[first : first + size] for first in range(0, len(plan.seeds), size)]
    jobs = [(plan.player, task, plan.suite.frame, plan.protocol, part) for task in plan.suite.tasks for part in parts]
    if engine is None:
        return [episode for job in jobs for episode in _play_seeds(*job, advance)]
    episodes: list[RolloutResult] = []
    for played in engine.map(_play_seeds, jobs):
        episodes += played
        advance(len(played))
    return episodes


def _play_seeds(
    player: PolicySpec,
    task: TaskRecipe,
    frame: FrameRecipe,
    protocol: EvaluationRecipe,
    seeds: Sequence[int],
    advance: OnProgress = lambda count: None,
) -> list[RolloutResult]:
    return rollout(
        policy_registry.load_once(player, sampled=not protocol.deterministic),
        task,
        frame=frame,
        seeds=seeds,
        num_environments=protocol.environments,
        deterministic=protocol.deterministic,
        vector=protocol.vector,
        advance=advance,
    )
