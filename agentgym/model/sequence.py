"""THE drawing: the order of tokens in the model's sequence. Every other file points here.

    pad  w w w | v v v v | a | v v v v | a | v v v v | a
    <-- L ---->|<-- k -->|<n>|
               |   step 1    |   step 2    |   step 3

* W, the instruction: L tokens, padded on the left, so that every step stands at the same place in each row of a batch
  and positions (counted without padding) do not depend on the padding.
* then, per step t: the k visual tokens of V_t and the n tokens of A_t.
* Steps that pad a short window stand at the end; under the causal mask nothing real sees them.
* Where actions have different lengths, n is the longest, and the places behind a shorter one are empty: F_φ reads each
  row without its empty places, so that what it computes does not depend on the other rows.

What predicts what: the logits at w_{j-1} give w_j; those at the last visual token of V_t give the first token of A_t;
those at (a_t)_i give (a_t)_{i+1}. One causal mask over the whole sequence is all the attention structure there is.

Of a longer episode the agent sees a window of at most M steps, which moves by blocks: it grows until it is full, then
forgets all but the latest third and grows again. So what F_φ has computed stays true until the window moves, and
training cuts its windows at the same places.

    M = 6    steps 0 1 2 3 4 5          predicts 0 to 5
                           4 5 6 7 8 9          predicts 6 to 9
"""

from dataclasses import dataclass

import torch
from torch import Tensor


def kept_steps(window: int) -> int:
    """How many of its M steps a full window keeps when it moves: a third, rounded down."""
    return window // 3


@dataclass(frozen=True)
class Layout:
    """The places of one batch's tokens: `instruction` L, `visual` k a step, `action` n a step, `steps` T."""

    instruction: int
    visual: int
    action: int
    steps: int

    @property
    def step(self) -> int:
        """Tokens a step."""
        return self.visual + self.action

    @property
    def length(self) -> int:
        """Tokens in all."""
        return self.instruction + self.steps * self.step

    def join(self, instruction: Tensor, visual: Tensor, action: Tensor) -> Tensor:
        """The sequence [batch, length, width] of embeddings [batch, L | T, k | T, n, width]."""
        steps = torch.cat([visual, action], dim=2).flatten(1, 2)
        return torch.cat([instruction, steps], dim=1)

    def predicts_instruction(self, hidden: Tensor) -> Tensor:
        """[batch, L - 1, width]: what predicts w_2 ... w_L (w_1 is the start token, always given)."""
        return hidden[:, : self.instruction - 1]

    def predicts_actions(self, hidden: Tensor) -> Tensor:
        """[batch, T, n, width]: what predicts the n tokens of each A_t."""
        steps = hidden[:, self.instruction :].unflatten(1, (self.steps, self.step))
        return steps[:, :, self.visual - 1 : self.step - 1]

    def real(self, instruction_mask: Tensor, action_mask: Tensor) -> Tensor:
        """bool[batch, length]: the places that are not empty, from masks [batch, L] and [batch, T, n]."""
        visual = action_mask.new_ones(*action_mask.shape[:2], self.visual)
        steps = torch.cat([visual, action_mask], dim=2).flatten(1)
        return torch.cat([instruction_mask.bool(), steps], dim=1)

    def attention_mask(self, instruction_mask: Tensor) -> Tensor:
        """[batch, length]: 1 where a token counts; only the instruction's padding does not."""
        ones = instruction_mask.new_ones(len(instruction_mask), self.length - self.instruction)
        return torch.cat([instruction_mask, ones], dim=1)


def pack(sequence: Tensor, real: Tensor) -> Tensor:
    """Rows [batch, longest, width] of the real places alone, in order; beyond a row's end stands anything."""
    places = (~real).to(torch.uint8).argsort(dim=1, stable=True)[:, : int(real.sum(1).max())]
    return sequence.gather(1, places[..., None].expand(-1, -1, sequence.shape[2]))


def unpack(packed: Tensor, real: Tensor) -> Tensor:
    """The inverse of `pack`; an empty place has what stands at the real one before it."""
    places = (real.cumsum(1) - 1).clamp(min=0)
    return packed.gather(1, places[..., None].expand(-1, -1, packed.shape[2]))
