"""The tasks of `nasty`, one by one and as recipes."""

import nasty  # noqa: F401  (what is imported already needs no trust)

from agentgym import environments
from agentgym.recipes import DatasetRecipe, TaskRecipe


def recipe_of(name, *, expert="random", episodes=4, **task):
    """Episodes of a nasty environment."""
    tasks = [{"id": f"nasty:Nasty/{name}-v0", "instructions": ["go"], **task}]
    suite = {"name": "nasty", "description": "", "tasks": tasks}
    return DatasetRecipe(name="nasty", description="", suite=suite, expert=expert, episodes=episodes, keep="all")


def make(name, **task):
    return environments.make(TaskRecipe(id=f"nasty:Nasty/{name}-v0", instructions=["go"], **task))
