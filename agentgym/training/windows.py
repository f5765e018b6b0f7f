"""Windows of steps as batches: the table of windows, and padding.

Windows are cut where the policy's window moves (`model.sequence`); an action is a target in one
of them only. Padding is at the end of a window and is marked; only padding is marked.
"""

import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from operator import is_not
from typing import Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from agentgym.data.store import EpisodeDataset
from agentgym.data.store.extras import LABEL_PROBABILITIES
from agentgym.errors import UserError
from agentgym.model.sequence import SlidingWindow
from agentgym.model.tokenizer import pad_left
from agentgym.model.vision import FrameSize
from agentgym.spaces import NO_TOKEN, Integers, SpaceCodec
from agentgym.spaces.values import Actions
from agentgym.training.order import order

Made = TypeVar("Made")


@dataclass(frozen=True)
class Batch:
    """Windows as tensors. Actions are tokens, counted from the first action token: `actions` are the executed ones,
    which are read, `targets` what is to be predicted in their places: the expert's labels where there are some, else
    the same. A mask is None where no place of it is empty. `labels` are the targets where a token of one follows tokens
    that were not executed, so that they have to be read too. `probabilities` are those of each action token."""

    instruction: Int[Tensor, "instructions tokens"]  # each of the batch's once
    instruction_mask: Int[Tensor, "instructions tokens"]
    instruction_of: Int[Tensor, "batch"]  # which of them each window has
    frames: UInt8[Tensor, "batch time height width 3"]
    actions: Int[Tensor, "batch time action"]
    targets: Int[Tensor, "batch time action"]
    action_mask: Bool[Tensor, "batch time action"] | None
    target_mask: Bool[Tensor, "batch time action"] | None
    step_mask: Bool[Tensor, "batch time"]
    context_mask: Bool[Tensor, "batch time"]  # steps that are seen here and were targets of the window before
    episodes: tuple[int, ...]
    patches_per_frame: int
    num_action_tokens: int
    labels: Int[Tensor, "batch time action"] | None = None
    probabilities: Float[Tensor, "batch time tokens"] | None = None  # of the expert, zeros where it gave none

    @property
    def inputs(self) -> dict[str, Tensor | None]:
        """What `AgentModel.forward` takes of it, by name."""
        names = ("instruction", "instruction_mask", "instruction_of", "frames", "actions", "step_mask", "action_mask")
        return {**{name: getattr(self, name) for name in names}, "labels": self.labels, "label_mask": self.target_mask}

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        moved = {
            f.name: getattr(self, f.name).to(device) for f in fields(self) if isinstance(getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)


class Source(Protocol):
    """Where batches come from: windows, and the endless order in which they are drawn."""

    window: int  # the most steps of a window

    @property
    def targets_per_window(self) -> float:
        """How many actions a drawn window has as targets, on average."""
        ...

    def __len__(self) -> int: ...

    def order(self, seed: int, first: int, count: int) -> NDArray[np.int64]:
        """The windows at places [first, first + count) of the endless order of that seed, int64[count]."""
        ...

    def steps(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many steps those windows (int64[n]) have, int64[n]."""
        ...

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """Those windows (int64[n]) as a batch, in that order."""
        ...


class WindowSource:
    """Makes batches of a dataset's windows."""

    def __init__(
        self,
        dataset: EpisodeDataset,
        episodes: NDArray[np.int64],
        *,
        window: int,
        tokenize: Callable[[str], NDArray[np.int64]],
        patches_per_frame: int,
        codec: SpaceCodec | None = None,
        frame_size: FrameSize | None = None,
    ) -> None:
        """`codec` is the dataset's own with the ids of a larger vocabulary, where the model has one; frames are brought
        to `frame_size`, where that is given."""
        self.window = window
        self._dataset = dataset
        self._codec = dataset.header.space if codec is None else codec
        self._patches_per_frame = patches_per_frame
        self._kept = SlidingWindow(window).kept
        rows = SlidingWindow(window).cut(dataset.lengths[episodes])
        self.table = np.column_stack([episodes[rows[:, 0]], rows[:, 1:]])
        self._frame_size = frame_size
        self._targets = int(dataset.lengths[episodes].sum())
        texts = dataset.column("instruction")
        numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        self._instruction_of = np.array([numbers[text] for text in texts], np.int64)
        self._instructions = [tokenize(text) for text in numbers]
        self._by_action = self._tokens_by_action()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def targets_per_window(self) -> float:
        """How many actions a window has as targets, on average."""
        return self._targets / max(1, len(self))

    def order(self, seed: int, first: int, count: int) -> NDArray[np.int64]:
        """The windows at places [first, first + count) of the endless order of that seed, int64[count]."""
        return order(len(self), seed, first, count)

    def steps(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many steps those windows (int64[n]) have, int64[n]."""
        return self.table[indices, 2] - self.table[indices, 1]

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """The windows of int64[rows] of the table. Raises UserError naming an episode with an unfit action."""
        rows = self.table[indices]
        longest = int((rows[:, 2] - rows[:, 1]).max())
        (height, width, _), size = self._dataset.header.frame_shape, self._frame_size
        frames = np.zeros((len(rows), longest, height, width, 3), np.uint8)
        series: list[Actions] = []  # of each window: the executed actions, the targets
        wanted: list[Actions] = []
        chances: list[NDArray[np.float32]] = []
        step_mask = np.zeros((len(rows), longest), bool)
        context_mask = np.zeros((len(rows), longest), bool)
        for i, (episode, start, stop) in enumerate(rows.tolist()):
            steps = stop - start
            self._dataset.fill(frames[i, :steps], episode, start)
            executed, labels = self._dataset.actions(episode, start, stop)
            series.append(executed)
            wanted.append(executed if labels is None else labels)
            if self._by_action is not None:
                chances.append(self._dataset.extra(episode, LABEL_PROBABILITIES, start, stop))
            step_mask[i, :steps] = True
            context_mask[i, : self._kept if start else 0] = True
        tokens = self._encode(rows, series)
        target = self._encode(rows, wanted) if any(map(is_not, series, wanted)) else tokens
        widest = max(tokens.shape[1], target.shape[1])
        executed_tokens, action_mask = pad_actions(tokens, step_mask, widest)
        target_tokens, target_mask = pad_actions(target, step_mask, widest)
        said, instruction_of = np.unique(self._instruction_of[rows[:, 0]], return_inverse=True)
        instruction, instruction_mask = pad_left([self._instructions[number] for number in said])
        return Batch(
            instruction=torch.from_numpy(instruction),
            instruction_mask=torch.from_numpy(instruction_mask),
            instruction_of=torch.from_numpy(instruction_of),
            frames=torch.from_numpy(frames) if size is None else size.fit(torch.from_numpy(frames)),
            actions=executed_tokens,
            targets=target_tokens,
            action_mask=None if self._codec.length else action_mask,
            target_mask=None if self._codec.length else target_mask,
            step_mask=torch.from_numpy(step_mask),
            context_mask=torch.from_numpy(context_mask),
            episodes=tuple(rows[:, 0].tolist()),
            patches_per_frame=self._patches_per_frame,
            num_action_tokens=self._codec.num_tokens,
            labels=labels_to_read(executed_tokens, target_tokens, target_mask),
            probabilities=self._by_token(chances, step_mask),
        )

    def _encode(self, rows: NDArray[np.int64], series: Sequence[Actions]) -> NDArray[np.int64]:
        """The tokens of every step of these windows, one after another, int64[steps, longest action]."""
        try:
            return self._codec.encode_series(_chain(series))
        except ValueError:
            for episode, actions in zip(rows[:, 0].tolist(), series, strict=True):
                try:
                    self._codec.encode_series(actions)
                except ValueError as error:
                    path = self._dataset.path
                    raise UserError(f"{path}: episode {episode}: {error}; see 'agentgym check {path}'") from None
            raise

    def _by_token(self, chances: Sequence[NDArray[np.float32]], step_mask: NDArray[np.bool_]) -> Tensor | None:
        """The probabilities of each window's steps as float32[rows, steps, tokens]."""
        if self._by_action is None:
            return None
        found = np.zeros((*step_mask.shape, self._codec.num_tokens), np.float32)
        every = np.zeros((int(step_mask.sum()), self._codec.num_tokens), np.float32)
        every[:, self._by_action] = np.concatenate(chances)
        found[step_mask] = every
        return torch.from_numpy(found)

    def _tokens_by_action(self) -> NDArray[np.int64] | None:
        """The token of each action whose probability was recorded, in that order; None where none was."""
        root, shapes = self._dataset.header.space.root, {each.name: each.shape for each in self._dataset.header.extras}
        if not isinstance(root, Integers) or shapes.get(LABEL_PROBABILITIES) != (len(root.names[0]),):
            return None
        return self._codec.encode_series(root.starts[0] + np.arange(len(root.names[0])))[:, 0]


def labels_to_read(actions: Tensor, targets: Tensor, target_mask: Tensor) -> Tensor | None:
    """The targets, [batch, time, action], where executed actions are not enough to predict them.

    That is where more than one token differs. A target of one token does not depend on the executed action, and
    nothing follows it.
    """
    followed = target_mask[:, :, 1:]
    differ = (actions != targets)[:, :, :-1] & followed
    return targets if bool(differ.any()) else None


def _chain(series: Sequence[Actions]) -> Actions:
    if isinstance(series[0], np.ndarray):
        return np.concatenate(series)
    return tuple(action for actions in series for action in actions)


def pad_actions(tokens: NDArray[np.int64], step_mask: NDArray[np.bool_], length: int) -> tuple[Tensor, Tensor]:
    """Tokens of all steps, int64[steps, some], as int64[rows, time, length], 0 where there is none, and the mask."""
    padded = np.full((*step_mask.shape, length), NO_TOKEN, np.int64)
    padded[step_mask, : tokens.shape[1]] = tokens
    mask = padded != NO_TOKEN
    return torch.from_numpy(np.where(mask, padded, 0)), torch.from_numpy(mask)


def split_episodes(
    dataset: EpisodeDataset, held_out: float, hashed_by: str = "blake2b"
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the episodes to train on and of those held out, int64[n] each.

    Which of the two an episode belongs to depends only on its task and seed. `held_out` is a share in [0, 1).
    """
    place = _by_crc32 if hashed_by == "crc32" else _by_blake2b
    keys = zip(dataset.column("task"), dataset.column("seed"), strict=True)
    share = np.array([place(f"{task}:{seed}".encode()) for task, seed in keys])
    return np.flatnonzero(share >= held_out), np.flatnonzero(share < held_out)


def _by_blake2b(key: bytes) -> float:
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little") / 2**64


def _by_crc32(key: bytes) -> float:
    """Uneven over seeds in a row: 6 to 13 % where 10 % are asked for. Runs of older versions were split so."""
    return zlib.crc32(key) / 2**32


def prefetch(make: Callable[[int], Made], numbers: range, *, workers: int = 1, depth: int = 4) -> Iterator[Made]:
    """make(n) for each number in order, made ahead of their use by that many threads; their errors are raised here."""
    with ThreadPoolExecutor(workers, thread_name_prefix="batches") as pool:
        ahead: deque[Future[Made]] = deque()
        try:
            for number in numbers:
                ahead.append(pool.submit(make, number))
                if len(ahead) == depth + workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
