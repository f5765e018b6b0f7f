"""The masked autoencoder (He et al. 2022, arXiv 2111.06377): which patches are hidden, and the decoder of the pixels.

The encoder is the agent's own (`agentgym.model.vision`), which reads only the visible patches. The loss is in
`agentgym.training.losses`.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from agentgym.model.transformer import FullAttention, Transformer, TransformerSizes
from agentgym.model.vision import sine_cosine_positions


@dataclass(frozen=True)
class Reconstruction:
    """Patches of the real frames of a batch, in order, and their reconstruction; `masked` are the hidden ones."""

    patches: Float[Tensor, "frames patches pixels"]
    predicted: Float[Tensor, "frames patches pixels"]
    masked: Bool[Tensor, "frames patches"]

    def of(self, frames: Int[Tensor, "chosen"]) -> "Reconstruction":
        """That of some frames."""
        return Reconstruction(self.patches[frames], self.predicted[frames], self.masked[frames])


class MAEDecoder(nn.Module):
    """From the encoder's features of the visible patches to the pixels of all."""

    positions: Tensor

    def __init__(
        self, encoder_width: int, num_patches: int, pixels: int, *, width: int, layers: int, heads: int
    ) -> None:
        super().__init__()
        self.side = math.isqrt(num_patches)
        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.register_buffer("positions", torch.zeros(num_patches, width))
        self.transformer = Transformer(TransformerSizes(width, 4 * width, layers, heads, "gelu"))
        self.norm = nn.LayerNorm(width)
        self.to_pixels = nn.Linear(width, pixels)
        self._initialize()

    def forward(
        self, visible_features: Float[Tensor, "frames visible width"], visible: Int[Tensor, "frames visible"]
    ) -> Float[Tensor, "frames patches pixels"]:
        """The reconstruction of every patch."""
        embedded = self.embed(visible_features)
        tokens = self.mask_token.to(embedded.dtype).expand(len(visible), len(self.positions), -1)
        tokens = tokens.scatter(1, visible[..., None].expand_as(embedded), embedded) + self.positions
        return self.to_pixels(self.norm(self.transformer(tokens, FullAttention())))

    @torch.no_grad()
    def _initialize(self) -> None:
        """Fixed positions; linear layers as in He et al. 2022."""
        self.positions.copy_(sine_cosine_positions(self.side, self.positions.shape[1]))
        nn.init.normal_(self.mask_token, std=0.02)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                for matrix in module.weight.chunk(3 if name.endswith("queries_keys_values") else 1):
                    nn.init.xavier_uniform_(matrix)
                nn.init.zeros_(module.bias)


def split_patches(
    noise: Float[Tensor, "frames patches"], mask_ratio: float
) -> tuple[Int[Tensor, "frames visible"], Bool[Tensor, "frames patches"]]:
    """M: the visible patches of each frame, those with the least noise, and which patches are masked.

    Rounded so that at least one patch is visible and at least one masked.
    """
    patches = noise.shape[1]
    kept = min(max(1, round(patches * (1 - mask_ratio))), patches - 1)
    visible = noise.argsort(dim=1)[:, :kept]
    masked = torch.ones_like(noise, dtype=torch.bool).scatter(1, visible, False)
    return visible, masked


def of_first_chosen(noise: Tensor, chosen: Tensor, time: int) -> Float[Tensor, "frames patches"]:
    """Of the noise of the `chosen` frames (bool[frames]) that of the first one of each clip, for all its frames."""
    clips = chosen.unflatten(0, (-1, time))
    of_all = noise.new_zeros(len(chosen), noise.shape[1]).masked_scatter(chosen[:, None], noise)
    rows, first = torch.arange(len(clips), device=noise.device), clips.to(torch.uint8).argmax(1)
    return of_all.unflatten(0, clips.shape)[rows, first].repeat_interleave(time, 0)
