"""Episodes -> success rate, return and length, each with its 95 % interval where it has one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 5_000
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
        "return_ci95": bootstrap_interval(np.asarray(returns, dtype=np.float64)),
        "length_mean": float(np.mean(lengths)),
    }


def wilson_interval(successes: int, episodes: int) -> Interval:
    """Wilson's 95 % score interval of a proportion."""
    interval = stats.binomtest(successes, episodes).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_interval(values: NDArray[np.float64], *, seed: int = 0) -> Interval:
    """The 95 % percentile bootstrap interval of the mean; a single or constant value is its own interval."""
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    result = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, confidence_level=0.95, method="percentile", rng=seed, batch=500
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
