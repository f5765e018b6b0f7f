"""The forward pass over windows: a batch in training, and held-out ones with the same masks every time."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from agentgym.model.output import AgentOutput
from agentgym.recipes import LossRecipe
from agentgym.training.augmentation import draw
from agentgym.training.losses import Losses, compute_losses, frames_to_mask
from agentgym.training.order import order
from agentgym.training.windows import Batch, Source

Autocast = Callable[[], AbstractContextManager[object]]


def forward(
    model: Callable[..., AgentOutput],
    batch: Batch,
    noise: Float[Tensor, "batch time patches"],
    recipe: LossRecipe,
    autocast: Autocast = nullcontext,
) -> tuple[AgentOutput, Losses]:
    """The predictions for a batch and their losses; the noise decides which patches are masked."""
    frames = frames_to_mask(batch, noise, recipe)
    with autocast():
        output = model(
            **batch.inputs,
            mask_noise=noise[frames] if recipe.masked_image > 0 else None,
            masked_frames=frames,
            mask_ratio=recipe.mask_ratio,
        )
    return output, compute_losses(output, batch, recipe, frames)


@torch.no_grad()
def read_windows(
    model: torch.nn.Module,
    source: Source,
    chosen: NDArray[np.int64],
    recipe: LossRecipe,
    *,
    size: int,
    device: torch.device,
    autocast: Autocast = nullcontext,
    share: tuple[int, int] = (0, 1),
) -> Iterator[tuple[Batch, AgentOutput, Losses]]:
    """The windows of `chosen`, int64[windows], in batches of `size`, with what the model makes of them.

    `share` is (index, count): this process's of the batches, where `count` processes divide them.
    """
    index, count = share
    for start in list(range(0, len(chosen), size))[index::count]:
        windows = chosen[start : start + size]
        batch = source.batch(windows).to(device)
        noise, _ = draw(batch, 0, windows)
        yield batch, *forward(model, batch, noise.to(device), recipe, autocast)


def some_windows(source: Source, count: int) -> NDArray[np.int64]:
    """The numbers of at most that many windows of a source, int64[n], drawn once."""
    count = min(len(source), count)
    return order(len(source), 0, 0, count) if count else np.zeros(0, np.int64)
