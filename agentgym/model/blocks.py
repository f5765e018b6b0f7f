"""The transformer blocks of CLIP and OPT as one plain function on their own weights.

One step of acting is little arithmetic and many calls: transformers' modules spend most of such a step around the
operations, not in them. These compute the same from the modules' own weights, in as few operations as they take: rows
of tokens stay one matrix, the three projections of attention are one product. They are tested to agree with the
modules. Nothing here learns; `Prepared` makes anew what was made of weights that training has changed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.models.clip.modeling_clip import CLIPEncoderLayer
from transformers.models.opt.modeling_opt import OPTDecoderLayer

Attend = Callable[[Tensor], Tensor]
Made = TypeVar("Made")
_version_of = attrgetter("_version")


class Norm(NamedTuple):
    """A layer normalisation, without the cost of calling a module."""

    shape: tuple[int, ...]
    weight: Tensor
    bias: Tensor
    epsilon: float

    @staticmethod
    def of(module: nn.LayerNorm) -> "Norm":
        """That of a module."""
        return Norm(module.normalized_shape, module.weight.detach(), module.bias.detach(), module.eps)

    def __call__(self, hidden: Float[Tensor, "*axes width"]) -> Float[Tensor, "*axes width"]:
        return torch.layer_norm(hidden, self.shape, self.weight, self.bias, self.epsilon)


class Linear(NamedTuple):
    """A linear layer of a matrix, or several on the same input as one."""

    weight: Float[Tensor, "width out"]
    bias: Float[Tensor, "out"]

    @staticmethod
    def of(*modules: nn.Linear) -> "Linear":
        """That of a module, or of several, their outputs one behind the other."""
        weights, biases = [m.weight.detach() for m in modules], [m.bias.detach() for m in modules]
        if len(modules) == 1:
            return Linear(weights[0].t(), biases[0])
        return Linear(torch.cat(weights).t(), torch.cat(biases))

    def __call__(self, hidden: Float[Tensor, "tokens width"]) -> Float[Tensor, "tokens out"]:
        return torch.addmm(self.bias, hidden, self.weight)


@dataclass(frozen=True)
class Block:
    """One layer: normalisation, attention, normalisation, perceptron, each half added to what came in."""

    heads: int
    first_norm: Norm
    project: Linear  # to queries, keys and values
    output: Linear
    second_norm: Norm
    widen: Linear
    activation: Callable[[Tensor], Tensor]
    narrow: Linear

    @staticmethod
    def of_clip(layer: CLIPEncoderLayer) -> "Block":
        """A layer of CLIP's vision encoder."""
        attention, mlp = layer.self_attn, layer.mlp
        return Block(
            attention.num_heads,
            Norm.of(layer.layer_norm1),
            Linear.of(attention.q_proj, attention.k_proj, attention.v_proj),
            Linear.of(attention.out_proj),
            Norm.of(layer.layer_norm2),
            Linear.of(mlp.fc1),
            _plain(mlp.activation_fn),
            Linear.of(mlp.fc2),
        )

    @staticmethod
    def of_opt(layer: OPTDecoderLayer) -> "Block":
        """A layer of OPT; one that normalises after its halves (OPT-350M alone does) is another block."""
        assert layer.do_layer_norm_before
        attention = layer.self_attn
        return Block(
            attention.num_heads,
            Norm.of(layer.self_attn_layer_norm),
            Linear.of(attention.q_proj, attention.k_proj, attention.v_proj),
            Linear.of(attention.out_proj),
            Norm.of(layer.final_layer_norm),
            Linear.of(layer.fc1),
            _plain(layer.activation_fn),
            Linear.of(layer.fc2),
        )

    def run(self, hidden: Float[Tensor, "tokens width"], rows: int, attend: Attend) -> Float[Tensor, "tokens width"]:
        """The layer's output for `rows` of tokens, one row behind the other.

        `attend` maps queries, keys and values, [3, rows, heads, tokens of a row, head], to what is seen by each token.
        """
        width = hidden.shape[1]
        projected = self.project(self.first_norm(hidden)).view(rows, -1, 3, self.heads, width // self.heads)
        seen = attend(projected.permute(2, 0, 3, 1, 4)).transpose(1, 2).reshape(-1, width)
        hidden = self.output(seen).add_(hidden)
        return self.narrow(self.activation(self.widen(self.second_norm(hidden)))).add_(hidden)


class Prepared(Generic[Made]):
    """What was made of some weights, until one of them changes."""

    def __init__(self, weights: Iterable[Tensor], make: Callable[[], Made]) -> None:
        self._weights, self._make = list(weights), make
        self._tell = not any(weight.is_inference() for weight in self._weights)  # such tensors never do
        self._version = -1
        self._made: Made | None = None

    def now(self) -> Made:
        """What is made of the weights as they are."""
        if not self._tell:
            return self._make()
        version = sum(map(_version_of, self._weights))  # each only ever grows
        if self._made is None or version != self._version:
            self._made, self._version = self._make(), version
        return self._made


def _plain(activation: nn.Module) -> Callable[[Tensor], Tensor]:
    """The function of an activation module where there is a plain one; it may overwrite what it is given."""
    return torch.relu_ if isinstance(activation, nn.ReLU) else activation
