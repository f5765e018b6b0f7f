"""The network of a trained expert: a few layers on an environment's state, computed by NumPy.

NAME.safetensors has the weights, NAME.json the network's shape among how it was made. Neither can run code, and
acting needs no torch. `agentgym.experts.ppo` trains the same network and writes both files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from agentgym.errors import UserError, first_line
from agentgym.files import check_file, read_json

KERNEL = 3  # cells: the side of a convolution's view


class NetworkShape(BaseModel):
    """`state` is the shape of what the network reads, `actions` how many there are to choose from.

    A "grid" reads [height, width, channels] by one 3x3 convolution before its linear layers; "layers" reads any shape,
    flattened, only by linear layers. Every layer but the last is followed by the activation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["grid", "layers"]
    activation: Literal["relu", "tanh"]
    state: tuple[int, ...]
    actions: int


@dataclass(frozen=True)
class Network:
    """A network with its weights, named `convolution` and `linear.0`, `linear.1`, ... as in the file.

    Raises ValueError when the weights are not those of such a network.
    """

    shape: NetworkShape
    weights: Mapping[str, NDArray[np.float32]]

    def __post_init__(self) -> None:
        names = [f"linear.{number}" for number in range(self._count)]
        names = ["convolution", *names] if self.shape.kind == "grid" else names
        if set(self.weights) != {f"{name}.{part}" for name in names for part in ("weight", "bias")}:
            raise ValueError(f"its weights are {sorted(self.weights)}, which are no '{self.shape.kind}' network's")
        if not all(np.isfinite(each).all() for each in self.weights.values()):
            raise ValueError("its weights are not all finite")
        if self.scores(np.zeros(self.shape.state, np.float32)).shape != (self.shape.actions,):
            raise ValueError(f"its last layer is not that of {self.shape.actions} actions")

    @property
    def _count(self) -> int:
        """Of the linear layers."""
        return sum(name.endswith(".weight") and name.startswith("linear.") for name in self.weights)

    def scores(self, state: NDArray[Any]) -> NDArray[np.float32]:
        """A logit for each action, float32[actions], in the state of that shape."""
        hidden = np.asarray(state, np.float32)
        if self.shape.kind == "grid":
            hidden = self._activate(self._convolve(hidden))
        hidden = hidden.reshape(-1)
        for number in range(self._count):
            weight, bias = self._layer(f"linear.{number}")
            hidden = weight @ (self._activate(hidden) if number else hidden) + bias
        return hidden

    def _convolve(self, grid: NDArray[np.float32]) -> NDArray[np.float32]:
        """The convolution of float32[height, width, channels], float32[features, height - 2, width - 2]."""
        weight, bias = self._layer("convolution")
        views = np.lib.stride_tricks.sliding_window_view(grid, (KERNEL, KERNEL), axis=(0, 1))
        height, width = views.shape[:2]
        found = weight.reshape(len(weight), -1) @ views.reshape(height * width, -1).T + bias[:, None]
        return found.reshape(-1, height, width)

    def _activate(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.maximum(values, 0) if self.shape.activation == "relu" else np.tanh(values)

    def _layer(self, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]


def load_network(file: Path) -> Network:
    """The network of NAME.safetensors and of the NAME.json next to it. Raises UserError when they are not whole."""
    for each in (file.with_suffix(".json"), file):
        if not each.exists():
            raise UserError(f"{each}: there is no such file; it is NAME.safetensors and NAME.json")
    check_file(file)
    made = read_json(file.with_suffix(".json"), dict)
    try:
        return Network(NetworkShape.model_validate(made["network"]), load_file(file))
    except (OSError, ValueError, KeyError, TypeError, ValidationError, SafetensorError) as error:
        reason = first_line(error)
        raise UserError(f"{file}: cannot be read as a trained expert ({reason})") from None
