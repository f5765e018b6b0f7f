"""header_of(env): the header of a dataset that is recorded from Python, without a recipe."""

from typing import Any

import gymnasium

from agentgym.data.store import Extra, Header, extras_of
from agentgym.environments import Task
from agentgym.errors import UserError
from agentgym.recipes import DatasetRecipe, FrameRecipe, SuiteRecipe
from agentgym.spaces import SpaceCodec


def header_of(env: gymnasium.Env[Any, Any], *, name: str, description: str = "", expert: str = "unknown") -> Header:
    """The header of a dataset of that environment's episodes, and of what it keeps with its frames.

    It names the task as a recipe does, so that the dataset trains as any other. Raises UserError for one that is not
    of `agentgym.make` or `agentgym.wrap`.
    """
    task = env.unwrapped
    if not isinstance(task, Task):
        raise UserError(f"{env}: a header is made of an environment of agentgym.make or agentgym.wrap")
    drawn = task.spec.kwargs.get("frame", FrameRecipe()) if task.spec else FrameRecipe()
    suite = SuiteRecipe(name=name, description=description, frame=drawn, tasks=[task.recipe])
    recipe = DatasetRecipe(name=name, description=description, suite=suite, expert=expert, episodes=1, keep="all")
    space = SpaceCodec.of(task.action_space, task.action_names)
    return Header(space, task.frame_shape, recipe.model_dump(mode="json"), columns_kept(env))


def columns_kept(env: gymnasium.Env[Any, Any]) -> tuple[Extra, ...]:
    """The columns of what an environment keeps with its frames. One that keeps something is reset once."""
    task = env.unwrapped
    return extras_of(env.reset(seed=0)[1]["kept"]) if isinstance(task, Task) and task.keep else ()
