"""Scores of an evaluation's episodes: task by task next to the references and what others published; over all tasks.

`episodes` are those of episodes.json: by role, as plain values. A score is given as its task asks for: as success where
the task says what that is, else as return.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from agentgym import environments, recipes
from agentgym.evaluation import statistics
from agentgym.evaluation.protocol import EvaluationConfig, Play
from agentgym.evaluation.stored import ROLES
from agentgym.recipes import ReferenceRecipe, TaskRecipe
from agentgym.spaces import SpaceCodec, values

Episodes = dict[str, Any]


def score_task(play: Play, episodes: Episodes, config: EvaluationConfig) -> dict[str, Any]:
    """The scores of one task, as plain values."""
    task = play.task
    normalised = normalised_returns(task, episodes)
    published = _published(task)
    references = {
        role: {**_name(role, play, episodes), **_score(role, task, episodes)}
        for role in ("random", "expert", "constant", "repeat")
        if any(episode["task"] == task.id for episode in episodes.get(role, ()))
    }
    return {
        "task": task.id,
        "suite": play.suite,
        "defines_success": _defines_success(task, episodes),
        "first_seed": config.protocol.first_seed,
        **_score("agent", task, episodes),
        "normalised": None if normalised is None else float(normalised.mean()),
        "normalised_ci95": None if normalised is None else statistics.bootstrap_interval(normalised),
        **references,
        "published": published.model_dump(mode="json") if published else None,
    }


def normalised_returns(task: TaskRecipe, episodes: Episodes) -> np.ndarray | None:
    """Who is scored, episode by episode, on the scale of random = 0 and expert = 1, or of the published human = 1.

    None without an expert above and a human's return. An expert's episodes that its budget cut say nothing of what it
    reaches, and are left out.
    """

    def returns(role: str) -> list[float]:
        mine = [episode for episode in episodes.get(role, ()) if episode["task"] == task.id]
        return [episode["total_reward"] for episode in mine if role == "agent" or not episode.get("over_budget")]

    published = _published(task)
    if published and published.human is not None:
        return statistics.normalise(returns("agent"), random=published.random, expert=published.human)
    if not returns("expert"):
        return None
    random, expert = float(np.mean(returns("random"))), float(np.mean(returns("expert")))
    return statistics.normalise(returns("agent"), random=random, expert=expert)


def _published(task: TaskRecipe) -> ReferenceRecipe | None:
    """The published returns on a task: its suite's own, or those of a shipped suite."""
    return task.reference or recipes.published_reference(task.id)


def score_over_tasks(episodes: Episodes, plays: Sequence[Play]) -> dict[str, Any] | None:
    """The scores over the tasks that have a normalised one; None when none has."""
    found = [normalised_returns(play.task, episodes) for play in plays]
    normalised = [task for task in found if task is not None]
    return statistics.over_tasks(normalised) if normalised else None


def score_over_suites(episodes: Episodes, config: EvaluationConfig) -> dict[str, Any]:
    """The scores over the tasks of each suite by its name, where there is more than one."""
    if len(config.suites) == 1:
        return {}
    of_suite = {name: [play for play in config.plays if play.suite == name] for name in config.suites}
    scored = {name: score_over_tasks(episodes, plays) for name, plays in of_suite.items()}
    return {"over_suites": {name: found for name, found in scored.items() if found}}


def _defines_success(task: TaskRecipe, episodes: Episodes) -> bool:
    """Whether a task's score is its success rate. An environment that may say it says it once an episode has."""
    if environments.declares_success(task):
        return True
    played = [episode for role in ROLES for episode in episodes.get(role, ()) if episode["task"] == task.id]
    return environments.defines_success(task) and any(episode["success"] for episode in played)


def _score(role: str, task: TaskRecipe, episodes: Episodes) -> dict[str, Any]:
    """The score of the episodes that came to their end; with how many the budget cut, and how many failed."""
    mine = [episode for episode in episodes[role] if episode["task"] == task.id]
    ended = [episode for episode in mine if not episode.get("over_budget")]
    scored = ended or mine
    found = statistics.score(
        [e["success"] for e in scored], [e["total_reward"] for e in scored], [e["length"] for e in scored]
    )
    errors = sum(episode.get("error") is not None for episode in ended)
    cut = len(mine) - len(ended)
    return {**found, "errors": errors, **({"cut": cut} if cut else {})}


def _name(role: str, play: Play, episodes: Episodes) -> dict[str, str]:
    """Who has a role, where that is not said by its name: the expert, or the constant action."""
    if role == "expert":
        return {"name": play.expert or role}
    if role != "constant":
        return {}
    env = environments.make(play.task, frame=play.frame)
    space = SpaceCodec.of(env.action_space, env.action_names)
    env.close()
    mine = (episode["actions"] for episode in episodes[role] if episode["task"] == play.task.id)
    action = next((actions[0] for actions in mine if actions), None)
    return {"name": role if action is None else values.name(space.root, action)}  # None: its first steps all raised
