"""Actions that are numbers: whole ones, and reals in bins."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

MU = 100.0  # of the mu-law, as in Gato (Reed et al. 2022)

Scale = Literal["uniform", "mu-law"]


@dataclass(frozen=True)
class Integers:
    """Discrete (shape None) or MultiDiscrete: slot i is one of the numbers starts[i], starts[i] + 1, ..."""

    names: tuple[tuple[str, ...], ...]  # the name of every number of every slot
    starts: tuple[int, ...]
    shape: tuple[int, ...] | None
    dtype: str

    @property
    def slots(self) -> tuple[tuple[str, ...], ...]:
        """The token names of every slot."""
        return self.names

    def indices(self, values: Any) -> NDArray[np.int64]:
        """Values [..., *shape] as choices [..., slots]. Raises ValueError for a value outside the space."""
        flat = flatten_whole(values, self.shape or ()) - np.array(self.starts, np.int64)
        check_range(flat, np.array([len(names) for names in self.names]), values)
        return flat

    def values(self, indices: NDArray[np.int64]) -> Any:
        """The inverse of `indices`: choices [..., slots] as values [..., *shape]."""
        values = (indices + np.array(self.starts, np.int64)).astype(self.dtype)
        return values.reshape((*indices.shape[:-1], *(self.shape or ())))[()]


@dataclass(frozen=True)
class Reals:
    """Box: slot i is one of `bins[i]` bins between lows[i] and highs[i], its value the middle of the bin."""

    names: tuple[str, ...]
    bins: tuple[int, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    scale: Scale
    shape: tuple[int, ...]
    dtype: str

    @property
    def slots(self) -> tuple[tuple[str, ...], ...]:
        """The token names of every slot."""
        return tuple(
            tuple(f"{name}={i}" for i in range(bins)) for name, bins in zip(self.names, self.bins, strict=True)
        )

    def indices(self, values: Any) -> NDArray[np.int64]:
        """Values [..., *shape] as bins [..., slots]. Raises ValueError for a value beyond the limits."""
        flat = flatten(values, self.shape).astype(np.float64)
        lows, highs = np.array(self.lows), np.array(self.highs)
        if not bool(((flat >= lows) & (flat <= highs)).all()):
            raise ValueError(f"action {values} is not within its limits [{lows}, {highs}]")
        bins = np.array(self.bins)
        return np.minimum((self.position(flat) * bins).astype(np.int64), bins - 1)

    def values(self, indices: NDArray[np.int64]) -> Any:
        """The middles of bins [..., slots], as the space's own type."""
        position = (indices + 0.5) / np.array(self.bins)
        if self.scale == "mu-law":
            companded = 2 * position - 1
            position = (np.sign(companded) * np.expm1(np.abs(companded) * math.log1p(MU)) / MU + 1) / 2
        lows, highs = np.array(self.lows), np.array(self.highs)
        values = lows + position * (highs - lows + self._whole)
        if self._whole:
            values = np.floor(values)
        return np.clip(values, lows, highs).astype(self.dtype).reshape((*indices.shape[:-1], *self.shape))

    def position(self, flat: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where values [..., slots] are in [0, 1] between their limits, on the scale whose bins are equally wide."""
        lows, highs = np.array(self.lows), np.array(self.highs)
        width = highs - lows + self._whole
        position = (flat - lows + 0.5 * self._whole) / np.where(width > 0, width, 1)
        if self.scale == "mu-law":
            centred = 2 * position - 1
            position = (np.sign(centred) * np.log1p(MU * np.abs(centred)) / math.log1p(MU) + 1) / 2
        return position

    @property
    def _whole(self) -> int:
        """1 for whole numbers, each of which takes up one unit, 0 for reals."""
        return int(np.issubdtype(np.dtype(self.dtype), np.integer))


def flatten(values: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Values [..., *shape] as [..., elements]. Raises ValueError for another shape."""
    array = np.asarray(values)
    batch = array.shape[: array.ndim - len(shape)]
    if array.ndim < len(shape) or array.shape[len(batch) :] != shape:
        raise ValueError(f"action {values} has shape {array.shape}; expected {shape}")
    return array.reshape((*batch, math.prod(shape)))


def flatten_whole(values: Any, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The same of whole numbers. Raises ValueError for another dtype, which is refused, not rounded."""
    flat = flatten(values, shape)
    if flat.size and flat.dtype.kind not in "iub":
        raise ValueError(f"action {values} is {flat.dtype}; expected whole numbers")
    return flat.astype(np.int64)


def check_range(indices: NDArray[np.int64], sizes: NDArray[np.int64], values: Any) -> None:
    """Raises ValueError unless every index of [..., slots] is of one of that many choices."""
    if not bool(((indices >= 0) & (indices < sizes)).all()):
        raise ValueError(f"action {values} is outside the space")
