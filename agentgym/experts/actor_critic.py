"""ActorCritic: the network that PPO trains, whose actor `agentgym.experts.networks` reads without torch."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agentgym.experts.networks import KERNEL, NetworkShape


class ActorCritic(nn.Module):
    """Logits of the actions and the value of a batch of states, from the same hidden layers."""

    def __init__(self, shape: NetworkShape, *, layers: Sequence[int], features: int) -> None:
        super().__init__()
        self.shape = shape
        width = int(np.prod(shape.state))
        if shape.kind == "grid":
            self.convolution = nn.Conv2d(shape.state[2], features, KERNEL)
            width = features * (shape.state[0] - KERNEL + 1) * (shape.state[1] - KERNEL + 1)
        widths = [width, *layers, shape.actions]
        self.linear = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        self.value = nn.Linear(widths[-2], 1)
        self._initialise()

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [batch, actions] and values [batch] of states [batch, ...]."""
        hidden = states.float()
        if self.shape.kind == "grid":
            hidden = self._activate(self.convolution(hidden.movedim(-1, 1)))
        hidden = hidden.flatten(1)
        for layer in self.linear[:-1]:
            hidden = self._activate(layer(hidden))
        return self.linear[-1](hidden), self.value(hidden).squeeze(1)

    @torch.no_grad()
    def draw(self, states: NDArray[np.generic]) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """An action for each state, its log-probability and the state's value, [batch] each."""
        logits, values = self(torch.from_numpy(states))
        every = logits.log_softmax(1)
        actions = torch.multinomial(every.exp(), 1)
        return actions.squeeze(1).numpy(), every.gather(1, actions).squeeze(1).numpy(), values.numpy()

    def actor_weights(self) -> dict[str, Tensor]:
        """What acting needs, float32 arrays by the names of `Network`."""
        return {name: values.contiguous() for name, values in self.state_dict().items() if not name.startswith("value")}

    def _activate(self, values: Tensor) -> Tensor:
        return torch.relu(values) if self.shape.activation == "relu" else torch.tanh(values)

    def _initialise(self) -> None:
        """Orthogonal, and hardly any preference for an action at first."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                gain = 0.01 if layer is self.linear[-1] else 1.0 if layer is self.value else 2**0.5
                nn.init.orthogonal_(layer.weight, gain)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
