"""Whether weights are still what they were, told cheaply, so that what was computed with others is not mistaken."""

from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class WeightsMark:
    """Marks the weights of modules as they are: another mark, other weights.

    PyTorch's version counters see updates in place, addresses see `.to` and new tensors, and one number of each weight
    sees what both miss: writing through `.data`, as averaging of weights and Stable-Baselines3 do.
    """

    def __init__(self, *modules: nn.Module) -> None:
        self._places: list[tuple[dict[str, Any], str]] = [
            (each._parameters, name)
            for module in modules
            for each in module.modules()
            for name, weight in each._parameters.items()
            if weight is not None and weight.numel()
        ]
        self._known: tuple[Any, ...] = ()
        self._numbers: list[Tensor] = []

    def now(self) -> tuple[Any, ...]:
        """The mark."""
        weights: list[Tensor] = [held[name] for held, name in self._places]
        known = tuple([(id(weight), weight.data_ptr()) for weight in weights])
        if known != self._known:
            self._known, self._numbers = known, [_middle(weight) for weight in weights]
        versions = sum([0 if weight.is_inference() else weight._version for weight in weights])
        return known, versions, torch.stack(self._numbers).float().cpu().numpy().tobytes()

    def __getstate__(self) -> dict[str, Any]:
        """Without what is true of these very tensors alone."""
        return {**self.__dict__, "_known": (), "_numbers": []}


def fingerprint(model: Any) -> str:
    """What tells one model from another: a hash of the configuration and of some numbers of each tensor."""
    digest = blake2b(model.config.to_json_string().encode(), digest_size=8)
    for name, tensor in model.state_dict().items():
        some = tensor.detach().flatten()[:: max(1, tensor.numel() // 32)]
        digest.update(name.encode() + some.float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _middle(weight: Tensor) -> Tensor:
    """One number of a tensor, as a view of it."""
    place = np.unravel_index(weight.numel() // 2, weight.shape)
    return weight.detach()[tuple(int(each) for each in place)]
