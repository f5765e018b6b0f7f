"""The batches of a training, each a function of only the seed and its number, whatever process makes it."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from agentgym.recipes import TrainingRecipe
from agentgym.training.augmentation import draw, jitter_colours
from agentgym.training.windows import Batch, Source, prefetch

MOST_PLACES = 128  # at which an update may be cut


def batches_of(
    recipe: TrainingRecipe, source: Source, *, first: int, process: int = 0, processes: int = 1
) -> Iterator[tuple[Batch, Tensor]]:
    """A process's share of every batch from update `first` on, with the noise that decides which patches are masked.

    The windows of an update go into its batches by length, cut where the fewest steps are padded, and every process has
    some of each length. Noise and jitter belong to a window's place in the order. So neither the number of
    processes nor how an update is cut into batches changes the update.
    """
    unit = _unit(recipe, processes)
    numbers = range(first * recipe.accumulation, recipe.updates * recipe.accumulation)
    windows = recipe.accumulation * recipe.batch_size

    @lru_cache(maxsize=recipe.loader_workers + 1)  # once for all batches of an update
    def cut(update: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        chosen = source.order(recipe.seed, update * windows, windows)
        steps = source.steps(chosen)
        by_length = steps.argsort(kind="stable")
        return chosen, by_length, cut_by_length(steps[by_length], recipe.accumulation, unit)

    def make(number: int) -> tuple[Batch, Tensor]:
        update, micro = divmod(number, recipe.accumulation)
        chosen, by_length, cuts = cut(update)
        mine = by_length[cuts[micro] : cuts[micro + 1]][process::processes]
        batch = source.batch(chosen[mine])
        noise, colours = draw(batch, recipe.seed, update * windows + mine)
        if recipe.colour_jitter is None:
            return batch, noise
        return replace(batch, frames=jitter_colours(batch.frames, colours, recipe.colour_jitter)), noise

    return prefetch(make, numbers, workers=recipe.loader_workers)


def cut_by_length(steps: NDArray[np.int64], batches: int, unit: int) -> NDArray[np.int64]:
    """Where windows that are sorted by their steps (int64[N]) are cut into batches, int64[batches + 1].

    A batch costs its windows times the longest one's steps. Of the cuts at multiples of `unit` in which no batch costs
    more than a batch of equal parts may, it is one of those that cost least in all.
    """
    places = np.arange(0, len(steps) + 1, unit)
    sizes, longest = places[None, 1:] - places[:-1, None], steps[places[1:] - 1]  # [from, to], [to]
    costs = (sizes * longest).astype(float)
    costs[(costs <= 0) | (costs > len(steps) // batches * steps[-1])] = np.inf
    least = costs[0]  # [to]: of all batches so far, the last of which ends there
    begins: list[NDArray[np.int64]] = []
    for _ in range(batches - 1):
        through = least[:-1, None] + costs[1:]
        begins.append(through.argmin(axis=0) + 1)
        least = through.min(axis=0)
    cuts = [len(places) - 1]
    for begin in reversed(begins):
        cuts.append(int(begin[cuts[-1] - 1]))
    return places[[0, *reversed(cuts)]]


def _unit(recipe: TrainingRecipe, processes: int) -> int:
    """The windows between two places of a cut: few, and in any batch as many for each process."""
    share = recipe.batch_size // processes
    fine = (d for d in range(1, share + 1) if share % d == 0 and recipe.accumulation * share // d <= MOST_PLACES)
    return processes * next(fine, share)
