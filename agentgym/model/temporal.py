"""Attention over time in the visual encoder: divided space-time attention, which reads clips.

After CLIP's spatial attention in each layer, every patch attends to the same patch of the frames before it (Bain et
al. 2021, arXiv 2104.00650; Bertasius et al. 2021, arXiv 2102.05095). Theirs sees the whole clip; this one looks back
only, so that no action is predicted from frames that come after it. What it adds is 0 at the start, so that a
pretrained image encoder gives the features it gave without it.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class TemporalAttention(nn.Module):
    """One attention over the frames of a clip, on a residual path."""

    def __init__(self, width: int, heads: int, frames: int) -> None:
        """For clips of at most that many `frames`."""
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.positions = nn.Parameter(torch.zeros(frames, width))
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self._initialize()

    def forward(self, hidden: Float[Tensor, "frames tokens width"], time: int) -> Float[Tensor, "frames tokens width"]:
        """`frames` are clips of `time` frames, one after another. Raises ValueError where a clip is too long."""
        if time > len(self.positions):
            raise ValueError(f"a clip of {time} frames; this encoder takes {len(self.positions)} at most")
        clips = self.norm(hidden).unflatten(0, (-1, time)).transpose(1, 2) + self.positions[:time]
        parts = self.queries_keys_values(clips).unflatten(-1, (3, self.heads, -1))
        queries, keys, values = parts.movedim((3, 4), (0, 2))  # 3 x [clips, heads, tokens, time, width of a head]
        seen = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return hidden + self.out(seen.movedim(1, 3).flatten(-2)).transpose(1, 2).flatten(0, 1)

    @torch.no_grad()
    def _initialize(self) -> None:
        """Adds nothing at the start; the inner layers as in He et al. 2022."""
        nn.init.zeros_(self.positions)
        nn.init.xavier_uniform_(self.queries_keys_values.weight)
        nn.init.zeros_(self.queries_keys_values.bias)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
