"""A test of paired differences that holds for every number of pairs: signs are flipped.

If two policies play alike, the one's return on a level might as well have been the other's: the sign of each difference
is a coin. How far out the mean difference is among the means under all flips of the signs is then an exact p-value,
whatever the differences look like. The 95 % interval is the shifts that this test does not refuse, so that it leaves
out 0 exactly where the test refuses chance. For a shift the flipped means need not be drawn again: a flip counts
against the shifts between the mean of the pairs that it keeps and the mean of those that it turns (the typical values
of Hartigan 1969). Over tasks the shift is one for all of them: where they differ a lot, the interval is wider than need
be.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from agentgym.evaluation.statistics import Interval

MIN_PAIRS = 10  # under about ten pairs an interval says more of the pairs than of the policies
LEVEL = 0.05
ENUMERATED = 13  # pairs; up to here all 2^13 flips are tried
FLIPS = 9_999  # otherwise this many at random, and no flip
MARGIN = 2.5  # standard deviations by which random flips may miss the exact share: chance stays under 5 %


def paired_interval(tasks: Sequence[NDArray[np.float64]], *, seed: int = 0) -> Interval | None:
    """The 95 % interval of the mean difference, every task weighing the same; None under MIN_PAIRS pairs in all.

    `tasks` are differences, float64[pairs] of each task.
    """
    differences = np.concatenate(tasks)
    if len(differences) < MIN_PAIRS:
        return None
    weights = np.concatenate([np.full(len(task), 1 / (len(task) * len(tasks))) for task in tasks])
    lowest, highest = [], []
    for turned in _flips(len(differences), np.random.default_rng(seed)):
        share = turned @ weights
        moved = turned @ (weights * differences)
        with np.errstate(divide="ignore", invalid="ignore"):
            means = np.stack([moved / share, ((weights * differences).sum() - moved) / (1 - share)])
        one_sided = (share <= 0) | (turned.sum(axis=1) == len(differences))
        lowest.append(np.where(one_sided, -np.inf, means.min(axis=0)))
        highest.append(np.where(one_sided, np.inf, means.max(axis=0)))
    scale = float(np.abs(differences).max()) or 1.0
    low, high = (np.round(np.concatenate(each) / scale, 12) * scale for each in (lowest, highest))
    refused = int(LEVEL * len(low))
    if len(differences) > ENUMERATED:
        refused -= int(MARGIN * (len(low) * LEVEL * (1 - LEVEL)) ** 0.5)
    return float(np.sort(low)[refused]), float(np.sort(high)[-1 - refused])


def _flips(pairs: int, generator: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """Which pairs are turned, [flips, pairs], in chunks; turning none is among them."""
    if pairs <= ENUMERATED:
        yield (np.arange(2**pairs)[:, None] >> np.arange(pairs) & 1).astype(np.float64)
        return
    yield np.zeros((1, pairs))
    for start in range(0, FLIPS, 500):
        yield generator.integers(0, 2, (min(500, FLIPS - start), pairs), dtype=np.int8).astype(np.float64)
