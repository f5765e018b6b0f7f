"""The transformer: one stack of blocks, which is the vision encoder, the language model and the MAE decoder alike.

It covers what CLIP and OPT are made of: normalisation before or after each half, with or without biases, any of their
activations. A block knows nothing of masks: what its tokens attend to is a `Context`. `FullAttention` and
`CausalAttention` read a whole sequence, in training and when acting begins; `agentgym.model.kv_cache` has the ones that
continue a sequence. So training, acting and the exported graph run the same modules on the same weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import CLIPVisionConfig, OPTConfig
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer


@dataclass(frozen=True)
class TransformerSizes:
    """What a stack of blocks is made of."""

    width: int
    inner: int
    layers: int
    heads: int
    activation: str
    epsilon: float = 1e-5
    norm_first: bool = True  # before each half; False: after it, as in OPT-350M
    norm_affine: bool = True
    bias: bool = True

    @staticmethod
    def of_clip(config: CLIPVisionConfig) -> "TransformerSizes":
        """Those of CLIP's vision encoder."""
        return TransformerSizes(
            width=int(config.hidden_size),
            inner=int(config.intermediate_size),
            layers=int(config.num_hidden_layers),
            heads=int(config.num_attention_heads),
            activation=str(config.hidden_act),
            epsilon=float(config.layer_norm_eps),
        )

    @staticmethod
    def of_opt(config: OPTConfig) -> "TransformerSizes":
        """Those of OPT."""
        return TransformerSizes(
            width=int(config.hidden_size),
            inner=int(config.ffn_dim),
            layers=int(config.num_hidden_layers),
            heads=int(config.num_attention_heads),
            activation=str(config.activation_function),
            norm_first=bool(config.do_layer_norm_before),
            norm_affine=bool(config.layer_norm_elementwise_affine),
            bias=bool(config.enable_bias),
        )


Heads = Float[Tensor, "rows heads tokens head"]


class Context(Protocol):
    """What the tokens of a sequence attend to."""

    def attend(self, layer: int, queries: Heads, keys: Heads, values: Heads) -> Heads:
        """What each token finds in that layer."""
        ...


class FullAttention:
    """Every token attends to all."""

    def attend(self, layer: int, queries: Heads, keys: Heads, values: Heads) -> Heads:
        """See `Context`."""
        if _slow_backwards(queries):
            return (queries @ keys.transpose(2, 3) * queries.shape[3] ** -0.5).softmax(-1) @ values
        return F.scaled_dot_product_attention(queries, keys, values)


class CausalAttention:
    """The causal mask: every token attends to itself and those before it."""

    def attend(self, layer: int, queries: Heads, keys: Heads, values: Heads) -> Heads:
        """See `Context`."""
        if _slow_backwards(queries):
            later = queries.new_full((queries.shape[2], keys.shape[2]), float("-inf")).triu(1)
            return (queries @ keys.transpose(2, 3) * queries.shape[3] ** -0.5 + later).softmax(-1) @ values
        return F.scaled_dot_product_attention(queries, keys, values, is_causal=True)


def masked_attention(queries: Heads, keys: Heads, values: Heads, visible: Bool[Tensor, "rows 1 tokens seen"]) -> Heads:
    """What each token finds where it sees only what is visible to it."""
    if _slow_backwards(queries):
        scores = queries @ keys.transpose(2, 3) * queries.shape[3] ** -0.5
        return scores.masked_fill(~visible, float("-inf")).softmax(-1) @ values
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=visible)


def _slow_backwards(queries: Heads) -> bool:
    """Whether products and a softmax are quicker: on a CPU PyTorch's own attention is 3 to 8 times slower backwards."""
    return queries.dtype == torch.bfloat16 and queries.device.type == "cpu" and queries.requires_grad


class ObservedAttention:
    """Every token attends to all, and `weights` has the attention of each layer: float[rows, heads, tokens, tokens]."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []

    def attend(self, layer: int, queries: Heads, keys: Heads, values: Heads) -> Heads:
        """See `Context`."""
        self.weights.append((queries @ keys.transpose(2, 3) * queries.shape[3] ** -0.5).softmax(-1))
        return self.weights[-1] @ values


class Block(GradientCheckpointingLayer):
    """One layer: attention, then a perceptron, each added to what came in."""

    def __init__(self, sizes: TransformerSizes) -> None:
        super().__init__()
        width, bias = sizes.width, sizes.bias
        self.heads, self.norm_first = sizes.heads, sizes.norm_first
        self.attention_norm = _norm(sizes)
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=bias)  # one product: three matrices, one below
        self.attention_out = nn.Linear(width, width, bias=bias)  # the other
        self.mlp_norm = _norm(sizes)
        self.widen = nn.Linear(width, sizes.inner, bias=bias)
        self.activation: Callable[[Tensor], Tensor] = ACT2FN[sizes.activation]
        self.narrow = nn.Linear(sizes.inner, width, bias=bias)

    def forward(
        self, hidden: Float[Tensor, "rows tokens width"], context: Context, layer: int
    ) -> Float[Tensor, "rows tokens width"]:
        """The tokens after this layer; `layer` is its number, by which the context knows it."""
        if self.norm_first:
            hidden = hidden + self._attention(self.attention_norm(hidden), context, layer)
            return hidden + self._perceptron(self.mlp_norm(hidden))
        hidden = self.attention_norm(hidden + self._attention(hidden, context, layer))
        return self.mlp_norm(hidden + self._perceptron(hidden))

    def _attention(self, hidden: Tensor, context: Context, layer: int) -> Tensor:
        projected = self.queries_keys_values(hidden).unflatten(-1, (3, self.heads, hidden.shape[-1] // self.heads))
        queries, keys, values = projected.permute(2, 0, 3, 1, 4).unbind()
        found = context.attend(layer, queries, keys, values).transpose(1, 2).flatten(2)
        return self.attention_out(found)

    def _perceptron(self, hidden: Tensor) -> Tensor:
        return self.narrow(self.activation(self.widen(hidden)))


class Transformer(nn.Module):
    """Blocks, one after the other."""

    def __init__(self, sizes: TransformerSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))

    def forward(
        self, hidden: Float[Tensor, "rows tokens width"], context: Context
    ) -> Float[Tensor, "rows tokens width"]:
        """The tokens after all blocks."""
        for layer, block in enumerate(self.blocks):
            hidden = block(hidden, context, layer)
        return hidden


def _norm(sizes: TransformerSizes) -> nn.LayerNorm:
    return nn.LayerNorm(sizes.width, eps=sizes.epsilon, elementwise_affine=sizes.norm_affine)
