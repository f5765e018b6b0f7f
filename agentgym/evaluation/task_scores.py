"""Scores of an evaluation's episodes: task by task beside random, expert and what others published; over all tasks.

`episodes` are those of episodes.json: by role ("agent" is who is scored, "random", "expert"), as plain values.
"""

from typing import Any

import numpy as np

from agentgym import recipes
from agentgym.evaluation import statistics
from agentgym.evaluation.protocol import EvaluationConfig
from agentgym.recipes import TaskRecipe


def score_task(task: TaskRecipe, episodes: dict[str, Any], config: EvaluationConfig) -> dict[str, Any]:
    def scored(role: str) -> dict[str, Any]:
        mine = [episode for episode in episodes[role] if episode["task"] == task.id]
        found = statistics.score(
            [e["success"] for e in mine], [e["total_reward"] for e in mine], [e["length"] for e in mine]
        )
        return {**found, "errors": sum(e["error"] is not None for e in mine)}

    normalised = normalised_returns(task, episodes)
    published = task.reference or recipes.published_reference(task.id)
    return {
        "task": task.id,
        "first_seed": config.protocol.first_seed,
        **scored("agent"),
        "normalised": None if normalised is None else float(normalised.mean()),
        "random": scored("random"),
        **({"expert": {"name": config.expert, **scored("expert")}} if config.expert else {}),
        "published": published.model_dump(mode="json") if published else None,
    }


def normalised_returns(task: TaskRecipe, episodes: dict[str, Any]) -> np.ndarray | None:
    """Who is scored, episode by episode, on the scale of random = 0 and expert = 1, or of the published human = 1.

    None without an expert above and a human's return.
    """

    def returns(role: str) -> list[float]:
        return [episode["total_reward"] for episode in episodes[role] if episode["task"] == task.id]

    if task.reference and task.reference.human is not None:
        return statistics.normalise(returns("agent"), random=task.reference.random, expert=task.reference.human)
    if "expert" not in episodes:
        return None
    random, expert = float(np.mean(returns("random"))), float(np.mean(returns("expert")))
    return statistics.normalise(returns("agent"), random=random, expert=expert)


def score_over_tasks(episodes: dict[str, Any], config: EvaluationConfig) -> dict[str, Any] | None:
    """The scores over the tasks that have a normalised one; None when none has."""
    found = [normalised_returns(task, episodes) for task in config.suite.tasks]
    normalised = [task for task in found if task is not None]
    return statistics.over_tasks(normalised) if normalised else None
