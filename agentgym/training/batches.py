"""The batches of a training, each a function of only the seed and its number, whatever process makes it."""

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from agentgym.recipes import TrainingRecipe
from agentgym.training.augmentation import draw, jitter_colours
from agentgym.training.windows import Batch, Source, prefetch


def batches_of(
    recipe: TrainingRecipe, source: Source, *, first: int, process: int = 0, processes: int = 1
) -> Iterator[tuple[Batch, Tensor]]:
    """A process's share of every batch from update `first` on, with the noise that decides which patches are masked.

    The windows of an update go into its batches by length, so that few steps are padded, and every process has some of
    each length. Noise and jitter belong to a window's place in the order. So neither the number of processes nor how an
    update is cut into batches changes the update.
    """
    numbers = range(first * recipe.accumulation, recipe.updates * recipe.accumulation)

    def make(number: int) -> tuple[Batch, Tensor]:
        update, micro = divmod(number, recipe.accumulation)
        windows = recipe.accumulation * recipe.batch_size
        chosen = source.order(recipe.seed, update * windows, windows)
        by_length = source.steps(chosen).argsort(kind="stable").reshape(recipe.accumulation, recipe.batch_size)
        mine = by_length[micro, process::processes]
        batch = source.batch(chosen[mine])
        noise, colours = draw(batch, recipe.seed, update * windows + mine)
        if recipe.colour_jitter is None:
            return batch, noise
        return replace(batch, frames=jitter_colours(batch.frames, colours, recipe.colour_jitter)), noise

    return prefetch(make, numbers, workers=recipe.loader_workers)
