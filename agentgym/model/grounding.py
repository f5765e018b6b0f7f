"""Attention to the instruction in the visual encoder, so that a frame is read for what was asked.

In each layer, before the attention among patches, every patch attends to the words of the instruction (as in
the deep fusion of Li et al. 2022, arXiv 2112.03857, only from image to text). A patch then knows whether it shows
what was named before the frame becomes a few tokens. With a published image encoder it adds 0 at the start, so that
the features are those that the encoder gave without it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class InstructionContext:
    """The embedded words of some instructions, and which of them each frame is read with."""

    embeddings: Float[Tensor, "instructions words width"]
    mask: Bool[Tensor, "instructions words"]  # false where a shorter one is padded on the left
    of_frame: Int[Tensor, "frames"]

    def at(self, frames: Int[Tensor, "chosen"]) -> "InstructionContext":
        """The words of those frames."""
        return InstructionContext(self.embeddings, self.mask, self.of_frame[frames])


class InstructionAttention(nn.Module):
    """One attention from the tokens of a frame to the words of its instruction, on a residual path."""

    def __init__(self, width: int, heads: int, word_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.word_norm = nn.LayerNorm(word_width)
        self.queries = nn.Linear(width, width)
        self.keys_values = nn.Linear(word_width, 2 * width)
        self.out = nn.Linear(width, width)
        self._initialize()

    def forward(self, hidden: Float[Tensor, "frames tokens width"], words: InstructionContext) -> Tensor:
        """[frames, tokens, width]: what came in and what was found in the words, whose order counts."""
        places = positions(words.mask, words.embeddings.shape[2])
        named = self.word_norm(words.embeddings) + places.to(words.embeddings.dtype)
        keys, values = self.keys_values(named).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries = self.queries(self.norm(hidden)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        of, seen = words.of_frame, None
        if words.mask.device.type != "cpu" or not bool(words.mask.all()):  # elsewhere asking would wait for the device
            seen = words.mask[of][:, None, None]
        found = F.scaled_dot_product_attention(queries, keys[of], values[of], attn_mask=seen)
        return hidden + self.out(found.transpose(1, 2).flatten(2))

    @torch.no_grad()
    def _initialize(self) -> None:
        """As in He et al. 2022."""
        for layer in (self.queries, self.keys_values, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    @torch.no_grad()
    def zero_init(self) -> None:
        """Adds nothing, until it learns."""
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)


def positions(mask: Bool[Tensor, "instructions words"], width: int) -> Float[Tensor, "instructions words width"]:
    """Fixed sine and cosine positions (Vaswani et al. 2017), counted without the padding."""
    half = width // 2
    frequency = 10_000.0 ** (-torch.arange(half, device=mask.device) / half)
    angle = (mask.long().cumsum(1) - 1).clamp(min=0)[..., None] * frequency
    return F.pad(torch.cat([angle.sin(), angle.cos()], dim=2), (0, width - 2 * half))
