"""Instructions that several rows have in common: each is read once, which the rows continue.

Under the causal mask an instruction sees nothing of what follows, so that it is the same in every row that has it:

    w w w w    v v v v | a | v v v v | a    row 0
       |       v v v v | a | v v v v | a    row 1
       |       v v v v | a | v v v v | a    row 2
    read once, and seen by all tokens of the rows
"""

from collections.abc import Callable
from typing import Protocol

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from agentgym.model.language import LanguageModel, PlacedContext
from agentgym.model.sequence import Layout, pack, unpack
from agentgym.model.transformer import Block, CausalAttention, Heads, masked_attention

LEAST_SAVED, LEAST_SHARE = 256, 1 / 8  # tokens of a batch: two passes and masked attention must be worth it


def predicting(
    language: LanguageModel,
    read_on: Callable[..., tuple[Layout, Tensor]],
    instruction: Int[Tensor, "instructions words"],
    real: Bool[Tensor, "instructions words"],
    of_row: Int[Tensor, "rows"],
    tokens_after: int,
) -> tuple[Tensor, Tensor]:
    """Hidden states that predict each instruction's words, and those that predict each row's actions.

    `real` is false where a shorter instruction is padded on the left. `read_on` is `AgentModel.read` of the rows'
    steps, `tokens_after` a row. Each instruction is read once, or in each of its rows where that saves too little.
    """
    (instructions, words), rows = instruction.shape, len(of_row)
    saved, least = (rows - instructions) * words, max(LEAST_SAVED, LEAST_SHARE * rows * (words + tokens_after))
    if saved < least or not _may_run_twice(language):
        layout, hidden = read_on(instruction[of_row], real[of_row])
        numbers = torch.arange(rows, device=of_row.device)
        first = numbers.new_full((instructions,), rows).scatter_reduce(0, of_row, numbers, "amin")
        return layout.predicts_instruction(hidden[first]), layout.predicts_actions(hidden)
    before = SharedInstructions(real, of_row)
    said = unpack(language(pack(language.embeddings(instruction), real), before), real)
    nothing = instruction.new_zeros(rows, 0)
    layout, hidden = read_on(nothing, nothing, before=before)
    return said[:, :-1], layout.predicts_actions(hidden)


def _may_run_twice(language: LanguageModel) -> bool:
    """Whether its blocks may run on instructions and then on rows.

    FSDP, whose blocks have a class of its own, needs every process to run each equally often; what is computed again in
    the backward pass cannot be kept for others.
    """
    block = language.transformer.blocks[0]
    return type(block) is Block and not (language.training and block.gradient_checkpointing)


class Branches(Protocol):
    """Which tokens of a row see one another, where that is not all those before them."""

    visible: Bool[Tensor, "rows 1 tokens tokens"]

    def positions(self, new: int) -> Tensor:
        """See `PlacedContext`."""
        ...


class SharedInstructions:
    """A causal context that keeps what each layer makes of instructions, for the rows that continue them."""

    def __init__(self, mask: Bool[Tensor, "instructions words"], of_row: Int[Tensor, "rows"]) -> None:
        """`mask` is true at real words, before they are packed; `of_row` is the index of each row's instruction."""
        self.lengths, self.of_row = mask.sum(1), of_row
        self.layers: list[tuple[Heads, Heads]] = []

    def positions(self, new: int) -> slice:
        """See `PlacedContext`."""
        return slice(0, new)

    def attend(self, layer: int, queries: Heads, keys: Heads, values: Heads) -> Heads:
        """See `agentgym.model.transformer.Context`."""
        self.layers.append((keys, values))
        return CausalAttention().attend(layer, queries, keys, values)

    def continued(self, new: int, branches: Branches | None = None) -> PlacedContext:
        """The context of the rows' own `new` tokens; all of them see all words of their instruction."""
        return _Continuation(self, new, branches)


class _Continuation:
    def __init__(self, before: SharedInstructions, new: int, branches: Branches | None) -> None:
        device, rows = before.lengths.device, len(before.of_row)
        self._before, words = before, before.layers[0][0].shape[2]
        lengths = before.lengths[before.of_row]
        own = torch.arange(new, device=device) if branches is None else branches.positions(new)
        self._positions = lengths[:, None] + own
        known = (torch.arange(words, device=device) < lengths[:, None])[:, None, None].expand(rows, 1, new, words)
        causal = torch.ones(new, new, dtype=torch.bool, device=device).tril()
        among = (causal if branches is None else branches.visible).expand(rows, 1, new, new)
        self._visible = torch.cat([known, among], dim=3)

    def positions(self, new: int) -> Tensor:
        """See `PlacedContext`."""
        return self._positions

    def attend(self, layer: int, queries: Heads, keys: Heads, values: Heads) -> Heads:
        """See `agentgym.model.transformer.Context`."""
        known = (each.index_select(0, self._before.of_row) for each in self._before.layers[layer])
        keys, values = (torch.cat([one, own], dim=2) for one, own in zip(known, (keys, values), strict=True))
        return masked_attention(queries, keys, values, self._visible)
