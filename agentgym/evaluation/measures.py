"""What a curve of an agent's scores speaks of: the share of episodes that succeeded, or the mean return.

A point of such a curve is a dictionary of plain values. Where a task does not say what success is, its success rate is
0 and means nothing.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentgym import environments
from agentgym.evaluation import statistics
from agentgym.evaluation.results import RolloutResult
from agentgym.evaluation.score_rows import plain
from agentgym.recipes import TaskRecipe


@dataclass(frozen=True)
class Measure:
    """Which number of a point is its score, and how it is written."""

    name: str  # for people
    title: str  # of its curve
    key: str
    interval: str  # the key of its 95 % interval
    percent: bool

    def of(self, point: Mapping[str, Any]) -> float:
        """The score; NaN where an old point lacks it."""
        return float(point.get(self.key, math.nan))

    def text(self, value: float) -> str:
        """A score for people: "83.0%" or "17.75"."""
        return f"{value:.1%}" if self.percent else plain(value)

    def said(self, point: Mapping[str, Any]) -> str:
        """The score with its name: "success 83.0%" or "return 17.75"."""
        return f"{self.name} {self.text(self.of(point))}"

    def cell(self, point: Mapping[str, Any]) -> str:
        """The score with its interval, where the point has one."""
        found = point.get(self.interval)
        return self.text(self.of(point)) + (f" [{self.text(found[0])}, {self.text(found[1])}]" if found else "")

    def gain(self, first: Mapping[str, Any], last: Mapping[str, Any]) -> str:
        """What was gained from one point to another, with its sign: points of a hundred for a share."""
        gained = self.of(last) - self.of(first)
        return f"{100 * gained:+.1f}" if self.percent else ("+" if gained >= 0 else "") + plain(gained)


SUCCESS = Measure("success", "levels solved", "success_rate", "success_ci95", percent=True)
RETURN = Measure("return", "return", "mean_return", "return_ci95", percent=False)


def score(played: Sequence[RolloutResult]) -> dict[str, Any]:
    """What both measures need of the episodes of an agent, as plain values of a point."""
    found = statistics.score(
        [episode.success for episode in played],
        [episode.total_reward for episode in played],
        [episode.length for episode in played],
    )
    return {
        "levels": found["episodes"],
        "success_rate": found["success_rate"],
        "success_ci95": list(found["success_ci95"]),
        "mean_return": found["return_mean"],
        "return_ci95": list(found["return_ci95"]),
    }


def measure_of(tasks: Collection[TaskRecipe], success_rates: Iterable[float]) -> Measure:
    """Success where every task says what that is, else return.

    An environment that may say it says it once an episode has succeeded. Raises UserError when a package is missing.
    """
    if all(environments.declares_success(task) for task in tasks):
        return SUCCESS
    may_be = all(environments.defines_success(task) for task in tasks)
    return SUCCESS if may_be and any(rate > 0 for rate in success_rates) else RETURN
