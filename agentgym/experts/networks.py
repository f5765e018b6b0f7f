"""Networks of trained experts that Stable-Baselines3 has no name for. A zip names its network by this module's path."""

from typing import Any

import gymnasium
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn


class GridNetwork(BaseFeaturesExtractor):
    """A small grid of channels, [batch, height, width, channels], read by 3x3 convolutions (Young and Tian 2019)."""

    def __init__(self, space: gymnasium.Space[Any], width: int = 128, channels: int = 16) -> None:
        super().__init__(space, width)
        shape = space.shape
        assert shape is not None
        assert len(shape) == 3, "a grid has height, width and channels"
        flat = channels * (shape[0] - 2) * (shape[1] - 2)
        self.convolution = nn.Conv2d(shape[2], channels, 3)
        self.linear = nn.Linear(flat, width)

    def forward(self, state: Tensor) -> Tensor:
        """[batch, width]."""
        hidden = torch.relu(self.convolution(state.float().movedim(-1, 1)))
        return torch.relu(self.linear(hidden.flatten(1)))
