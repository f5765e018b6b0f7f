"""Draws: what a policy draws in an episode is a function of the episode's seed, whatever else is in the batch."""

import numpy as np
from numpy.typing import NDArray


class PerEpisodeSampler:
    """One generator a row, started by the seed of the row's episode."""

    def __init__(self) -> None:
        self._rows: dict[int, np.random.Generator] = {}

    def start(self, row: int, seed: int) -> None:
        """An episode of that seed has begun in that row."""
        self._rows[row] = np.random.default_rng(seed)

    def select(self, rows: NDArray[np.int64]) -> None:
        """Those rows are all there are now, in that order."""
        self._rows = {place: self._rows[row] for place, row in enumerate(rows.tolist())}

    def sample(self, probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """A place of each row of probabilities [N, A], drawn by them."""
        forced = (probabilities > 0).sum(axis=1) == 1  # takes no draw, so that others' length does not count
        draws = np.array([[0.0 if forced[row] else self._rows[row].random()] for row in range(len(probabilities))])
        chosen: NDArray[np.int64] = (probabilities.cumsum(axis=1) < draws).sum(axis=1)
        return np.minimum(chosen, probabilities.shape[1] - 1)  # the sum of rounded probabilities may fall short of 1
