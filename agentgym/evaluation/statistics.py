"""Episodes -> success rate, return and length, each with its 95 % interval; and one set of scores over many tasks.

The unit of every interval is an episode of one trained agent (`UNIT`): it says how sure the score of this agent is, not
what another training run would have given, which may differ by more.

A normalised score is 0 for the random policy and 1 for the expert, both measured on the very seeds. Over tasks, after
Agarwal et al. 2021 (arXiv 2108.13264): interquartile mean, mean and optimality gap of the tasks' scores. Their
intervals come from a stratified bootstrap: each task's episodes are drawn again by themselves, with the references
held fixed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 5_000
UNIT = "episodes of one trained agent"
Interval = tuple[float, float]


def score(successes: Sequence[bool], returns: Sequence[float], lengths: Sequence[int]) -> dict[str, Any]:
    """The scores of one policy on one task, as plain values. Raises ValueError without episodes."""
    if not len(successes):
        raise ValueError("no episodes to score")
    return {
        "episodes": len(successes),
        "success_rate": float(np.mean(successes)),
        "success_ci95": wilson_interval(int(np.sum(successes)), len(successes)),
        "return_mean": float(np.mean(returns)),
        "return_ci95": return_interval(np.asarray(successes, bool), np.asarray(returns, np.float64)),
        "length_mean": float(np.mean(lengths)),
    }


def wilson_interval(successes: int, episodes: int) -> Interval:
    """Wilson's 95 % score interval of a proportion (Wilson 1927), computed by SciPy."""
    interval = stats.binomtest(successes, episodes).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def return_interval(successes: NDArray[np.bool_], returns: NDArray[np.float64]) -> Interval:
    """The 95 % interval of the mean return: the bootstrap's, widened by Wilson's interval of the success rate.

    `successes` is bool[episodes], `returns` float64[episodes]. The bootstrap knows only the episodes that it saw: of
    fifty that all succeeded, or all but one, it says that failures are next to impossible. An episode that failed is
    taken to return what those seen did, or nothing. Where none succeeded, or success is not defined, the interval is
    the bootstrap's: constant returns are then their own interval.
    """
    low, high = bootstrap_interval(returns)
    if not successes.any() or returns.min() < 0:
        return low, high
    solved, failed = returns[successes].mean(), returns[~successes].mean() if not successes.all() else 0.0
    ends = [share * solved + (1 - share) * failed for share in wilson_interval(int(successes.sum()), len(successes))]
    return min(low, *ends), max(high, *ends)


def bootstrap_interval(values: NDArray[np.float64], *, seed: int = 0) -> Interval:
    """The 95 % percentile bootstrap interval of the mean of float64[n], computed by SciPy.

    A single or constant value is its own interval.
    """
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    result = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, confidence_level=0.95, method="percentile", rng=seed, batch=500
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def t_interval(values: Sequence[float], *, level: float = 0.95) -> Interval:
    """Student's interval of the mean of independent values, such as the scores of several training runs.

    Of one value the interval is that value: it says nothing.
    """
    if len(values) < 2:
        return float(values[0]), float(values[0])
    mean, error = float(np.mean(values)), float(stats.sem(values))
    half = error * float(stats.t.ppf((1 + level) / 2, len(values) - 1))
    return mean - half, mean + half


def normalise(returns: Sequence[float], *, random: float, expert: float) -> NDArray[np.float64] | None:
    """The returns, float64[episodes], scaled so that random is 0 and the expert 1.

    None where the expert is not above the random policy.
    """
    if expert <= random:
        return None
    return (np.asarray(returns, dtype=np.float64) - random) / (expert - random)


def normalised_mean(task: Mapping[str, Any], values: Mapping[str, Any]) -> float | None:
    """A policy's mean return on the scale of one task of an evaluation.json; None where the task has no scale."""
    scale = scale_of(task)
    return None if scale is None else float((values["return_mean"] - scale[0]) / (scale[1] - scale[0]))


def scale_of(task: Mapping[str, Any]) -> Interval | None:
    """The returns that are 0 and 1 on one task of an evaluation.json; None where the task has no scale.

    They are the published ones of random and human where the task names them, else those of the random policy and the
    expert measured there.
    """
    if task["normalised"] is None:
        return None
    if is_human(task):
        return task["published"]["random"], task["published"]["human"]
    return task["random"]["return_mean"], task["expert"]["return_mean"]


def is_human(task: Mapping[str, Any]) -> bool:
    """Whether a published human's return is 1 on the scale of a task of an evaluation.json."""
    return (task["published"] or {}).get("human") is not None


def who_is_one(tasks: Sequence[Mapping[str, Any]]) -> str:
    """Who scores 1 over tasks of an evaluation.json: `expert`, `human`, or both with how many tasks have which."""
    scaled = [task for task in tasks if task["normalised"] is not None]
    humans = sum(map(is_human, scaled))
    if not humans:
        return "expert"
    return "human" if humans == len(scaled) else f"expert (in {humans} of {len(scaled)} tasks a human)"


def over_tasks(tasks: Sequence[NDArray[np.float64]], *, seed: int = 0) -> dict[str, Any]:
    """The scores over tasks, from the normalised scores of their episodes (float64[episodes] each), as plain values.

    Raises ValueError without tasks.
    """
    if not tasks:
        raise ValueError("no tasks to score")
    means = np.array([[task.mean() for task in tasks]])
    drawn = resampled_means(tasks, np.random.default_rng(seed))
    found: dict[str, Any] = {"tasks": len(tasks)}
    for name, statistic in STATISTICS.items():
        found[name] = float(statistic(means)[0])
        found[f"{name}_ci95"] = percentiles(statistic(drawn))
    return {**found, "profile": performance_profile(tasks)}


def interquartile_mean(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the middle half of each row of [rows, tasks].

    A quarter of its values, rounded down, is left out at either end.
    """
    return np.asarray(stats.trim_mean(scores, 0.25, axis=1))


def mean(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each row of [rows, tasks]."""
    return np.asarray(scores.mean(axis=1))


def optimality_gap(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each row of [rows, tasks] falls short of 1 on average, values above 1 counted as 1: lower is better."""
    return np.asarray(1.0 - np.minimum(scores, 1.0).mean(axis=1))


STATISTICS = {"iqm": interquartile_mean, "mean": mean, "optimality_gap": optimality_gap}


def performance_profile(tasks: Sequence[NDArray[np.float64]]) -> dict[str, list[float]]:
    """The share of episodes, all tasks weighing the same, whose normalised score is above each threshold.

    `tasks` are the normalised scores of each task, float64[episodes].
    """
    thresholds = np.linspace(0.0, 1.2, 61)
    shares = np.mean([(task[:, None] > thresholds).mean(axis=0) for task in tasks], axis=0)
    return {"thresholds": thresholds.round(6).tolist(), "shares": shares.tolist()}


def resampled_means(tasks: Sequence[NDArray[np.float64]], generator: np.random.Generator) -> NDArray[np.float64]:
    """float64[RESAMPLES, tasks]: the mean of each task's values, drawn again with replacement, task by task."""
    return np.column_stack([_resampled_mean(task, generator) for task in tasks])


def percentiles(values: NDArray[np.float64]) -> Interval:
    """The middle 95 % of values [n]."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _resampled_mean(values: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    size = (500, len(values))
    parts = [values[generator.integers(len(values), size=size)].mean(axis=1) for _ in range(RESAMPLES // 500)]
    return np.concatenate(parts)
