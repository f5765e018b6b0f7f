"""F_φ over the windows of a batch: what is new in each row is read, on top of the keys and values that are still true.

Those of a row are true while its window stands still; where it has moved, those of the instruction alone are; where an
episode begins or the instruction has changed, none are. The sequence is built by the functions that training uses.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from agentgym.action_spaces import NO_TOKEN
from agentgym.history import PolicyState, Window
from agentgym.layout import pack
from agentgym.model.agent import AgentModel
from agentgym.model.reading import Reader
from agentgym.model.tokenizer import pad_left

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
            visual = self._encode(torch.from_numpy(window.frames[row, past])[None], [instructions[row]])
            window.visual[row, past] = visual[0].numpy()

    def read(
        self, window: Window, instructions: Sequence[str], old: PolicyState | None
    ) -> tuple[Tensor, Tensor, NDArray[np.int64]]:
        """F_φ at each row's latest visual token, float32[N, width], the keys and values up to there, and how many."""
        visual = self._encode_clips(window, instructions) if self._reads_clips else window.visual
        words = [self._tokens(text) for text in instructions]
        rows, longest, action = window.actions.shape
        taken = np.arange(longest) < window.steps[:, None] - 1  # the latest action is yet to be chosen
        there = (window.actions != NO_TOKEN) & taken[..., None]
        lengths = np.array([len(row) for row in words]) + window.steps * visual.shape[2] + there.sum((1, 2))
        again = window.begun | window.moved
        groups = ((np.flatnonzero(~again), self._embed_latest), (np.flatnonzero(again), self._embed_window))
        unread = [(which, *embed(which, window, visual, there, words)) for which, embed in groups if len(which)]
        places = max(int((lengths[which] - counts).max()) + new.shape[1] for which, new, counts in unread)
        cache = self._reader.empty_cache(rows, places + action - 1)
        if old is not None:
            held = min(cache.shape[4], old.keys_values.shape[4])
            cache[..., :held, :].copy_(torch.from_numpy(old.keys_values)[..., :held, :])
        if len(unread) == 1:
            return self._read_on(*unread[0], cache, lengths), cache, lengths
        hidden = torch.empty(rows, unread[0][1].shape[2])
        for which, new, counts in unread:
            part = cache[:, :, which]
            hidden[which] = self._read_on(which, new, counts, part, lengths)
            cache[:, :, which] = part
        return hidden, cache, lengths

    def _read_on(
        self,
        which: NDArray[np.int64],
        new: Tensor,
        counts: NDArray[np.int64],
        cache: Tensor,
        lengths: NDArray[np.int64],
    ) -> Tensor:
        """The hidden states of those rows' last new tokens, of which there are `counts`; the cache is theirs."""
        read = self._reader.read_on(new, cache, lengths[which] - counts)
        if (counts == new.shape[1]).all():
            return read[:, -1]
        return read[torch.arange(len(which)), torch.from_numpy(counts - 1)]

    def _embed_latest(
        self,
        rows: NDArray[np.int64],
        window: Window,
        visual: NDArray[np.float32],
        there: NDArray[np.bool_],
        words: Sequence[NDArray[np.int64]],
    ) -> tuple[Tensor, NDArray[np.int64]]:
        """What follows in rows that were read before, and how many tokens: an action, and the frame that came of it."""
        latest = window.steps[rows] - 2
        tokens = window.actions[rows, latest].clip(min=0) + self._text
        new = torch.cat([self._reader.embed(torch.from_numpy(tokens)), torch.from_numpy(visual[rows, latest + 1])], 1)
        real = there[rows, latest]
        if not real.all():
            new = pack(new, torch.from_numpy(np.concatenate([real, np.ones((len(rows), visual.shape[2]), bool)], 1)))
        return new, real.sum(1) + visual.shape[2]

    def _embed_window(
        self,
        rows: NDArray[np.int64],
        window: Window,
        visual: NDArray[np.float32],
        there: NDArray[np.bool_],
        words: Sequence[NDArray[np.int64]],
    ) -> tuple[Tensor, NDArray[np.int64]]:
        """All tokens of rows that begin or have moved, and how many; a row that has moved knows its instruction's."""
        longest = int(window.steps[rows].max())
        instruction, mask = pad_left([words[row] for row in rows])
        mask[~window.begun[rows]] = 0
        layout, padded = self._model.embed(
            torch.from_numpy(instruction),
            torch.from_numpy(visual[rows, :longest]),
            torch.from_numpy(window.actions[rows, :longest].clip(min=0)),
        )
        here = there[rows, :longest]
        counts = mask.sum(1) + window.steps[rows] * visual.shape[2] + here.sum((1, 2))
        return pack(padded, layout.real(torch.from_numpy(mask), torch.from_numpy(here))), counts

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
