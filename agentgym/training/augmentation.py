"""What is random about a window in training: which patches are masked, and its colours.

Colour jitter changes brightness, contrast, saturation and hue, the same for all frames of a window.

The paper varies the first three between 70 and 140 % and hue by up to 0.05 of a turn (arXiv 2402.05929, appendix).
Chances are a function of the seed and of a window's place in the order, so that a resumed run sees the masks and
colours of an uninterrupted one, however its updates are cut into batches and shared by processes.
"""

import math
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from agentgym.recipes import ColourJitter
from agentgym.training.windows import Batch

GREY = torch.tensor([0.299, 0.587, 0.114])  # the luma of ITU-R BT.601
YIQ = torch.stack([GREY, torch.tensor([0.5959, -0.2746, -0.3213]), torch.tensor([0.2115, -0.5227, 0.3112])])


def draw(
    batch: Batch, seed: int, places: Iterable[int]
) -> tuple[Float[Tensor, "batch time patches"], Float[Tensor, "batch 4"]]:
    """The noise that decides which patches of a batch are masked, and the chances of its colours, in [0, 1).

    `places` are those of its windows in the order of that seed.
    """
    frames = batch.step_mask.shape[1], batch.patches_per_frame
    generators = [np.random.default_rng([seed, int(place)]) for place in places]
    colours = np.stack([generator.random(4, np.float32) for generator in generators])
    noise = np.stack([generator.random(frames, np.float32) for generator in generators])
    return torch.from_numpy(noise), torch.from_numpy(colours)


def jitter_colours(
    frames: UInt8[Tensor, "batch time height width 3"], chances: Float[Tensor, "batch 4"], recipe: ColourJitter
) -> UInt8[Tensor, "batch time height width 3"]:
    """The frames in other colours; `chances` in [0, 1) choose brightness, contrast, saturation and hue of each window.

    Hue turns the chroma of YIQ, which is linear and keeps the luma, where torchvision shifts the hue of HSV.
    """
    pixels = frames.float() / 255
    factors = [
        (low + (high - low) * chance).view(-1, 1, 1, 1, 1)
        for (low, high), chance in zip(
            (recipe.brightness, recipe.contrast, recipe.saturation), chances.T[:3], strict=True
        )
    ]
    pixels = (pixels * factors[0]).clamp(0, 1)
    mean = (pixels @ GREY).mean((2, 3))[..., None, None, None]
    pixels = (mean + (pixels - mean) * factors[1]).clamp(0, 1)
    grey = (pixels @ GREY)[..., None]
    pixels = grey + (pixels - grey) * factors[2]
    turned = torch.einsum("bij,bthwj->bthwi", _turn(recipe.hue * (2 * chances[:, 3] - 1)), pixels)
    return (turned.clamp(0, 1) * 255).round().to(torch.uint8)


def _turn(turns: Float[Tensor, "batch"]) -> Float[Tensor, "batch 3 3"]:
    """Colour matrices that turn the hue."""
    angle = 2 * math.pi * turns
    rotation = torch.eye(3).repeat(len(turns), 1, 1)
    rotation[:, 1, 1] = rotation[:, 2, 2] = angle.cos()
    rotation[:, 1, 2], rotation[:, 2, 1] = -angle.sin(), angle.sin()
    return torch.linalg.inv(YIQ) @ rotation @ YIQ
