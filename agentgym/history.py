"""What an agent remembers of each environment: a value, which a policy takes and gives back changed in a copy.

It has the steps of a window and how that moves (`agentgym.layout`), and the keys and values that F_φ computed for it.
What they mean to the model is the policy's.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentgym.action_spaces import NO_TOKEN, SpaceCodec
from agentgym.layout import kept_steps


@dataclass(frozen=True)
class PolicyState:
    """The history of N environments. A value: `predict` returns a new one and never changes the one it got."""

    policy: str  # the fingerprint of the policy that made it
    instructions: tuple[str, ...]
    visual: NDArray[Any]  # float32[N, M, visual tokens, width], or the frames of clips, uint8[N, M, side, side, 3]
    actions: NDArray[np.int64]  # [N, M, action tokens], NO_TOKEN where one has fewer; the last held was chosen last
    steps: NDArray[np.int64]  # [N], how many of the M places are taken
    keys_values: NDArray[np.float32]  # of all tokens but the latest action's, as `agentgym.model.reading` has them

    def keep(self, rows: NDArray[np.int64]) -> "PolicyState":
        """That of those rows alone, in that order."""
        return replace(
            self,
            instructions=tuple(self.instructions[row] for row in rows),
            visual=self.visual[rows],
            actions=self.actions[rows],
            steps=self.steps[rows],
            keys_values=self.keys_values[:, :, rows],
        )

    def executed(self, tokens: NDArray[np.int64]) -> "PolicyState":
        """That after actions [N, tokens] were executed in place of those last chosen."""
        held, latest = self.actions.copy(), np.full((len(self.steps), self.actions.shape[2]), NO_TOKEN, np.int64)
        latest[:, : tokens.shape[1]] = tokens
        held[np.arange(len(held)), self.steps - 1] = latest
        return replace(self, actions=held)


@dataclass(frozen=True)
class Window:
    """The steps that N environments' agents see, the latest still without an action."""

    visual: NDArray[Any]  # as in PolicyState
    actions: NDArray[np.int64]
    steps: NDArray[np.int64]
    begun: NDArray[np.bool_]  # [N], nothing of the row was read before: a new episode, or another instruction
    moved: NDArray[np.bool_]  # [N], the row's steps stand at other places than before

    @staticmethod
    def of(
        latest: NDArray[Any],
        instructions: tuple[str, ...],
        old: PolicyState | None,
        starts: NDArray[np.bool_],
        codec: SpaceCodec,
        longest: int,
    ) -> "Window":
        """Windows of at most `longest` steps that end with `latest`, each environment's visual tokens or frame."""
        rows = np.arange(len(latest))
        if old is None:
            visual = np.zeros((len(latest), longest, *latest.shape[1:]), latest.dtype)
            actions = np.full((len(latest), longest, codec.longest), 0 if codec.length else NO_TOKEN, np.int64)
            steps, begun, full = np.zeros(len(latest), np.int64), np.ones(len(latest), bool), np.zeros(len(latest), bool)
        else:
            visual, actions, steps = old.visual.copy(), old.actions.copy(), old.steps.copy()
            steps[starts] = 0
            full = steps == longest
            if full.any():
                kept = kept_steps(longest)
                for values in (visual, actions):
                    values[full, :kept] = values[full, longest - kept :]
                steps[full] = kept
            begun = starts | np.array([a != b for a, b in zip(instructions, old.instructions, strict=True)])
        visual[rows, steps] = latest
        return Window(visual, actions, steps + 1, begun, full)
