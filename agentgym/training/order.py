"""The endless order in which windows are drawn.

It is a function of (seed, epoch), and a batch one of its number, so nothing has to be saved to resume where a run
stopped.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from agentgym.errors import UserError

ROUND = 1000  # places within which a mixture keeps its weights


def order(size: int, seed: int, first: int, count: int) -> NDArray[np.int64]:
    """Places [first, first + count) of the endless order over `size` windows: a permutation an epoch, by seed."""
    places = np.arange(first, first + count)
    epochs = places // size
    chosen = np.empty(count, dtype=np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        chosen[here] = _permutation(size, seed, int(epoch))[places[here] % size]
    return chosen


# A batch takes a few places of the one of each part: drawing them again each time would cost more than the batch.
@lru_cache(maxsize=64)
def _permutation(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(size)


def mixed_order(sizes: Sequence[int], weights: Sequence[float], seed: int, first: int, count: int) -> NDArray[np.int64]:
    """The same, int64[count], over parts of those sizes, each at its own pace through its own `order`.

    Of every thousand places in a row each part has its share by weight, to the nearest, in a shuffled order.
    """
    if len(sizes) == 1:
        return order(sizes[0], seed, first, count)
    shares = quotas(weights)
    starts = np.cumsum([0, *sizes[:-1]])
    chosen = np.empty(count, dtype=np.int64)
    for round_ in range(first // ROUND, -(-(first + count) // ROUND)):
        turns = np.random.default_rng([seed, round_, len(sizes)]).permutation(np.repeat(np.arange(len(sizes)), shares))
        low, high = max(0, first - round_ * ROUND), min(ROUND, first + count - round_ * ROUND)
        for part in range(len(sizes)):
            here = np.flatnonzero(turns[low:high] == part)
            before = round_ * int(shares[part]) + int((turns[:low] == part).sum())
            chosen[round_ * ROUND + low - first + here] = starts[part] + order(sizes[part], seed, before, len(here))
    return chosen


def quotas(weights: Sequence[float]) -> NDArray[np.int64]:
    """int64[parts]: how many of ROUND places each has, by largest remainder. Raises UserError when one has none."""
    exact = ROUND * np.asarray(weights, np.float64) / np.sum(weights)
    shares = np.floor(exact).astype(np.int64)
    shares[np.argsort(shares - exact, kind="stable")[: ROUND - shares.sum()]] += 1
    if not shares.all():
        part = int(np.argmin(shares))
        raise UserError(f"mixture.{part}: weight {weights[part]:g} is under a thousandth of all; leave the part out")
    return shares
