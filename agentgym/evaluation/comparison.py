"""Two evaluations, paired by seed: how much better the one is than the other, and whether that may be chance.

Both played the same levels, so that the difference on a level is free of how hard the level is. A task's difference is
the mean of its levels' differences, on the scale of random = 0 and expert = 1; overall, every task weighs the same.
Whether a difference is beyond chance, and its interval, come from a test that holds for every number of pairs
(`agentgym.evaluation.paired_test`). The unit is an episode of two trained agents: what another training run of either
would have given is not in it. It reads folders.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agentgym.errors import UserError
from agentgym.evaluation.paired_test import MIN_PAIRS, paired_interval
from agentgym.evaluation.statistics import Interval
from agentgym.evaluation.stored import read_episodes
from agentgym.files import understanding
from agentgym.recipes import differences

Episodes = dict[str, Any]
OF_A_LEVEL = ("limit", "arguments", "action_limits", "success_return")  # in addition to its seed
UNIT = "episodes of two trained agents, paired by seed"


@dataclass(frozen=True)
class TaskComparison:
    """One task. `better` is the share of levels on which A got the higher return, ties counting half.

    `success` and `returns` are the means of A and of B; `success` is None where neither ever succeeded, as in a game
    that defines none.
    """

    task: str
    pairs: int
    success: tuple[float, float] | None
    returns: tuple[float, float]
    difference: float
    difference_ci95: Interval | None  # None: too few pairs
    better: float

    @property
    def beyond_chance(self) -> bool | None:
        """Whether the interval leaves out 0, which chance does in at most one case of twenty; None: no verdict."""
        return _leaves_out_zero(self.difference_ci95)

    @property
    def scores(self) -> tuple[str, str]:
        """Of A and of B, for people: the share of levels solved, or the mean return."""
        if self.success is None:
            return f"{self.returns[0]:,.2f}", f"{self.returns[1]:,.2f}"
        return f"{self.success[0]:.1%}", f"{self.success[1]:.1%}"


@dataclass(frozen=True)
class Comparison:
    """A against B. `scale` is "normalised", or "return" where there is no expert to normalise by."""

    a: str
    b: str
    scale: str
    tasks: tuple[TaskComparison, ...]
    difference: float
    difference_ci95: Interval | None  # None: too few pairs
    probability_of_improvement: float
    left_out: tuple[str, ...]  # tasks that only one of them played

    @property
    def pairs(self) -> int:
        """The levels that both played."""
        return sum(task.pairs for task in self.tasks)

    @property
    def beyond_chance(self) -> bool | None:
        """As of a task, of the difference over all."""
        return _leaves_out_zero(self.difference_ci95)

    @property
    def sentence(self) -> str:
        """The result for people."""
        better = sum(task.difference > 0 for task in self.tasks)
        unit = "" if self.scale == "normalised" else " in return"
        tasks = "1 task" if len(self.tasks) == 1 else f"{len(self.tasks)} tasks"
        pairs = "1 level" if self.pairs == 1 else f"{self.pairs} levels"
        said = f"{self.a} is better than {self.b} on {better} of {tasks}; overall {self.difference:+.2f}"
        if self.difference_ci95 is None:
            return f"{said}{unit} on {pairs}: too few to rule out chance, which takes {MIN_PAIRS}"
        low, high = self.difference_ci95
        chance = "" if self.beyond_chance else ", which may be chance"
        return f"{said} [{low:.2f}, {high:.2f}]{unit} on {pairs}{chance}"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        values = asdict(self)
        for task, compared in zip(values["tasks"], self.tasks, strict=True):
            task["beyond_chance"] = compared.beyond_chance
        return {**values, "beyond_chance": self.beyond_chance, "unit": UNIT, "sentence": self.sentence}


def compare(a: Path, b: Path) -> Comparison:
    """Compares the evaluations in two folders, level by level: differences are of the first less the second.

    The test flips the signs of the differences (see `paired_test`); intervals are of 95 %. Raises UserError when there
    is no evaluation or they share no level.
    """
    first, second = _read_episodes(a), _read_episodes(b)
    with understanding(a, b):
        return compare_episodes(first, second, str(a), str(b))


def compare_episodes(a: Episodes, b: Episodes, name_a: str, name_b: str) -> Comparison:
    """Compares the episodes of two evaluations.

    Raises UserError when they share no level or played one otherwise, and for a return that is not finite.
    """
    tasks = _tasks(a)
    shared = [task for task in tasks if task in _tasks(b)]
    scales = [_scale(task, a) or _scale(task, b) for task in shared]
    normalised = all(scale is not None for scale in scales)
    compared, differences = [], []
    for task, scale in zip(shared, scales, strict=True):
        mine, theirs = _by_seed(a, task), _by_seed(b, task)
        seeds = sorted(mine.keys() & theirs.keys())
        if not seeds:
            raise UserError(f"{name_a} and {name_b} share no seed of {task}: evaluate both with one --first-seed")
        _check_played_alike(task, (name_a, a), (name_b, b))
        _check_finite(task, seeds, (name_a, mine), (name_b, theirs))
        raw = np.array([mine[seed]["total_reward"] - theirs[seed]["total_reward"] for seed in seeds])
        difference = raw / scale if normalised and scale else raw
        differences.append(difference)
        wins = np.where(raw == 0, 0.5, raw > 0)
        success, returns = (_means(key, seeds, mine, theirs) for key in ("success", "total_reward"))
        compared.append(
            TaskComparison(
                task=task,
                pairs=len(seeds),
                success=success if any(success) else None,
                returns=returns,
                difference=float(difference.mean()),
                difference_ci95=paired_interval([difference]),
                better=float(wins.mean()),
            )
        )
    if not compared:
        raise UserError(f"{name_a} and {name_b} share no task; evaluate both with the same --suite")
    return Comparison(
        a=name_a,
        b=name_b,
        scale="normalised" if normalised else "return",
        tasks=tuple(compared),
        difference=float(np.mean([task.difference for task in compared])),
        difference_ci95=paired_interval(differences),
        probability_of_improvement=float(np.mean([task.better for task in compared])),
        left_out=tuple(sorted({*tasks, *_tasks(b)} - set(shared))),
    )


def _check_played_alike(task: str, one: tuple[str, Episodes], other: tuple[str, Episodes]) -> None:
    """Raises UserError when a task had other settings in the two evaluations: equal seeds are no equal levels then."""
    changed = differences(_settings(task, one[1]), _settings(task, other[1]))
    if changed:
        raise UserError(f"{one[0]} and {other[0]} played {task} otherwise ({changed[0]}); evaluate both by one suite")


def _settings(task: str, episodes: Episodes) -> dict[str, Any]:
    """What of a task's recipe decides a level, as far as an evaluation says it."""
    tasks = episodes.get("protocol", {}).get("tasks", {})
    found = tasks.get(task, {}) if isinstance(tasks, dict) else next((each for each in tasks if each["id"] == task), {})
    return {key: found[key] for key in OF_A_LEVEL if found.get(key) is not None}


