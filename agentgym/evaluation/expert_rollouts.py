"""Rollouts of experts, who plan on the environment's own state: one episode at a time, by all workers of an engine.

What an expert does wrong costs its own episode. This module knows no model and no statistics.
"""

from collections.abc import Callable, Sequence

from agentgym import environments, experts
from agentgym.environments import Observation, Task, decode_instruction
from agentgym.errors import UserError
from agentgym.evaluation.results import Draft, Episode
from agentgym.executors import Engine, Processes
from agentgym.experts.collection import OutOfTime, time_limit
from agentgym.recipes import BudgetRecipe, FrameRecipe, TaskRecipe
from agentgym.spaces import SpaceCodec
from agentgym.spaces.values import as_action

CHUNK = 25  # seeds that a worker plays before it is given more


def rollout_expert(
    name: str,
    task: str | TaskRecipe,
    *,
    frame: FrameRecipe,
    seeds: Sequence[int],
    engine: Engine = Processes(1),  # noqa: B008  (frozen)
    budget: BudgetRecipe = BudgetRecipe(),  # noqa: B008
    advance: Callable[[int], None] = lambda count: None,
) -> list[Episode]:
    """An expert's episodes, by all workers; the same for any number of them.

    An episode in which the expert raises, or that costs more than the budget, is a failure that says so in its `error`.
    """
    parts = [seeds[first : first + CHUNK] for first in range(0, len(seeds), CHUNK)]
    episodes: list[Episode] = []
    for played in engine.map(play_seeds, [(name, task, frame, part, budget) for part in parts]):
        episodes += played
        advance(len(played))
    return episodes


def play_seeds(
    name: str, task: str | TaskRecipe, frame: FrameRecipe, seeds: Sequence[int], budget: BudgetRecipe
) -> list[Episode]:
    """An expert's episodes of those seeds, in this process."""
    env = environments.make(task, frame=frame)
    expert = experts.make(name)
    env.drawn = not isinstance(expert, experts.Unseeing)
    episodes = [_play(expert, env, seed, budget) for seed in seeds]
    env.close()
    return episodes


def _play(expert: experts.Expert, env: Task, seed: int, budget: BudgetRecipe) -> Episode:
    observation, _ = env.reset(seed=seed)
    space = SpaceCodec.of(env.action_space).root
    draft = Draft(env.task, seed, decode_instruction(observation["instruction"]), space)
    try:
        with time_limit(budget.seconds):
            return _play_to_its_end(expert, env, observation, draft, budget.steps)
    except OutOfTime:
        return draft.give_up(f"no end after {budget.seconds:g} s", over_budget=True)
    except UserError:
        raise
    except Exception as error:  # an expert is foreign code and may raise anything
        reason = str(error).partition("\n")[0]
        return draft.give_up(f"{type(error).__name__}: {reason}" if reason else type(error).__name__)


def _play_to_its_end(
    expert: experts.Expert, env: Task, observation: Observation, draft: Draft, limit: int | None
) -> Episode:
    expert.start(env, draft.seed)
    while len(draft.actions) != limit:
        action = as_action(draft.space, expert.act(observation))
        observation, reward, terminated, truncated, info = env.step(action)
        draft.add(action, reward)
        if terminated or truncated:
            return draft.end(success=bool(info["is_success"]))
    return draft.give_up(f"no end after {limit} steps", over_budget=True)
