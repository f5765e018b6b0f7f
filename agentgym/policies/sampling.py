"""Samplers: how a policy draws an action from logits. Numbers and generators are the host's, whatever the device is."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agentgym.errors import UserError


class Sampler(Protocol):
    """Chooses one of each row's actions. A policy notifies it when the rows of its batch change."""

    def choose(self, logits: NDArray[np.floating]) -> NDArray[np.int64]:
        """The index chosen in each row of logits [N, A], int64[N]; those that are −inf are never chosen."""
        ...

    def start(self, row: int, seed: int) -> None:
        """An episode of that seed has begun in that row."""
        ...

    def select(self, rows: NDArray[np.int64]) -> None:
        """The batch now consists of those rows (int64[K]), in that order."""
        ...


class TemperatureSampler:
    """One generator for all rows: the same calls in the same order draw the same."""

    def __init__(self, temperature: float = 1.0, seed: int = 0) -> None:
        self._temperature = checked(temperature)
        self._generator = np.random.default_rng(seed)

    def choose(self, logits: NDArray[np.floating]) -> NDArray[np.int64]:
        """See `Sampler`."""
        chosen: NDArray[np.int64] = (logits + self._temperature * self._generator.gumbel(size=logits.shape)).argmax(-1)
        return chosen

    def start(self, row: int, seed: int) -> None:
        """Changes nothing."""

    def select(self, rows: NDArray[np.int64]) -> None:
        """Changes nothing."""


class PerEpisodeSampler:
    """One generator a row, started by the seed of the row's episode, so that draws do not depend on the batch."""

    def __init__(self, temperature: float = 1.0) -> None:
        self._temperature = checked(temperature)
        self._rows: dict[int, np.random.Generator] = {}

    def choose(self, logits: NDArray[np.floating]) -> NDArray[np.int64]:
        """See `Sampler`."""
        return self.sample(softmax(logits / self._temperature))

    def sample(self, probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """An index drawn in each row of probabilities [N, A], int64[N]."""
        forced = (probabilities > 0).sum(axis=1) == 1  # takes no draw, so that others' length does not count
        draws = np.array([[0.0 if forced[row] else self._rows[row].random()] for row in range(len(probabilities))])
        chosen: NDArray[np.int64] = (probabilities.cumsum(axis=1) < draws).sum(axis=1)
        return np.minimum(chosen, probabilities.shape[1] - 1)  # the sum of rounded probabilities may fall short of 1

    def start(self, row: int, seed: int) -> None:
        """See `Sampler`."""
        self._rows[row] = np.random.default_rng(seed)

    def select(self, rows: NDArray[np.int64]) -> None:
        """See `Sampler`."""
        self._rows = {place: self._rows[row] for place, row in enumerate(rows.tolist())}


def checked(temperature: float) -> float:
    """The temperature. Raises UserError unless it is more than 0."""
    if not temperature > 0:
        raise UserError(f"temperature {temperature}: expected more than 0; for the likeliest action: deterministic")
    return temperature


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities of each row of logits [..., A], in float64."""
    shifted = logits.astype(np.float64)
    powers = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