def _check_finite(task: str, seeds: list[int], *played: tuple[str, Mapping[int, Mapping[str, Any]]]) -> None:
    """Raises UserError for a return that is not finite: it is neither more nor less than another."""
    for name, episodes in played:
        for seed in seeds:
            if not np.isfinite(episodes[seed]["total_reward"]):
                raise UserError(
                    f"{name}: the return of seed {seed} of {task} is {episodes[seed]['total_reward']}, which cannot be "
                    "compared; fix the environment's rewards and evaluate again"
                )


def _means(key: str, seeds: list[int], *played: Mapping[int, Mapping[str, Any]]) -> tuple[float, float]:
    first, second = (float(np.mean([each[seed][key] for seed in seeds])) for each in played)
    return first, second


def _leaves_out_zero(interval: Interval | None) -> bool | None:
    return None if interval is None else interval[0] > 0 or interval[1] < 0


def _read_episodes(folder: Path) -> Episodes:
    file = folder / "episodes.json"
    if not (folder / "evaluation.json").is_file() or not file.is_file():
        raise UserError(f"{folder}: holds no whole evaluation; 'agentgym evaluate {folder}' makes one of a run")
    return read_episodes(file)


def _tasks(episodes: Episodes) -> list[str]:
    return list(dict.fromkeys(episode["task"] for episode in episodes["agent"]))


def _by_seed(episodes: Episodes, task: str) -> dict[int, dict[str, Any]]:
    return {episode["seed"]: episode for episode in episodes["agent"] if episode["task"] == task}


def _scale(task: str, episodes: Episodes) -> float | None:
    """How far the expert's mean return is above the random policy's; None when it is not."""
    means: list[float] = []
    for role in ("random", "expert"):
        returns = [episode["total_reward"] for episode in episodes.get(role, ()) if episode["task"] == task]
        if not returns:
            return None
        means.append(float(np.mean(returns)))
    scale = means[1] - means[0]
    return scale if scale > 0 else None
