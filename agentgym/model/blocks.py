"""The transformer blocks of CLIP and OPT as one plain function on their own weights.

One step of acting is little arithmetic and many calls: transformers' modules spend most of such a step around the
operations, not in them. These compute the same, hold the very parameters of the modules (what training changes is
changed here), and are tested to agree with them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformers.models.clip.modeling_clip import CLIPEncoderLayer
from transformers.models.opt.modeling_opt import OPTDecoderLayer

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Block:
    """One layer: normalisation, attention, normalisation, perceptron, each half added to what came in."""

    heads: int
    first_norm: nn.LayerNorm
    queries: nn.Linear
    keys: nn.Linear
    values: nn.Linear
    output: nn.Linear
    second_norm: nn.LayerNorm
    widen: nn.Linear
    activation: Callable[[Tensor], Tensor]
    narrow: nn.Linear

    @staticmethod
    def of_clip(layer: CLIPEncoderLayer) -> "Block":
        """A layer of CLIP's vision encoder."""
        attention, mlp = layer.self_attn, layer.mlp
        return Block(
            attention.num_heads,
            layer.layer_norm1,
            attention.q_proj,
            attention.k_proj,
            attention.v_proj,
            attention.out_proj,
            layer.layer_norm2,
            mlp.fc1,
            _plain(mlp.activation_fn),
            mlp.fc2,
        )

    @staticmethod
    def of_opt(layer: OPTDecoderLayer) -> "Block":
        """A layer of OPT; one that normalises after its halves (OPT-350M alone does) is another block."""
        assert layer.do_layer_norm_before
        attention = layer.self_attn
        return Block(
            attention.num_heads,
            layer.self_attn_layer_norm,
            attention.q_proj,
            attention.k_proj,
            attention.v_proj,
            attention.out_proj,
            layer.final_layer_norm,
            layer.fc1,
            _plain(layer.activation_fn),
            layer.fc2,
        )

    def run(self, hidden: Float[Tensor, "rows tokens width"], attend: Attend) -> Float[Tensor, "rows tokens width"]:
        """The layer's output; `attend` maps queries, keys and values [rows, heads, tokens, head] to what is seen."""
        rows, tokens, _ = hidden.shape
        split = (rows, tokens, self.heads, -1)
        normed = _norm(self.first_norm, hidden)
        queries, keys, values = (
            F.linear(normed, part.weight, part.bias).view(split).transpose(1, 2)
            for part in (self.queries, self.keys, self.values)
        )
        seen = attend(queries, keys, values).transpose(1, 2).reshape(rows, tokens, -1)
        hidden = hidden + F.linear(seen, self.output.weight, self.output.bias)
        wide = self.activation(F.linear(_norm(self.second_norm, hidden), self.widen.weight, self.widen.bias))
        return hidden + F.linear(wide, self.narrow.weight, self.narrow.bias)


def _norm(norm: nn.LayerNorm, hidden: Tensor) -> Tensor:
    return torch.layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _plain(activation: nn.Module) -> Callable[[Tensor], Tensor]:
    """The function of an activation module where there is a plain one."""
    return torch.relu if isinstance(activation, nn.ReLU) else activation
