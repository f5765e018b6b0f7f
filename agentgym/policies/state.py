"""What an agent remembers of each environment: a value, which a policy takes and gives back changed in a copy.

The steps of a window are kept tick by tick: every `predict` adds one tensor of all environments, on the model's device,
and a row sees the latest `steps` of them. So nothing is copied or moved when a window grows, moves or begins. The KV
cache is shared by a state and those that follow from it; which of them it belongs to is told by `turn`.
"""

from dataclasses import dataclass, replace

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
        """That of those rows alone, in that order."""
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

    def executed(self, tokens: NDArray[np.int64]) -> "PolicyState":
        """That after actions [N, tokens] were executed in place of those last chosen."""
        latest = np.full_like(self.actions[-1], NO_TOKEN)
        latest[:, : tokens.shape[1]] = tokens
        return replace(self, actions=(*self.actions[:-1], latest))
