"""What an agent remembers of each environment: a value, which a policy takes and gives back changed in a copy.

The steps of a window are kept tick by tick: every `predict` adds one tensor of all environments, on the model's device,
and a row sees the latest `steps` of them. So nothing is copied or moved when a window grows, moves or begins. The KV
cache is shared by a state and those that follow from it; `turn` says which of them it belongs to.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentgym.model.kv_cache import KVCache
from agentgym.spaces import NO_TOKEN


@dataclass(frozen=True)
class PolicyState:
    """The history of N environments. A value: `predict` returns a new one and never changes the one it got."""

    policy: str  # which policy made it, with which weights
    instructions: tuple[str, ...]
    visual: tuple[Tensor, ...]  # float[N, visual tokens, width] a tick, the latest last; none where frames are clips
    frames: tuple[Tensor, ...]  # uint8[N, side, side, 3] a tick, of agents that look at them again
    actions: tuple[NDArray[np.int64], ...]  # [N, tokens] a tick, NO_TOKEN where one has fewer
    steps: NDArray[np.int64]  # [N], how many of the latest ticks each row sees
    read: NDArray[np.int64]  # [N], how many tokens of each row the cache has: all but the latest action's
    cache: KVCache
    turn: int  # of the cache, when this state was the latest

    @property
    def is_latest(self) -> bool:
        """Whether the cache has what this state has read, and not what another has read since."""
        return self.turn == self.cache.turn

    def select(self, rows: NDArray[np.int64]) -> "PolicyState":
        """The state of those rows (int64[K]), in that order."""
        cache, chosen = self.cache.select(rows), torch.from_numpy(rows)
        return replace(
            self,
            instructions=tuple(self.instructions[row] for row in rows),
            visual=tuple(tick[chosen.to(tick.device)] for tick in self.visual),
            frames=tuple(tick[chosen.to(tick.device)] for tick in self.frames),
            actions=tuple(tick[rows] for tick in self.actions),
            steps=self.steps[rows],
            read=self.read[rows],
            cache=cache,
            turn=cache.turn if self.is_latest else -1,
        )

    @staticmethod
    def join(states: Sequence["PolicyState"]) -> "PolicyState":
        """One state of all their environments, in that order. Raises ValueError when they are not of one policy."""
        first = states[0]
        if any(state.policy != first.policy for state in states):
            raise ValueError("states of other weights cannot be joined")
        cache = KVCache.join([state.cache for state in states])
        return replace(
            first,
            instructions=tuple(text for state in states for text in state.instructions),
            visual=_aligned([state.visual for state in states]),
            frames=_aligned([state.frames for state in states]),
            actions=_aligned([state.actions for state in states]),
            steps=np.concatenate([state.steps for state in states]),
            read=np.concatenate([state.read for state in states]),
            cache=cache,
            turn=cache.turn if all(state.is_latest for state in states) else -1,
        )

    def executed(self, tokens: NDArray[np.int64]) -> "PolicyState":
        """That after actions [N, tokens] were executed in place of those last chosen."""
        latest = np.full_like(self.actions[-1], NO_TOKEN)
        latest[:, : tokens.shape[1]] = tokens
        return replace(self, actions=(*self.actions[:-1], latest))


def _aligned(series: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Ticks of several batches side by side, the latest with the latest; what a row had no tick for, it never sees."""
    longest = max(len(ticks) for ticks in series)
    padded = [(*[ticks[0] * 0] * (longest - len(ticks)), *ticks) for ticks in series if ticks]
    if not padded:
        return ()
    join = np.concatenate if isinstance(padded[0][0], np.ndarray) else torch.cat
    return tuple(join(tick) for tick in zip(*padded, strict=True))
