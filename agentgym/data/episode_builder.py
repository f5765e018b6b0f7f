"""EpisodeBuilder: an episode in the making, which its sink gets when it ends.

It knows what an episode is made of, and no environment: recorders of one environment and of many hand it what they see.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from agentgym.data.episode import Episode
from agentgym.data.store.extras import LABEL_PROBABILITIES, flatten
from agentgym.environments import decode_instruction
from agentgym.environments.pixels import as_picture
from agentgym.errors import UserError
from agentgym.spaces import Node
from agentgym.spaces.values import reader, stack

ROOM = 16  # frames a piece of memory, taken as an episode needs them


class Sink(Protocol):
    """Where finished episodes are appended."""

    def append(self, episode: Episode, /) -> Any:
        """Takes one episode."""
        ...


class FrameBuffer(Protocol):
    """Where the frames of an episode are until it ends."""

    def append(self, frame: NDArray[np.uint8], /) -> None:
        """Appends a copy of a frame, uint8[H, W, 3]."""
        ...

    def pop_all(self) -> Any:
        """All frames since the last time: uint8[frames, height, width, 3], or what represents it in an episode."""
        ...

    def clear(self) -> None:
        """Forgets them."""
        ...


@runtime_checkable
class HasFrameBuffer(Sink, Protocol):
    """A sink that says how it wants frames kept, such as one that would encode them all at the end."""

    def frame_buffer(self) -> FrameBuffer:
        """One for each episode in the making."""
        ...


class RawFrameBuffer:
    """Frames as they are, in pieces of memory."""

    def __init__(self) -> None:
        self._pieces: list[NDArray[np.uint8]] = []  # uint8[ROOM, height, width, 3]
        self._count = 0

    def append(self, frame: NDArray[np.uint8]) -> None:
        """Appends a copy of a frame, uint8[H, W, 3]. Raises ValueError when the frames before have another shape."""
        place = self._count % ROOM
        if self._count and frame.shape != self._pieces[0].shape[1:]:
            shape = list(self._pieces[0].shape[1:])
            raise ValueError(f"a frame has shape {list(frame.shape)}, those before it in the episode {shape}")
        if not place:
            self._pieces.append(np.empty((ROOM, *frame.shape), np.uint8))
        self._pieces[-1][place] = frame
        self._count += 1

    def pop_all(self) -> NDArray[np.uint8]:
        """All frames since the last time, uint8[frames, height, width, 3]: of a short episode the piece itself."""
        frames = self._pieces[0] if len(self._pieces) == 1 else np.concatenate(self._pieces)
        frames = frames[: self._count]
        self.clear()
        return frames

    def clear(self) -> None:
        """Forgets them."""
        self._pieces, self._count = [], 0


class EpisodeBuilder:
    """Builds one episode after another: `begin`, `prepare` and `add` each step, then `end`, `flush` or `discard`."""

    def __init__(self, sink: Sink, space: Node, *, task: str, expert: str, versions: Mapping[str, str]) -> None:
        self._sink = sink
        self._space = space
        self._read = reader(space)
        self._task = task
        self._expert = expert
        self._versions = versions
        self._instruction = ""
        self._first, self._shown = b"", b""  # what was shown as the instruction: at the start, and last
        self._seed = 0
        self._frames: FrameBuffer = sink.frame_buffer() if isinstance(sink, HasFrameBuffer) else RawFrameBuffer()
        self._actions: list[Any] = []
        self._labels: list[Any] = []
        self._probabilities: list[NDArray[np.float32]] = []
        self._rewards: list[float] = []
        self._kept: list[dict[str, Any]] = []

    def begin(
        self,
        instruction: NDArray[np.uint8],
        frame: NDArray[np.uint8],
        seed: int,
        kept: Mapping[str, Any] | None = None,
    ) -> None:
        """Starts an episode of that seed with its first observation.

        `instruction` is uint8[L] (zero-padded UTF-8), `frame` uint8[H, W, 3]; `kept` is what is recorded with the
        frame. Raises UserError for a frame that is not a picture.
        """
        self._kept = [deepcopy(dict(kept))] if kept else []
        self._first = self._shown = instruction.tobytes()
        self._instruction = decode_instruction(instruction)
        self._seed = seed
        self._frames.clear()
        self._frames.append(as_picture(frame, self._task))

    def label(self, action: Any, probabilities: NDArray[np.float32] | None = None) -> None:
        """What the expert would do in the next step. Either all steps of an episode have a label or none.

        `probabilities`, float32[actions], are the expert's of each action, where it has some.
        """
        self._labels.append(self._read(action))
        if probabilities is not None:
            self._probabilities.append(probabilities)

    def prepare(self, action: Any) -> Any:
        """The action of the step to come as its space has it, which is how it is recorded.

        Raises ValueError for an action outside the space, and when, with that step, some steps have labels and others
        have none; UserError when the instruction is no longer the episode's.
        """
        if self._shown != self._first:
            raise UserError(
                f"{self._task}: its instruction changes in step {len(self._actions)}, from {self._instruction!r} to "
                f"{self._shown.rstrip(bytes(1)).decode()!r}; an episode has one: reset there, what came before is kept"
            )
        if self._labels and len(self._labels) != len(self._actions) + 1:
            raise ValueError(f"{len(self._labels)} labels for {len(self._actions) + 1} steps; label each step, or none")
        return self._read(action)

    def add(
        self,
        action: Any,
        frame: NDArray[np.uint8],
        reward: float,
        instruction: NDArray[np.uint8] | None = None,
        kept: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds a step: its action, from `prepare`, and its result, a frame of uint8[H, W, 3] and a float reward.

        Without an instruction it is as before. Raises UserError for a frame that is not a picture, and ValueError for
        one of another shape.
        """
        self._frames.append(as_picture(frame, self._task))  # first: it may be refused
        if kept:
            self._kept.append(deepcopy(dict(kept)))  # environments write into the same arrays again
        self._actions.append(action)
        self._rewards.append(reward)
        if instruction is not None:
            self._shown = instruction.tobytes()

    def end(self, *, terminated: bool, truncated: bool, success: bool) -> None:
        """Appends the episode to the sink, if it has a step, and forgets it."""
        actions, labels, rewards = self._actions, self._labels, self._rewards
        kept, probabilities = self._kept, self._probabilities[: len(actions)]
        frames = self._frames.pop_all() if actions else None
        self.discard()  # first: an episode that is refused is not offered again
        if frames is not None:
            episode = Episode(
                instruction=self._instruction,
                frames=frames,
                actions=stack(self._space, actions),
                rewards=np.array(rewards, np.float64),
                terminated=terminated,
                truncated=truncated,
                success=success,
                seed=self._seed,
                task=self._task,
                expert=self._expert,
                versions=self._versions,
                labels=stack(self._space, labels[: len(actions)]) if labels else None,
                extras=_columns(kept) | _probability_column(probabilities),
            )
            self._sink.append(episode)

    def flush(self) -> None:
        """Appends an unfinished episode: neither terminated nor truncated."""
        self.end(terminated=False, truncated=False, success=False)

    def discard(self) -> None:
        """Forgets the episode."""
        self._actions, self._labels, self._rewards, self._kept, self._probabilities = [], [], [], [], []
        self._frames.clear()


def _columns(kept: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What was kept with each frame, by name."""
    rows = [flatten(each) for each in kept]
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _probability_column(probabilities: Sequence[NDArray[np.float32]]) -> dict[str, Any]:
    """The expert's probabilities, a row for each frame: none was asked for at the last."""
    return {LABEL_PROBABILITIES: [*probabilities, np.zeros_like(probabilities[0])]} if probabilities else {}
