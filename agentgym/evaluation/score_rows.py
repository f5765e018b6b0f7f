"""The scores in an evaluation.json as rows, which tables and pages share.

A row says what its task asks for: the share of episodes that succeeded where the task says what success is, else the
mean return. As a share of the way from the worst to the best it can be drawn next to the others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agentgym.evaluation.statistics import Interval, normalised_mean, scale_of

REFERENCES = ("random", "expert", "constant", "repeat")


@dataclass(frozen=True)
class Score:
    """One row of a score table: what one policy reached on one task."""

    task: str
    suite: str
    role: str  # agent, random, expert, constant or repeat
    policy: str
    episodes: int
    first_seed: int
    defines_success: bool
    success_rate: float
    success_ci95: Interval
    return_mean: float
    return_ci95: Interval
    length_mean: float
    errors: int
    normalised: float | None
    normalised_ci95: Interval | None  # of the agent
    share: float  # of the way from 0 to 1 on which it is drawn
    share_ci95: Interval

    @property
    def last_seed(self) -> int:
        """The seeds are [first_seed, last_seed]."""
        return self.first_seed + self.episodes - 1

    @property
    def text(self) -> str:
        """The score for people: success, or the mean return."""
        return f"{100 * self.success_rate:.1f} %" if self.defines_success else plain(self.return_mean)

    @property
    def interval(self) -> str:
        """Its 95 % interval for people."""
        if self.defines_success:
            return "{:.1f} to {:.1f} %".format(*(100 * end for end in self.success_ci95))
        return f"{plain(self.return_ci95[0])} to {plain(self.return_ci95[1])}"


def read_scores(evaluation: Mapping[str, Any]) -> Iterator[Score]:
    """The agent's row of each task, and those of the policies it is compared with."""
    for task in evaluation["tasks"]:
        low, high = _drawn_between(task)
        for role in ("agent", *(role for role in REFERENCES if role in task)):
            values = task if role == "agent" else task[role]
            success = defines_success(task)
            ends = values["success_ci95"] if success else [_share(end, low, high) for end in values["return_ci95"]]
            yield Score(
                task=task["task"],
                suite=task.get("suite", ""),
                role=role,
                policy=policy_name(role, values),
                episodes=values["episodes"],
                first_seed=task["first_seed"],
                defines_success=success,
                success_rate=values["success_rate"],
                success_ci95=tuple(values["success_ci95"]),
                return_mean=values["return_mean"],
                return_ci95=tuple(values["return_ci95"]),
                length_mean=values["length_mean"],
                errors=values["errors"],
                normalised=normalised_mean(task, values),
                normalised_ci95=tuple(task.get("normalised_ci95") or ()) or None if role == "agent" else None,
                share=values["success_rate"] if success else _share(values["return_mean"], low, high),
                share_ci95=(ends[0], ends[1]),
            )


def defines_success(task: Mapping[str, Any]) -> bool:
    """Whether a task's score is its success rate; older evaluations do not say it, and were mostly of such tasks."""
    return bool(task.get("defines_success", True))


def policy_name(role: str, values: Mapping[str, Any]) -> str:
    """What a row is called."""
    names = {
        "expert": values.get("name", role),
        "constant": f"always {values.get('name')}",
        "repeat": "the last action again",
    }
    return names.get(role, role)


def plain(value: float) -> str:
    """A return in three or four digits: 0.876, 17.75, 134.3, 1,520."""
    size = abs(value)
    return (
        f"{value:.3f}"
        if size < 10
        else f"{value:.2f}"
        if size < 100
        else f"{value:,.1f}"
        if size < 1000
        else f"{value:,.0f}"
    )


def _drawn_between(task: Mapping[str, Any]) -> Interval:
    """The returns that are drawn as nothing and as all: those of the task's scale, else the worst and the best."""
    scale = scale_of(task)
    if scale:
        return scale
    ends = [
        end
        for role in ("agent", *REFERENCES)
        for end in (task if role == "agent" else task.get(role, task))["return_ci95"]
    ]
    return min(ends), max(ends)


def _share(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.0
