"""StochasticOnnxPolicy: an exported policy that draws by the episodes' seeds. Needs onnxruntime."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agentgym.policies.onnx_runtime.onnx_policy import History, OnnxPolicy
from agentgym.policies.sampling import PerEpisodeSampler


class StochasticOnnxPolicy(OnnxPolicy):
    """An exported policy, whose episodes' seeds decide what it draws."""

    def start(self, row: int, seed: int) -> None:
        """An episode of that seed has begun in that row."""
        self._sampler = getattr(self, "_sampler", None) or PerEpisodeSampler()
        self._sampler.start(row, seed)

    def select(self, state: Sequence[History], rows: NDArray[np.int64]) -> tuple[Any, ...]:
        """See `OnnxPolicy`."""
        self._sampler.select(rows)
        return super().select(state, rows)

    def _choose(self, logits: NDArray[np.float32], deterministic: bool) -> NDArray[np.int64]:
        return self._sampler.sample(torch.from_numpy(logits).double().softmax(-1).numpy())
