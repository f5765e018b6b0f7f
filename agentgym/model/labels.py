"""Labels in addition to executed actions: what the language model attends to where it reads both.

Where an expert's label differs from the action that was executed, token i of the label follows the label's own tokens
before it, and later steps follow the executed action:

    step 1                 step 2
    v v v v | a a | l      v v v v | a a | l        l sees W, the frames, the executed actions before it, and its own
                                                    label's tokens; nothing else sees l

A label's tokens come after the executed ones of their step (`Layout.label` of them: the last one of a label predicts
nothing and is not read), have the positions that the executed ones have, and are hidden from everything that is not of
the same label.
"""

import torch
from jaxtyping import Bool
from torch import Tensor

from agentgym.model.sequence import Layout, pack
from agentgym.model.transformer import Heads, masked_attention


class LabelBranches:
    """A context of whole rows (`model.transformer.Context`) in which labels branch off."""

    def __init__(self, layout: Layout, real: Bool[Tensor, "batch length"]) -> None:
        """Of the packed rows of that layout."""
        inside = torch.arange(layout.length, device=real.device) - layout.instruction
        step, at = inside.div(layout.step, rounding_mode="floor"), inside % layout.step
        label = (inside >= 0) & (at >= layout.visual + layout.action)
        executed = (inside >= 0) & (at >= layout.visual) & ~label
        read = (real & ~label).cumsum(1) - 1  # the position of a place that is no label's
        latest = layout.instruction + step * layout.step + layout.visual - 1  # the last visual token of its step
        follows = read[:, latest.clamp(min=0)] + 1 + at - layout.visual - layout.action
        positions = torch.where(label, follows, read).clamp(min=0)
        of_places = (each.expand_as(positions) for each in (step, label.long(), executed.long()))
        self._positions, step, label, executed = pack(torch.stack([positions, *of_places], 2), real).unbind(2)
        earlier = torch.ones(step.shape[1], step.shape[1], dtype=torch.bool, device=real.device).tril()
        ours = (step[:, :, None] == step[:, None]) & label.bool()[:, :, None]  # the label's tokens to its own step
        hidden = torch.where(ours, executed.bool()[:, None], label.bool()[:, None])
        self.visible = (earlier & ~hidden)[:, None]

    def positions(self, new: int) -> Tensor:
        """The indices of the tokens in the table of positions, int64[rows, tokens]."""
        return self._positions

    def attend(self, layer: int, queries: Heads, keys: Heads, values: Heads) -> Heads:
        """What each token finds in that layer."""
        return masked_attention(queries, keys, values, self.visible)
