"""The transformer blocks of CLIP and OPT as one plain function on their own weights.

One step of acting is little arithmetic and many calls: transformers' modules spend most of such a step around the
operations, not in them. These compute the same from the very parameters of the modules (what training changes is
changed here), and are tested to agree with them. Where nothing learns, parameters that are used together are joined
once, and again when one of them has changed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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
    joined: "Joined" = field(default_factory=lambda: Joined())

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
        queries, keys, values = self._project(norm(self.first_norm, hidden))
        seen = attend(queries, keys, values).transpose(1, 2).reshape(rows, tokens, -1)
        hidden = hidden + F.linear(seen, self.output.weight, self.output.bias)
        wide = self.activation(F.linear(norm(self.second_norm, hidden), self.widen.weight, self.widen.bias))
        return hidden + F.linear(wide, self.narrow.weight, self.narrow.bias)

    def _project(self, normed: Float[Tensor, "rows tokens width"]) -> Sequence[Tensor]:
        """Queries, keys and values, [rows, heads, tokens, head] each."""
        parts = (self.queries, self.keys, self.values)
        if not torch.is_inference_mode_enabled():
            split = (*normed.shape[:2], self.heads, -1)
            return [F.linear(normed, part.weight, part.bias).view(split).transpose(1, 2) for part in parts]
        weight, bias = self.joined.of([p.weight for p in parts] + [p.bias for p in parts], _join)
        together = F.linear(normed, weight, bias).view(*normed.shape[:2], 3, self.heads, -1)
        return together.permute(2, 0, 3, 1, 4).unbind()


class Joined:
    """What was made of some parameters, until one of them changes."""

    def __init__(self) -> None:
        self._versions: list[int] = []
        self._made: tuple[Tensor, Tensor] | None = None

    def of(
        self, parameters: Sequence[Tensor], make: Callable[[Sequence[Tensor]], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """make(parameters), made before or anew; `make` is always the same."""
        if any(parameter.is_inference() for parameter in parameters):
            return make(parameters)  # such tensors do not tell when they change
        versions = [parameter._version for parameter in parameters]
        if self._made is None or versions != self._versions:
            self._made, self._versions = make(parameters), versions
        return self._made


def _join(parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Weights, then as many biases, as one linear layer's."""
    half = len(parameters) // 2
    return torch.cat(list(parameters[:half])), torch.cat(list(parameters[half:]))


def norm(norm: nn.LayerNorm, hidden: Tensor) -> Tensor:
    """The layer's normalisation, without the cost of calling a module."""
    return torch.layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _plain(activation: nn.Module) -> Callable[[Tensor], Tensor]:
    """The function of an activation module where there is a plain one."""
    return torch.relu if isinstance(activation, nn.ReLU) else activation
