"""F_φ over the windows of a batch: what is new in each row is read, on top of the keys and values that are still true.

Those of a row are true while its window stands still; where it has moved, those of the instruction alone are; where an
episode begins or the instruction has changed, none are. The sequence is built by the functions that training uses.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from agentgym.model.agent import AgentModel
from agentgym.model.reading import Reader
from agentgym.model.sequence import pack
from agentgym.model.tokenizer import pad_left
from agentgym.policies.state import PolicyState, Window
from agentgym.spaces import NO_TOKEN

Tokens = Callable[[str], NDArray[np.int64]]


class WindowReader:
    """Reads frames and windows with a model's own weights; holds nothing of what it has read."""

    def __init__(self, model: AgentModel, reader: Reader, tokens: Tokens) -> None:
        self._model, self._reader, self._tokens = model, reader, tokens
        self._text = int(model.config.num_text_tokens)
        self._reads_clips = model.vision.temporal is not None
        self._reads_for_words = model.vision.grounding is not None
        self.looks_again = self._reads_for_words and not self._reads_clips  # at frames, for another instruction

    def look(self, frames: Tensor, instructions: Sequence[str]) -> NDArray[np.float32] | NDArray[np.uint8]:
        """What a window holds of the latest frames [N, side, side, 3]: visual tokens, or themselves, to be clips."""
        return frames.numpy() if self._reads_clips else self._encode(frames[:, None], instructions)[:, 0].numpy()

    def look_again(self, window: Window, instructions: Sequence[str]) -> None:
        """The steps so far of rows with another instruction get their visual tokens for that one."""
        assert window.frames is not None
        for row in np.flatnonzero(window.begun & (window.steps > 0)):
            past = slice(0, window.steps[row])
            visual = self._encode(torch.from_numpy(window.frames[row, past])[None], [instructions[int(row)]])
            window.visual[row, past] = visual[0].numpy()

    def read(
        self, window: Window, instructions: Sequence[str], old: PolicyState | None
    ) -> tuple[Tensor, Tensor, NDArray[np.int64]]:
        """F_φ at each row's latest visual token, float32[N, width], the keys and values up to there, and how many."""
        visual = self._encode_clips(window, instructions) if self._reads_clips else window.visual
        again = window.begun | window.moved
        number = np.count_nonzero(again)
        if number == 0:
            assert old is not None
            unread = [self._continue(np.arange(len(again)), window, visual, old)]
        elif number == len(again):
            unread = [self._begin(np.arange(len(again)), window, visual, instructions)]
        else:
            assert old is not None
            unread = [
                self._continue(np.flatnonzero(~again), window, visual, old),
                self._begin(np.flatnonzero(again), window, visual, instructions),
            ]
        places = max(int(each.known.max()) + each.new.shape[1] for each in unread) + max(0, window.actions.shape[2] - 1)
        if old is None:
            cache = self._reader.empty_cache(len(again), places)
        else:
            known = torch.from_numpy(old.keys_values)
            cache = F.pad(known, (0, 0, 0, places - known.shape[4]))
        if len(unread) == 1:
            return self._read_on(unread[0], cache), cache, unread[0].known + unread[0].counts
        hidden, lengths = torch.empty(len(again), unread[0].new.shape[2]), np.zeros(len(again), np.int64)
        for each in unread:
            part = cache[:, :, each.rows]
            hidden[each.rows] = self._read_on(each, part)
            cache[:, :, each.rows] = part
            lengths[each.rows] = each.known + each.counts
        return hidden, cache, lengths

    def _read_on(self, unread: "_Unread", cache: Tensor) -> Tensor:
        """The hidden states of the rows' last new tokens; the cache is theirs, and has their keys and values then."""
        hidden = self._reader.read_on(unread.new, cache, unread.known)
        if int(unread.counts.min()) == hidden.shape[1]:
            return hidden[:, -1]
        return hidden[torch.arange(len(hidden)), torch.from_numpy(unread.counts - 1)]

    def _continue(
        self, rows: NDArray[np.int64], window: Window, visual: NDArray[np.float32], old: PolicyState
    ) -> "_Unread":
        """What follows in rows that were read before: an action, and the frame that came of it."""
        latest = window.steps[rows] - 1
        actions = window.actions[rows, latest - 1]
        tokens = torch.from_numpy(np.maximum(actions, 0) + self._text)
        new = torch.cat([self._reader.embed(tokens), torch.from_numpy(visual[rows, latest])], dim=1)
        counts = np.full(len(rows), new.shape[1])
        if actions.shape[1] > 1 and (actions == NO_TOKEN).any():  # only actions of several tokens lack some
            there = np.concatenate([actions != NO_TOKEN, np.ones((len(rows), visual.shape[2]), bool)], axis=1)
            new, counts = pack(new, torch.from_numpy(there)), there.sum(1)
        return _Unread(rows, new, counts, old.read[rows])

    def _begin(
        self, rows: NDArray[np.int64], window: Window, visual: NDArray[np.float32], instructions: Sequence[str]
    ) -> "_Unread":
        """The tokens of rows that begin, and of rows that have moved: these know their instruction already."""
        longest, steps, begun = int(window.steps[rows].max()), window.steps[rows], window.begun[rows]
        words, mask = pad_left([self._tokens(instructions[row]) for row in rows])
        known = np.where(begun, 0, mask.sum(1))
        mask[~begun] = 0
        actions = window.actions[rows, :longest]
        layout, padded = self._model.embed(
            torch.from_numpy(words), torch.from_numpy(visual[rows, :longest]), torch.from_numpy(actions.clip(0))
        )
        taken = np.arange(longest) < steps[:, None] - 1  # the latest action is yet to be chosen
        there = (actions != NO_TOKEN) & taken[..., None]
        counts = mask.sum(1) + steps * visual.shape[2] + there.sum((1, 2))
        return _Unread(rows, pack(padded, layout.real(torch.from_numpy(mask), torch.from_numpy(there))), counts, known)

    def _encode(self, frames: Tensor, instructions: Sequence[str]) -> Tensor:
        """Visual tokens [N, T, visual, width] of frames [N, T, side, side, 3]."""
        rows, time = frames.shape[:2]
        words = None
        if self._reads_for_words:
            tokens, mask = pad_left([self._tokens(text) for text in instructions])
            of_frame = torch.arange(rows).repeat_interleave(time)
            words = self._model.words(torch.from_numpy(tokens), torch.from_numpy(mask), of_frame)
        return self._reader.encode(frames.flatten(0, 1), time=time, words=words).unflatten(0, (rows, time))

    def _encode_clips(self, window: Window, instructions: Sequence[str]) -> NDArray[np.float32]:
        """Visual tokens of the windows' frames as clips: a frame sees those before it, so that padding changes none."""
        longest = int(window.steps.max())
        visual = self._encode(torch.from_numpy(window.visual[:, :longest]), instructions)
        return F.pad(visual, (0, 0, 0, 0, 0, window.visual.shape[1] - longest)).numpy()


class _Unread(NamedTuple):
    """New tokens of some rows of a batch."""

    rows: NDArray[np.int64]
    new: Tensor  # float32[rows, tokens, width], beyond a row's count anything
    counts: NDArray[np.int64]
    known: NDArray[np.int64]  # how many tokens of each row were read before
