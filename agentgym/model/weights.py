"""Whether weights have changed, checked cheaply, so that nothing computed with other weights is used."""

from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class WeightsMark:
    """Marks the weights of modules as they are: another mark, other weights.

    PyTorch's version counters see updates in place, addresses see `.to` and new tensors, and one number of each weight
    sees what both miss: writing through `.data`, as averaging of weights and Stable-Baselines3 do.

    PyTorch has no public name for a tensor's version counter, nor a quick one for a module's own parameters, which are
    read at every step; tests/policies/test_policy_weights.py changes weights in each of these ways.
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
        self._numbers: list[Any] = []
        self._counts = True

    def now(self) -> tuple[Any, ...]:
        """The mark."""
        weights: list[Tensor] = [held[name] for held, name in self._places]
        known = tuple([weight.data_ptr() for weight in weights])
        if known != self._known:
            self._known, self._numbers = known, [_middle(weight) for weight in weights]
            self._counts = not any(weight.is_inference() for weight in weights)  # those have no counters
        versions = sum([weight._version for weight in weights]) if self._counts else 0
        if isinstance(self._numbers[0], np.ndarray):
            return known, versions, *[number.item() for number in self._numbers]
        return known, versions, *torch.stack(self._numbers).float().tolist()

    def __getstate__(self) -> dict[str, Any]:
        """Without what is true of these very tensors only."""
        return {**self.__dict__, "_known": (), "_numbers": []}


def fingerprint(model: Any) -> str:
    """Identifies a model: a hash of the configuration and of some numbers of each tensor."""
    digest = blake2b(model.config.to_json_string().encode(), digest_size=8)
    for name, tensor in model.state_dict().items():
        some = tensor.detach().flatten()[:: max(1, tensor.numel() // 32)]
        digest.update(name.encode() + some.float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _middle(weight: Tensor) -> Any:
    """One number of a tensor, as a view of it: NumPy's where that can be, which is quicker to read."""
    place = np.unravel_index(weight.numel() // 2, weight.shape)
    number = weight.detach()[tuple(int(each) for each in place)]
    return number.numpy() if weight.device.type == "cpu" and weight.dtype == torch.float32 else number
