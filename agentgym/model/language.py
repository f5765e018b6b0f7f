"""The language model: OPT's embeddings, positions and final layers around the transformer.

Its table is also the agent's output head. Published weights and tests that compare it with transformers' OPTModel:
`agentgym.model.pretrained`.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformers import OPTConfig

from agentgym.model.transformer import CausalAttention, Context, Transformer, TransformerSizes

OFFSET = 2  # OPT's table of positions begins with two rows that no token has


class PlacedContext(Context, Protocol):
    """A context that also knows the positions of the tokens in their rows."""

    def positions(self, new: int) -> slice | Tensor:
        """The indices, int64[batch, new], of the `new` tokens in the table of positions."""
        ...


class LanguageModel(nn.Module):
    """Embedded tokens to hidden states."""

    def __init__(self, config: OPTConfig) -> None:
        super().__init__()
        width, outer = int(config.hidden_size), int(config.word_embed_proj_dim)
        self.config = config
        self.outer_width = outer
        self.embeddings = nn.Embedding(config.vocab_size, outer, config.pad_token_id)
        self.positions = nn.Embedding(config.max_position_embeddings + OFFSET, width)
        self.project_in = nn.Linear(outer, width, bias=False) if outer != width else None
        self.transformer = Transformer(TransformerSizes.of_opt(config))
        self.norm: nn.LayerNorm | None = None
        # The underscore is part of the published config.json's key; test_transformer has a model with it.
        if config.do_layer_norm_before and not config._remove_final_layer_norm:
            self.norm = nn.LayerNorm(width, elementwise_affine=config.layer_norm_elementwise_affine)
        self.project_out = nn.Linear(width, outer, bias=False) if outer != width else None
        self._initialize()

    @property
    def num_positions(self) -> int:
        """The most tokens of a sequence."""
        return self.positions.num_embeddings - OFFSET

    def forward(
        self, embedded: Float[Tensor, "rows new width"], context: PlacedContext | None = None
    ) -> Float[Tensor, "rows new width"]:
        """Hidden states of embedded tokens: of whole sequences, or of those that a context continues."""
        new = embedded.shape[1]
        hidden = embedded if self.project_in is None else self.project_in(embedded)
        places = slice(0, new) if context is None else context.positions(new)
        hidden = hidden + self.positions.weight[OFFSET:][places]
        hidden = self.transformer(hidden, CausalAttention() if context is None else context)
        hidden = hidden if self.norm is None else self.norm(hidden)
        return hidden if self.project_out is None else self.project_out(hidden)

    def logits(self, hidden: Float[Tensor, "*axes width"], first: int = 0) -> Float[Tensor, "*axes tokens"]:
        """The tied output head: those of the vocabulary's tokens from `first` on."""
        return F.linear(hidden, self.embeddings.weight[first:] if first else self.embeddings.weight)

    @torch.no_grad()
    def _initialize(self) -> None:
        """As OPT is drawn."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=self.config.init_std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        if self.embeddings.padding_idx is not None:
            nn.init.zeros_(self.embeddings.weight[self.embeddings.padding_idx])
