"""The result of a run in one sentence, and published results on its tasks (`published.toml`, of the package)."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from agentgym.evaluation.score_rows import Score
from agentgym.recipes import DatasetRecipe
from agentgym.report.wording import count, percent

PUBLISHED = Path(__file__).parent / "published.toml"


@dataclass(frozen=True)
class Peer:
    """One published number. `tasks` are patterns of task ids; `result` is the number with its unit.

    `normalised` is the number where random is 0 and the expert 1, as here.
    """

    who: str
    tasks: tuple[str, ...]
    level: str
    result: str
    input: str
    data: str
    source: str
    normalised: float | None = None


def headline(
    scores: Sequence[Score], datasets: Sequence[DatasetRecipe], overall: Mapping[str, Any] | None = None
) -> str | None:
    """The result in one sentence; levels are called held out only when no training seed is among theirs.

    It gives success where all tasks define it, the return of one task that does not, and of the
    normalised mean over several.
    """
    agent = [score for score in scores if score.role == "agent"]
    if not agent:
        return None
    held_out = "" if any(_demonstrated(score, dataset) for score in agent for dataset in datasets) else "held-out "
    episodes = count(sum(s.episodes for s in agent))
    tasks = f" of {len(agent)} tasks" if len(agent) > 1 else ""
    if all(score.defines_success for score in agent):
        return f"{percent(_solved_share(agent))} of {episodes} {held_out}levels{tasks} solved"
    if len(agent) == 1:
        by_role = {score.role: score for score in scores}
        references = [
            f"{by_role[role].policy} {by_role[role].text}" for role in ("expert", "random") if role in by_role
        ]
        return f"Mean return {agent[0].text} in {episodes} {held_out}episodes ({', '.join(references)})"
    if overall is None:
        return f"{episodes} {held_out}episodes{tasks}"
    return f"Normalised mean {overall['mean']:.2f} over {overall['tasks']} tasks, in {episodes} {held_out}episodes"


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
