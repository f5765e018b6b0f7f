"""Rollouts of experts, who plan on the environment's own state: one episode at a time, by all workers of an engine.

What an expert does wrong costs its own episode. This module knows no model and no statistics.
"""

from collections.abc import Callable, Sequence

from agentgym import environments, experts
from agentgym.environments import Observation, Task, decode_instruction
from agentgym.errors import Foreign, UserError, described
from agentgym.evaluation.results import RolloutBuilder, RolloutResult
from agentgym.executors import Executor, Processes
from agentgym.experts.budget import OutOfTime, seconds_for, share_of, time_limit
from agentgym.recipes import BudgetRecipe, FrameRecipe, TaskRecipe
from agentgym.spaces import SpaceCodec
from agentgym.spaces.values import as_action

CHUNK = 25  # the most seeds that a worker plays before it is given more


def rollout_expert(
    name: str,
    task: str | TaskRecipe,
    *,
    frame: FrameRecipe,
    seeds: Sequence[int],
    engine: Executor = Processes(1),  # noqa: B008  (frozen)
    budget: BudgetRecipe = BudgetRecipe(),  # noqa: B008
    on_progress: Callable[[int], None] = lambda count: None,
) -> list[RolloutResult]:
    """An expert's episodes, by all workers; the same for any number of them.

    An episode in which the expert raises, or that costs more than the budget, is a failure that says so in its `error`.
    """
    size = min(CHUNK, share_of(len(seeds), engine.workers))
    parts = [seeds[first : first + size] for first in range(0, len(seeds), size)]
    episodes: list[RolloutResult] = []
    for played in engine.map(play_seeds, [(name, task, frame, part, budget) for part in parts]):
        episodes += played
        on_progress(len(played))
    return episodes


def play_seeds(
    name: str, task: str | TaskRecipe, frame: FrameRecipe, seeds: Sequence[int], budget: BudgetRecipe
) -> list[RolloutResult]:
    """An expert's episodes of those seeds, in this process."""
    env = environments.make(task, frame=frame)
    expert = experts.make(name)
    env.drawn = not isinstance(expert, experts.StateOnly)
    episodes = [_play(expert, env, seed, budget) for seed in seeds]
    env.close()
    return episodes


def _play(expert: experts.Expert, env: Task, seed: int, budget: BudgetRecipe) -> RolloutResult:
    observation, _ = env.reset(seed=seed)
    space = SpaceCodec.of(env.action_space).root
    builder = RolloutBuilder(env.task, seed, decode_instruction(observation["instruction"]), space)
    try:
        with time_limit(seconds_for(budget, env)), Foreign(env.task, "expert"):
            return _play_to_its_end(expert, env, observation, builder, budget.steps)
    except OutOfTime as over:
        return builder.give_up(str(over), over_budget=True)
    except UserError:
        raise
    except Exception as error:  # an expert is foreign code and may raise anything
        return builder.give_up(described(error))


def _play_to_its_end(
    expert: experts.Expert, env: Task, observation: Observation, builder: RolloutBuilder, limit: int | None
) -> RolloutResult:
    expert.start(env, builder.seed)
    while len(builder.actions) != limit:
        action = as_action(builder.space, expert.act(observation))
        observation, reward, terminated, truncated, info = env.step(action)
        builder.add(action, reward)
        if terminated or truncated:
            return builder.end(success=bool(info["is_success"]))
    return builder.give_up(f"no end after {limit} steps", over_budget=True)
