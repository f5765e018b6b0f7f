"""Several sources of windows as one: each at its own pace, batches of all of them together.

Windows of different lengths are padded at the end, actions of different lengths after their tokens; masks say where.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from agentgym.model.tokenizer import PAD
from agentgym.training.order import mixed_order
from agentgym.training.windows import Batch, Source


class MixedSource:
    """The windows of several sources, one after another; `weights` are their shares of what is drawn."""

    def __init__(self, sources: Sequence[Source], weights: Sequence[float]) -> None:
        self.sources, self._weights = sources, weights
        self._sizes = [len(source) for source in sources]
        self._starts = np.cumsum([0, *self._sizes])
        self.window = max(source.window for source in sources)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def targets_per_window(self) -> float:
        """How many actions a drawn window has as targets, on average."""
        shares = np.asarray(self._weights) / np.sum(self._weights)
        return float(sum(share * source.targets_per_window for share, source in zip(shares, self.sources, strict=True)))

    def order(self, seed: int, first: int, count: int) -> NDArray[np.int64]:
        """The windows at places [first, first + count) of the endless order of that seed, int64[count]."""
        return mixed_order(self._sizes, self._weights, seed, first, count)

    def steps(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many steps those windows (int64[n]) have, int64[n]."""
        owners = self._owners(indices)
        found = np.empty(len(indices), np.int64)
        for owner in np.unique(owners):
            here = owners == owner
            found[here] = self.sources[owner].steps(indices[here] - self._starts[owner])
        return found

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """Those windows (int64[n]) as a batch, in that order."""
        owners = self._owners(indices)
        places = [np.flatnonzero(owners == owner) for owner in np.unique(owners)]
        batches = [
            self.sources[owner].batch(indices[here] - self._starts[owner])
            for owner, here in zip(np.unique(owners), places, strict=True)
        ]
        return join(batches, np.argsort(np.concatenate(places)))

    def _owners(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which source each window is of."""
        return np.searchsorted(self._starts, indices, side="right") - 1


def join(batches: Sequence[Batch], order: NDArray[np.int64]) -> Batch:
    """Batches one after another, their rows then in that order, int64[rows]."""
    words = max(batch.instruction.shape[1] for batch in batches)
    steps = max(batch.actions.shape[1] for batch in batches)
    length = max(batch.actions.shape[2] for batch in batches)
    soft = any(batch.probabilities is not None for batch in batches)
    padded = [_pad(batch, words, steps, length, soft) for batch in batches]
    rows = torch.from_numpy(order)

    def together(name: str) -> Tensor:
        return torch.cat([getattr(batch, name) for batch in padded])[rows]

    names = ("frames", "actions", "targets", "step_mask", "context_mask")
    firsts = np.cumsum([0, *(len(batch.instruction) for batch in batches[:-1])]).tolist()
    episodes = [episode for batch in padded for episode in batch.episodes]
    labelled = any(batch.labels is not None for batch in batches)
    whole = all(batch.action_mask is None and batch.actions.shape[2] == length for batch in batches)
    joined: dict[str, Any] = {name: together(name) for name in names}
    return replace(
        padded[0],
        **joined,
        instruction=torch.cat([batch.instruction for batch in padded]),
        instruction_mask=torch.cat([batch.instruction_mask for batch in padded]),
        instruction_of=torch.cat([batch.instruction_of + first for batch, first in zip(batches, firsts, strict=True)])[
            rows
        ],
        action_mask=None if whole else together("action_mask"),
        target_mask=None if whole else together("target_mask"),
        episodes=tuple(episodes[row] for row in order),
        labels=joined["targets"] if labelled else None,
        probabilities=together("probabilities") if padded[0].probabilities is not None else None,
    )


def _pad(batch: Batch, words: int, steps: int, length: int, soft: bool) -> Batch:
    """The batch with room for that many words (on the left), steps and tokens an action, and with its masks.

    Where others have probabilities (`soft`) it has zeros for them.
    """
    before = (words - batch.instruction.shape[1], 0)
    more = steps - batch.actions.shape[1]
    wider = (0, length - batch.actions.shape[2], 0, more)
    there = torch.ones_like(batch.actions, dtype=torch.bool)
    probabilities = batch.probabilities
    if soft and probabilities is None:
        probabilities = torch.zeros(*batch.actions.shape[:2], batch.num_action_tokens)
    return replace(
        batch,
        instruction=F.pad(batch.instruction, before, value=PAD),
        instruction_mask=F.pad(batch.instruction_mask, before),
        frames=F.pad(batch.frames, (0, 0, 0, 0, 0, 0, 0, more)),
        actions=F.pad(batch.actions, wider),
        targets=F.pad(batch.targets, wider),
        action_mask=F.pad(there if batch.action_mask is None else batch.action_mask, wider),
        target_mask=F.pad(there if batch.target_mask is None else batch.target_mask, wider),
        step_mask=F.pad(batch.step_mask, (0, more)),
        context_mask=F.pad(batch.context_mask, (0, more)),
        probabilities=None if probabilities is None else F.pad(probabilities, (0, 0, 0, more)),
    )
