"""Record demonstrations in Gymnasium environments, train one multimodal agent on them, score it, use it as a policy."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentgym.environments import Task
    from agentgym.recipes import FrameRecipe

__all__ = ["make"]


def make(task: str, *, frame: "FrameRecipe | None" = None) -> "Task":
    """The environment of a task id; see `agentgym.environments.make`, which is imported only when it is needed."""
    from agentgym import environments

    return environments.make(task, frame=frame)
