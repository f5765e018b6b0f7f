"""The convolutional stem of the visual encoder (Xiao et al. 2021, arXiv 2106.14881), in place of CLIP's one projection.

Strided 3x3 convolutions look at a frame before it is patches, so that a small thing looks alike wherever it is and
across the border of two patches. For the masked autoencoder the hidden patches are blank before the first convolution,
as in MCMAE (Gao et al. 2022, arXiv 2205.03892): nothing that is visible knows of them.
"""

from contextlib import nullcontext
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from agentgym.errors import UserError


class ConvolutionalStem(nn.Module):
    """Patches to features of patches, by convolutions over the frame that halve it until a patch is one place."""

    def __init__(self, side: int, patch_size: int, width: int) -> None:
        """Frames of `side` patches a side, each of `patch_size` pixels a side.

        The first convolution has half the `width`, the others all of it. Raises UserError unless patches can be
        halved down to one place.
        """
        super().__init__()
        halvings = patch_size.bit_length() - 1
        if patch_size != 2**halvings or halvings < 1:
            raise UserError(
                f"model.convolutional_stem: patches of {patch_size} pixels cannot be halved down to one; leave it out"
            )
        self.side, self.patch_size = side, patch_size
        self.trains_in_bfloat16 = False  # acting is in the weights' own dtype
        channels = [3, *([width // 2] if halvings > 1 else []), *[width] * max(1, halvings - 1)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1) for before, after in pairwise(channels)
        )
        self._initialize()

    def forward(
        self, patches: Float[Tensor, "frames patches pixels"], visible: Int[Tensor, "frames visible"] | None = None
    ) -> Float[Tensor, "frames patches width"]:
        """The features of all patches, computed from the visible ones alone; None: all are visible."""
        if visible is not None:
            seen = torch.zeros_like(patches[:, :, :1]).scatter(1, visible[..., None], 1.0)
            patches = patches * seen
        side, size = self.side, self.patch_size
        grid = patches.reshape(-1, side, side, 3, size, size).permute(0, 1, 4, 2, 5, 3)
        hidden = grid.reshape(-1, side * size, side * size, 3).permute(0, 3, 1, 2)  # channels last in memory: quicker
        with torch.autocast(hidden.device.type, torch.bfloat16) if self._in_bfloat16 else nullcontext():
            for convolution in self.convolutions:
                hidden = convolution(hidden).relu()
        return hidden.flatten(2).transpose(1, 2).to(patches.dtype)

    @property
    def _in_bfloat16(self) -> bool:
        return self.training and self.trains_in_bfloat16

    @torch.no_grad()
    def _initialize(self) -> None:
        """As He et al. 2015 draw weights before ReLU; biases 0."""
        for convolution in self.convolutions:
            assert isinstance(convolution, nn.Conv2d)
            assert convolution.bias is not None
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
