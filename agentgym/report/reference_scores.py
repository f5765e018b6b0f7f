"""Who reached what: the rows of the score table, the result in one sentence, and what others published.

Everything stands in `evaluation.json`, but for the peers' numbers, which come with the package (`published.toml`).
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from agentgym.evaluation.statistics import normalised_mean
from agentgym.recipes import DatasetRecipe
from agentgym.report.wording import count, percent

PUBLISHED = Path(__file__).parent / "published.toml"


@dataclass(frozen=True)
class Score:
    """One row of the score table: what one policy reached on one task."""

    task: str
    role: str  # agent, random or expert
    policy: str
    episodes: int
    first_seed: int
    success_rate: float
    success_ci95: tuple[float, float]
    return_mean: float
    return_ci95: tuple[float, float]
    length_mean: float
    errors: int
    normalised: float | None

    @property
    def last_seed(self) -> int:
        """The seeds are [first_seed, last_seed]."""
        return self.first_seed + self.episodes - 1


@dataclass(frozen=True)
class Peer:
    """One published number. `tasks` are patterns of task ids; `result` is the number with its unit."""

    who: str
    tasks: tuple[str, ...]
    level: str
    result: str
    input: str
    data: str
    source: str


def read_scores(evaluation: Mapping[str, Any]) -> Iterator[Score]:
    """The agent's row of each task, and those of the policies it is compared with."""
    for task in evaluation["tasks"]:
        for role in ("agent", "random", "expert"):
            if role != "agent" and role not in task:
                continue
            values = task if role == "agent" else task[role]
            yield Score(
                task=task["task"],
                role=role,
                policy=task["expert"]["name"] if role == "expert" else role,
                episodes=values["episodes"],
                first_seed=task["first_seed"],
                success_rate=values["success_rate"],
                success_ci95=tuple(values["success_ci95"]),
                return_mean=values["return_mean"],
                return_ci95=tuple(values["return_ci95"]),
                length_mean=values["length_mean"],
                errors=values["errors"],
                normalised=normalised_mean(task, values),
            )


def headline(scores: Sequence[Score], datasets: Sequence[DatasetRecipe]) -> str | None:
    """The result in one sentence; levels are called held out only when no training seed is among theirs."""
    agent = [score for score in scores if score.role == "agent"]
    if not agent:
        return None
    held_out = not any(_demonstrated(score, dataset) for score in agent for dataset in datasets)
    tasks = f" of {len(agent)} tasks" if len(agent) > 1 else ""
    levels = f"{count(sum(s.episodes for s in agent))} {'held-out ' if held_out else ''}levels{tasks}"
    return f"{percent(_solved_share(agent))} of {levels} solved"


def peers_of(tasks: Sequence[str]) -> list[Peer]:
    """What others published on those tasks, or on the family that they belong to."""
    rows = tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))["result"]
    peers = [Peer(**{**row, "tasks": tuple(row["tasks"])}) for row in rows]
    return [peer for peer in peers if any(fnmatchcase(task, each) for task in tasks for each in peer.tasks)]


def _demonstrated(score: Score, dataset: DatasetRecipe) -> bool:
    """Whether a dataset has episodes of some of the seeds."""
    shared = any(task.id == score.task for task in dataset.suite.tasks)
    return shared and score.first_seed < dataset.seeds.stop and score.last_seed >= dataset.seeds.start


def _solved_share(scores: Sequence[Score]) -> float:
    return sum(score.success_rate * score.episodes for score in scores) / sum(score.episodes for score in scores)
