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


def rollout_reference(
    config: EvaluationConfig, expert: str, engine: Executor, on_progress: OnProgress
) -> list[RolloutResult]:
    """The episodes of an expert, or of the random policy, over all tasks."""
    return [
        episode
        for task in config.suite.tasks
        for episode in rollout_expert(
            expert, task, frame=config.suite.frame, seeds=config.seeds, engine=engine, on_progress=on_progress
        )
    ]


def rollout_agent(config: EvaluationConfig, engine: Executor | None, on_progress: OnProgress) -> list[RolloutResult]:
    """The episodes of the plan's policy over all tasks; without an engine by this process, whose threads it uses."""
    size = len(config.seeds) if engine is None else -(-len(config.seeds) // engine.workers)
    parts = [config.seeds[first : first + size] for first in range(0, len(config.seeds), size)]
    jobs = [
        (config.policy, task, config.suite.frame, config.protocol, part)
        for task in config.suite.tasks
        for part in parts
    ]
    if engine is None:
        return [episode for job in jobs for episode in _play_seeds(*job, on_progress)]
    episodes: list[RolloutResult] = []
    for played in engine.map(_play_seeds, jobs):
        episodes += played
        on_progress(len(played))
    return episodes


def _play_seeds(
    spec: PolicySpec,
    task: TaskRecipe,
    frame: FrameRecipe,
    protocol: EvaluationRecipe,
    seeds: Sequence[int],
    on_progress: OnProgress = lambda count: None,
) -> list[RolloutResult]:
    return rollout(
        policy_registry.load_once(spec, sampled=not protocol.deterministic),
        task,
        frame=frame,
        seeds=seeds,
        num_environments=protocol.environments,
        deterministic=protocol.deterministic,
        vector=protocol.vector,
        on_progress=on_progress,
    )
