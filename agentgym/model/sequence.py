"""The order of tokens in the model's sequence. Every other file refers to this drawing.

    pad  w w w | v v v v | a | v v v v | a | v v v v | a
    <-- L ---->|<-- k -->|<n>|
               |   step 1    |   step 2    |   step 3

* W, the instruction: L tokens, padded on the left, so that every step is at the same place in each row of a batch.
* then, per step t: the k visual tokens of V_t and the n tokens of A_t.
* Steps that pad a short window are at the end; under the causal mask nothing real sees them.
* Where actions have different lengths, n is the longest, and the places after a shorter one are empty.
* The language model reads each row without its empty places (`pack`), so that positions and what it computes do not
  depend on the other rows, and one causal mask is all the attention structure there is.

What predicts what: the logits at w_{j-1} give w_j; those at the last visual token of V_t give the first token of A_t;
those at (a_t)_i give (a_t)_{i+1}. Where an expert's label differs from the executed action, it is the label that is
predicted and the executed action that later steps follow: `agentgym.model.labels` has what is read then.

Of a longer episode the agent sees a window (`SlidingWindow`) of at most M steps, which moves by blocks: it grows until
it is full, then forgets all but the latest third and grows again. So what the language model has computed stays true
until the window moves, and training cuts its windows at the same places.

    M = 6    steps 0 1 2 3 4 5          predicts 0 to 5
                           4 5 6 7 8 9          predicts 6 to 9
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class SlidingWindow:
    """The rule by which a window of at most `longest` steps moves over an episode."""

    longest: int

    @property
    def kept(self) -> int:
        """The number of steps that a full window keeps when it moves: a third, rounded down."""
        return self.longest // 3

    @property
    def table(self) -> tuple[int, ...]:
        """How many of 0, 1, ..., `longest` steps seen so far are still seen when one more comes."""
        return (*range(self.longest), self.kept)

    def before_next(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """The same for each of those numbers of steps, int64[n]."""
        return np.where(steps == self.longest, self.kept, steps)

    def starts(self, steps: int) -> NDArray[np.int64]:
        """For each step of an episode the first step of the window that it is acted on, int64[steps]."""
        number = np.arange(steps)
        moves = np.where(number < self.longest, 0, (number - self.longest) // self._stride + 1)
        return moves * self._stride

    def cut(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[windows, 3]: the windows of episodes of those lengths: episode, first step, the one after the last.

        Each begins with the steps that the one before kept, which were targets there.
        """
        counts = np.maximum(1, -(-(lengths - self.kept) // self._stride)) * (lengths > 0)
        episodes = np.repeat(np.arange(len(lengths)), counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        starts = (np.arange(len(episodes)) - first) * self._stride
        stops = np.minimum(starts + self.longest, lengths[episodes])
        return np.stack([episodes, starts, stops], axis=1).astype(np.int64)

    @property
    def _stride(self) -> int:
        return self.longest - self.kept


@dataclass(frozen=True)
class Layout:
    """The places of one batch's tokens: `instruction` L, `visual` k a step, `action` n a step, `steps` T.

    `label` tokens a step are those of labels that are read too, after the actions (see `agentgym.model.labels`).
    """

    instruction: int
    visual: int
    action: int
    steps: int
    label: int = 0

    @property
    def step(self) -> int:
        """Tokens a step."""
        return self.visual + self.action + self.label

    @property
    def length(self) -> int:
        """Tokens in all."""
        return self.instruction + self.steps * self.step

    def join(self, instruction: Tensor, visual: Tensor, action: Tensor, label: Tensor | None = None) -> Tensor:
        """The sequence [batch, length, width] of embeddings [batch, L | T, k | T, n, width]."""
        parts = [visual, action] if label is None else [visual, action, label]
        steps = torch.cat(parts, dim=2).flatten(1, 2)
        return torch.cat([instruction, steps], dim=1)

    def predicts_instruction(self, hidden: Tensor) -> Tensor:
        """[batch, L - 1, width]: what predicts w_2 ... w_L (w_1 is the start token, always given)."""
        return hidden[:, : self.instruction - 1]

    def predicts_actions(self, hidden: Tensor) -> Tensor:
        """[batch, T, n, width]: what predicts the n tokens of each A_t, or of each label where labels are read."""
        steps = hidden[:, self.instruction :].unflatten(1, (self.steps, self.step))
        if self.label:
            first, others = steps[:, :, self.visual - 1 : self.visual], steps[:, :, self.visual + self.action :]
            return torch.cat([first, others], dim=2)
        return steps[:, :, self.visual - 1 : self.step - 1]

    def real(
        self,
        instruction_mask: Tensor,
        action_mask: Tensor,
        step_mask: Tensor | None = None,
        label_mask: Tensor | None = None,
    ) -> Tensor:
        """bool[batch, length]: the places that are not empty, from masks [batch, L], [batch, T, n] and [batch, T].

        Without `step_mask` all visual tokens count, those of steps that pad a window too. `label_mask` is of the
        labels' tokens that are read, where they are.
        """
        visual = action_mask.new_ones(*action_mask.shape[:2], self.visual)
        if step_mask is not None:
            visual = visual & step_mask[..., None]
        parts = [visual, action_mask] if label_mask is None else [visual, action_mask, label_mask]
        steps = torch.cat(parts, dim=2).flatten(1)
        return torch.cat([instruction_mask.bool(), steps], dim=1)


def is_whole(mask: Tensor) -> bool:
    """Whether no place is empty, as far as that is known without waiting for the device."""
    return mask.numel() == 0 or (mask.device.type == "cpu" and bool(mask.all()))


def pack(sequence: Tensor, real: Tensor, longest: int | None = None) -> Tensor:
    """Rows [batch, longest, width] of the real places only, in order; what is beyond a row's end is undefined.

    `longest` is how many places are kept; None: as many as the longest row has, or all where counting them would wait
    for the device.
    """
    if longest is None:
        longest = int(real.sum(1).max()) if real.device.type == "cpu" else real.shape[1]
    places = (~real).to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]
    return sequence.gather(1, places[..., None].expand(-1, -1, sequence.shape[2]))


def unpack(packed: Tensor, real: Tensor) -> Tensor:
    """The inverse of `pack`, [rows, places, ...]; an empty place repeats the real one before it."""
    places = (real.cumsum(1) - 1).clamp(min=0)
    return packed.gather(1, places[..., None].expand(-1, -1, packed.shape[2]))
