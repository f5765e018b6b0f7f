"""What is known about an expert on a task before recording: the shipped table that `agentgym survey` wrote."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from agentgym import recipes
from agentgym.errors import UserError
from agentgym.files import read_json

RELIABLE = 0.5  # below this share of solved episodes a recording is worth a warning


@dataclass(frozen=True)
class Outcomes:
    """How many of the surveyed episodes an expert solved."""

    solved: int
    episodes: int

    @property
    def share(self) -> float:
        """Which part of them."""
        return self.solved / self.episodes


def surveyed(expert: str, task: str) -> Outcomes | None:
    """What the shipped table says of an expert on a task; None when it was not surveyed there, or none can succeed."""
    table = _table(expert)
    solved = {row["task"]: row["solved"] for row in table["tasks"] if row.get("defines_success", True)}
    return Outcomes(solved[task], table["episodes"]) if task in solved else None


def check_survey(expert: str, task: str) -> None:
    """Raises UserError when an expert solved nothing of a task when it was surveyed."""
    found = surveyed(expert, task)
    if found and not found.solved:
        raise UserError(
            f"expert '{expert}' cannot do {task}: it solved none of {found.episodes} episodes "
            f"(datasets/experts/{expert}.md); take the task out of the suite or choose another expert"
        )


def low_success_warning(expert: str, task: str) -> str | None:
    """A line of warning when an expert solves less than half of a task's episodes."""
    found = surveyed(expert, task)
    if found is None or found.share >= RELIABLE:
        return None
    return (
        f"expert '{expert}' solved only {found.solved} of {found.episodes} episodes of {task} "
        f"(datasets/experts/{expert}.md)"
    )


@cache
def _table(expert: str) -> dict[str, Any]:
    file = recipes.shipped_file(f"datasets/experts/{expert}.json")
    if not file.is_file():
        return {"tasks": [], "episodes": 0}
    table: dict[str, Any] = read_json(file, dict)
    return table
