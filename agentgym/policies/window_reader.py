"""The model over the windows of a batch of environments: what is new in each row is read, on top of its KV cache.

A row whose window has not moved reads its last action and its new frame. One whose episode begins, whose window has
moved or whose instruction has changed is read from its beginning. Both run `AgentModel`'s own modules.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentgym.errors import UserError
from agentgym.model.agent import AgentModel
from agentgym.model.kv_cache import DecodeStep, KVCache, Prefill
from agentgym.model.sequence import SlidingWindow, pack
from agentgym.model.tokenizer import pad_left
from agentgym.policies.state import PolicyState
from agentgym.spaces import NO_TOKEN

Tick = TypeVar("Tick")
Tokenize = Callable[[str], NDArray[np.int64]]


@dataclass(frozen=True)
class WindowReader:
    """Reads frames and windows of one domain: windows of `rule`, actions of at most `longest` tokens."""

    model: AgentModel
    tokenize: Tokenize
    rule: SlidingWindow
    longest: int

    def read(
        self,
        policy: str,
        frames: Tensor,
        instructions: tuple[str, ...],
        old: PolicyState | None,
        starts: NDArray[np.bool_],
    ) -> tuple[Tensor, PolicyState]:
        """The hidden state at each row's latest visual token, [N, width], and the state with that frame.

        `frames` are uint8[N, side, side, 3] on the model's device. The latest action of the state is empty yet. Raises
        UserError for an instruction that the model has no positions for.
        """
        steps, again = self._moved(old, instructions, starts)
        state = self._grown(policy, frames, instructions, old, steps, again)
        if self._reads_clips:
            visual, places = self._encode_clips(state), torch.from_numpy(state.steps - 1).to(frames.device)
            latest = visual[torch.arange(len(steps), device=frames.device), places]
        else:
            visual, latest = None, state.visual[-1]
        if old is None or state.cache is not old.cache:
            again = np.ones_like(again)
        state.cache.turn += 1  # from here on only this state may use it
        if not again.any():
            hidden, read = self._decode_step(state, latest, state.read)
        elif again.all():
            hidden, read = self._prefill(state, visual, np.arange(len(again)))
        else:  # those that begin are read twice: with the others for nothing, so that the cache needs no copy
            hidden, read = self._decode_step(state, latest, np.where(again, 0, state.read))
            rows = np.flatnonzero(again)
            begun, read[rows] = self._prefill(state, visual, rows)
            hidden[torch.from_numpy(rows).to(hidden.device)] = begun
        return hidden, replace(state, read=read, turn=state.cache.turn)

    @property
    def _reads_clips(self) -> bool:
        return self.model.vision_encoder.temporal is not None

    @property
    def _reencodes(self) -> bool:
        """Whether frames are encoded again when the instruction changes."""
        return self.model.vision_encoder.grounding is not None and not self._reads_clips

    def _moved(
        self, old: PolicyState | None, instructions: tuple[str, ...], starts: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """How many of its steps so far each row still sees, and which rows are to be read from their beginning."""
        if old is None:
            return np.zeros(len(starts), np.int64), np.ones(len(starts), bool)
        seen = np.where(starts, 0, old.steps)
        steps = self.rule.before_next(seen)
        again = starts | (steps != seen)
        if instructions != old.instructions:
            again |= np.array([a != b for a, b in zip(instructions, old.instructions, strict=True)])
        return steps, again if old.is_latest else np.ones_like(again)

    def _grown(
        self,
        policy: str,
        frames: Tensor,
        instructions: tuple[str, ...],
        old: PolicyState | None,
        steps: NDArray[np.int64],
        again: NDArray[np.bool_],
    ) -> PolicyState:
        """The state with those frames as each row's latest step, nothing of it read yet."""
        past = int(steps.max())
        seen = _latest(old.frames, past) if old else ()
        visual = _latest(old.visual, past) if old else ()
        actions = _latest(old.actions, past) if old else ()
        if self._reencodes and old is not None and again.any():
            visual = self._reencode(visual, seen, instructions, old, steps)
        if not self._reads_clips:
            visual = (*visual, self._encode(frames[:, None], instructions)[:, 0])
        if self._reads_clips or self._reencodes:
            seen = (*seen, frames)
        actions = (*actions, np.full((len(steps), self.longest), NO_TOKEN, np.int64))
        cache = self._room(instructions, old)
        read = np.zeros_like(steps) if old is None else old.read
        return PolicyState(policy, instructions, visual, seen, actions, steps + 1, read, cache, cache.turn)

    def _room(self, instructions: tuple[str, ...], old: PolicyState | None) -> KVCache:
        """The cache of the state before, or a new one where there is none or its rows are too short."""
        if old is not None and instructions == old.instructions:
            return old.cache
        words = max(len(self.tokenize(text)) for text in set(instructions))
        steps = self.rule.longest * (self.model.visual_tokens + self.longest)
        positions = self.model.language_model.num_positions
        if words + steps > positions:
            raise UserError(
                f"the instruction is {words} tokens; this agent has positions for {positions - steps}: shorten it"
            )
        if old is not None and words + steps <= old.cache.places:
            return old.cache
        return KVCache.empty(self.model.language_model, len(instructions), words + steps)

    def _decode_step(
        self, state: PolicyState, latest: Tensor, lengths: NDArray[np.int64]
    ) -> tuple[Tensor, NDArray[np.int64]]:
        """All rows read the action before and their latest frame, after those lengths: hidden states and lengths."""
        language, actions = self.model.language_model, state.actions[-2]
        tokens = torch.from_numpy(np.maximum(actions, 0) + self.model.config.num_text_tokens).to(latest.device)
        new, counts = torch.cat([language.embeddings(tokens), latest], dim=1), actions.shape[1] + latest.shape[1]
        if actions.shape[1] == 1 or (actions != NO_TOKEN).all():  # only actions of several tokens lack some
            return language(new, DecodeStep(state.cache, lengths, counts))[:, -1], lengths + counts
        there = np.concatenate([actions != NO_TOKEN, np.ones((len(actions), latest.shape[1]), bool)], axis=1)
        new = pack(new, torch.from_numpy(there).to(new.device))
        hidden = language(new, DecodeStep(state.cache, lengths, new.shape[1]))
        return _last(hidden, there.sum(1)), lengths + there.sum(1)

    def _prefill(
        self, state: PolicyState, clips: Tensor | None, rows: NDArray[np.int64]
    ) -> tuple[Tensor, NDArray[np.int64]]:
        """Those rows read all that they see: their hidden states and lengths."""
        steps, device = state.steps[rows], self.model.device
        words, mask = pad_left([self.tokenize(state.instructions[row]) for row in rows])
        longest = int(steps.max())
        if clips is None:
            ticks = torch.stack(state.visual[-longest:], dim=1)[torch.from_numpy(rows).to(device)]
            visual = _to_front(ticks, steps)
        else:
            visual = clips[torch.from_numpy(rows).to(device), :longest]
        actions = _to_front(torch.from_numpy(np.stack(state.actions[-longest:], axis=1)[rows]), steps).numpy()
        layout, padded = self.model.embed(
            torch.from_numpy(words).to(device), visual, torch.from_numpy(np.maximum(actions, 0)).to(device)
        )
        seen = np.arange(longest) < steps[:, None]
        taken = np.arange(longest) < steps[:, None] - 1  # the latest action is yet to be chosen
        there = (actions != NO_TOKEN) & taken[..., None]
        real = layout.real(torch.from_numpy(mask), torch.from_numpy(there), torch.from_numpy(seen))
        counts = real.sum(1).numpy()
        packed = pack(padded, real.to(device), int(counts.max()))
        return _last(self.model.language_model(packed, Prefill(state.cache, rows)), counts), counts

    def _encode(self, frames: Tensor, instructions: Sequence[str]) -> Tensor:
        """Visual tokens [N, T, visual, width] of frames [N, T, side, side, 3]."""
        (rows, time), words = frames.shape[:2], None
        if self.model.vision_encoder.grounding is not None:
            tokens, mask = (torch.from_numpy(each) for each in pad_left([self.tokenize(text) for text in instructions]))
            of_frame = torch.arange(rows, device=frames.device).repeat_interleave(time)
            words = self.model.words(tokens.to(frames.device), mask.to(frames.device), of_frame)
        return self.model.encode(frames.flatten(0, 1), time=time, words=words).unflatten(0, (rows, time))

    def _encode_clips(self, state: PolicyState) -> Tensor:
        """Visual tokens of the windows' frames as clips: a frame sees those before it, so that padding changes none."""
        longest = int(state.steps.max())
        return self._encode(_to_front(torch.stack(state.frames[-longest:], dim=1), state.steps), state.instructions)

    def _reencode(
        self,
        visual: tuple[Tensor, ...],
        frames: tuple[Tensor, ...],
        instructions: tuple[str, ...],
        old: PolicyState,
        steps: NDArray[np.int64],
    ) -> tuple[Tensor, ...]:
        """The visual tokens of rows with another instruction, for that one."""
        changed = [row for row, text in enumerate(instructions) if text != old.instructions[row] and steps[row]]
        if not changed:
            return visual
        looked = torch.stack(visual, dim=1).clone()
        for row in changed:
            past = slice(len(frames) - int(steps[row]), None)
            again = torch.stack([tick[row] for tick in frames[past]])[None]
            looked[row, past] = self._encode(again, [instructions[row]])[0]
        return looked.unbind(1)


def _latest(ticks: tuple[Tick, ...], count: int) -> tuple[Tick, ...]:
    """At most that many of the ticks, the latest."""
    return ticks[max(0, len(ticks) - count) :]


def _to_front(ticks: Tensor, steps: NDArray[np.int64]) -> Tensor:
    """Of [rows, T, ...] each row's latest steps, at the front; anything after them."""
    time = ticks.shape[1]
    if (steps == time).all():
        return ticks
    places = np.minimum(time - steps[:, None] + np.arange(time), time - 1)
    rows = torch.arange(len(steps), device=ticks.device)[:, None]
    return ticks[rows, torch.from_numpy(places).to(ticks.device)]


def _last(hidden: Tensor, counts: NDArray[np.int64]) -> Tensor:
    """The hidden state at each row's last token, of `counts`."""
    if int(counts.min()) == hidden.shape[1]:
        return hidden[:, -1]
    rows = torch.arange(len(hidden), device=hidden.device)
    return hidden[rows, torch.from_numpy(counts - 1).to(hidden.device)]
