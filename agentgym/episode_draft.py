"""EpisodeDraft: an episode in the making, which goes to its sink as a Sample when it ends.

It knows what an episode is made of, and no environment: recorders of one environment and of many hand it what they see.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agentgym.action_series import as_action, stack
from agentgym.action_spaces import Node
from agentgym.environments import Observation, decode_instruction
from agentgym.samples import Sample

ROOM = 16  # frames a piece of memory, taken as an episode needs them
KEPT = 4  # pieces that the next episode finds again, where the processor's cache still has them


class Sink(Protocol):
    """Where finished episodes go."""

    def append(self, sample: Sample, /) -> Any:
        """Takes one episode."""
        ...


class EpisodeDraft:
    """Begun, added to step by step, then finished or discarded; and begun again."""

    def __init__(self, sink: Sink, space: Node, *, task: str, expert: str, versions: Mapping[str, str]) -> None:
        self._sink = sink
        self._space = space
        self._task = task
        self._expert = expert
        self._versions = versions
        self._instruction = ""
        self._seed = 0
        self._frames: list[NDArray[np.uint8]] = []  # pieces, uint8[ROOM, height, width, 3]
        self._actions: list[Any] = []
        self._labels: list[Any] = []
        self._rewards: list[float] = []

    def begin(self, observation: Observation, seed: int) -> None:
        """An episode of that seed shows its first observation."""
        self._instruction = decode_instruction(observation["instruction"])
        self._seed = seed
        self._keep(0, observation["frame"])

    def label(self, action: Any) -> None:
        """What the expert would do in the next step. Either all steps of an episode have a label or none."""
        self._labels.append(as_action(self._space, action))

    def check_labels(self) -> None:
        """Raises ValueError when, with the step to come, some steps have labels and others have none."""
        if self._labels and len(self._labels) != len(self._actions) + 1:
            raise ValueError(f"{len(self._labels)} labels for {len(self._actions) + 1} steps; label each step, or none")

    def add(self, action: Any, observation: Observation, reward: float) -> None:
        """One step: the action as its space has it (`as_action`), and what came of it."""
        self._actions.append(action)
        self._keep(len(self._actions), observation["frame"])
        self._rewards.append(float(reward))

    def finish(self, *, terminated: bool, truncated: bool, success: bool) -> None:
        """Appends the episode to the sink, if it has a step, and forgets it."""
        if self._actions:
            sample = Sample(
                instruction=self._instruction,
                frames=self._all_frames(),
                actions=stack(self._space, self._actions),
                rewards=np.array(self._rewards, dtype=np.float64),
                terminated=terminated,
                truncated=truncated,
                success=success,
                seed=self._seed,
                task=self._task,
                expert=self._expert,
                versions=self._versions,
                labels=stack(self._space, self._labels[: len(self._actions)]) if self._labels else None,
            )
            self._sink.append(sample)
        self.discard()

    def leave(self) -> None:
        """Appends an episode that was left in mid-course: neither terminated nor truncated."""
        self.finish(terminated=False, truncated=False, success=False)

    def discard(self) -> None:
        """Forgets the episode."""
        self._actions, self._labels, self._rewards = [], [], []
        del self._frames[KEPT:]

    def _keep(self, place: int, frame: NDArray[np.uint8]) -> None:
        """Copies the episode's frame of that place."""
        piece = place // ROOM
        if piece == len(self._frames):
            self._frames.append(np.empty((ROOM, *frame.shape), np.uint8))
        self._frames[piece][place % ROOM] = frame

    def _all_frames(self) -> NDArray[np.uint8]:
        """The episode's frames, which are the sample's alone: of a short episode the piece itself."""
        count = len(self._actions) + 1
        if count <= ROOM:
            return self._frames.pop(0)[:count]
        pieces = self._frames[: -(-count // ROOM)]
        return np.concatenate([*pieces[:-1], pieces[-1][: count - ROOM * (len(pieces) - 1)]])
