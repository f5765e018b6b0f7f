"""What a person should know of the frames of a task that an agent plays: they may look otherwise than in training."""

from collections.abc import Iterator, Sequence
from typing import Any

from agentgym import recipes
from agentgym.recipes import DatasetRecipe, FrameRecipe, TaskRecipe

USUAL_FRAME = {"view": "partial", "tile_size": 8, "motion": False}  # of those families that have such settings


def other_frames(task: TaskRecipe, frame: FrameRecipe, demonstrated: Sequence[DatasetRecipe]) -> Iterator[str]:
    """A note where the task was demonstrated, but never with such frames."""
    suites = [each.suite for each in demonstrated if task.id in {known.id for known in each.suite.tasks}]
    found = [recipes.differences(_frame_settings(suite.frame), _frame_settings(frame)) for suite in suites]
    if found and all(found):
        yield f"{task.id}: frames are not made as those that the agent was trained on ({', '.join(found[0])})"


def _frame_settings(frame: FrameRecipe) -> dict[str, Any]:
    """How frames look, whatever their size: an agent brings them to its own."""
    return {**USUAL_FRAME, **frame.model_dump(mode="json", exclude={"size"}, exclude_none=True)}
