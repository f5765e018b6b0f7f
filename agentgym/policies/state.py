"""What an agent remembers of each environment: a value, which a policy takes and gives back changed in a copy.

It has the steps of a window and how that moves (`model.sequence`), and the keys and values that F_φ computed for it.
What they mean to the model is known to `agentgym.policies.prefill`.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentgym.model.sequence import kept_steps
from agentgym.spaces import NO_TOKEN, SpaceCodec


@dataclass(frozen=True)
class PolicyState:
    """The history of N environments. A value: `predict` returns a new one and never changes the one it got."""

    policy: str  # the fingerprint of the policy that made it
    instructions: tuple[str, ...]
    visual: NDArray[Any]  # float32[N, M, visual tokens, width], or the frames of clips, uint8[N, M, side, side, 3]
    actions: NDArray[np.int64]  # [N, M, action tokens], NO_TOKEN where one has fewer; the last held was chosen last
    steps: NDArray[np.int64]  # [N], how many of the M places are taken
    keys_values: NDArray[np.float32]  # of all tokens but the latest action's, as `agentgym.model.reading` has them
    read: NDArray[np.int64]  # [N], how many tokens those are
    frames: NDArray[np.uint8] | None = None  # [N, M, side, side, 3] of agents that read frames for an instruction

    def select(self, rows: NDArray[np.int64]) -> "PolicyState":
        """That of those rows alone, in that order."""
        return replace(
            self,
            instructions=tuple(self.instructions[row] for row in rows),
            visual=self.visual[rows],
            actions=self.actions[rows],
            steps=self.steps[rows],
            keys_values=self.keys_values[:, :, rows],
            read=self.read[rows],
            frames=None if self.frames is None else self.frames[rows],
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

    visual: NDArray[Any]  # these four as in PolicyState
    frames: NDArray[np.uint8] | None
    actions: NDArray[np.int64]
    steps: NDArray[np.int64]
    begun: NDArray[np.bool_]  # [N], nothing of the row was read before: a new episode, or another instruction
    moved: NDArray[np.bool_]  # [N], the row's steps stand at other places than before

    @staticmethod
    def empty(like: NDArray[Any], frames: NDArray[np.uint8] | None, codec: SpaceCodec, longest: int) -> "Window":
        """Windows of no steps, with places for `longest` values as in `like` [N, ...]."""
        rows = len(like)
        return Window(
            np.zeros((rows, longest, *like.shape[1:]), like.dtype),
            None if frames is None else np.zeros((rows, longest, *frames.shape[1:]), np.uint8),
            np.full((rows, longest, codec.longest), 0 if codec.length else NO_TOKEN, np.int64),
            np.zeros(rows, np.int64),
            np.ones(rows, bool),
            np.zeros(rows, bool),
        )

    @staticmethod
    def after(state: PolicyState, instructions: tuple[str, ...], starts: NDArray[np.bool_]) -> "Window":
        """The windows of a state with a place for one step more; empty where an episode starts."""
        frames = None if state.frames is None else state.frames.copy()
        visual, actions, steps = state.visual.copy(), state.actions.copy(), state.steps.copy()
        begun, longest = starts, visual.shape[1]
        steps[starts] = 0
        full = steps == longest
        if full.any():
            kept = kept_steps(longest)
            for values in (visual, actions) if frames is None else (visual, actions, frames):
                values[full, :kept] = values[full, longest - kept :]
            steps[full] = kept
        if instructions != state.instructions:
            begun = starts | np.array([a != b for a, b in zip(instructions, state.instructions, strict=True)])
        return Window(visual, frames, actions, steps, begun, full)

    def append(self, visual: NDArray[Any], frames: NDArray[np.uint8] | None) -> None:
        """Each row has a step more."""
        rows = np.arange(len(self.steps))
        self.visual[rows, self.steps] = visual
        if self.frames is not None and frames is not None:
            self.frames[rows, self.steps] = frames
        self.steps[:] += 1
