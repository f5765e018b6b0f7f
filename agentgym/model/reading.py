"""The agent at one step: a frame to its visual tokens, and F_φ reading on from what it has read before.

The rows of a batch may have different lengths. Token i of a row stands at place i of the cache and has position i, so
that a causal mask by places is right for all of them: what stands beyond a row's end is not seen, and overwritten by
the tokens that come there. (Transformers' own caches have one length for all rows.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from agentgym.model.agent import AgentModel
from agentgym.model.blocks import Block, Linear, Norm, Prepared
from agentgym.model.grounding import InstructionContext


class Reader:
    """Reads frames and tokens with a model's own weights; holds nothing of what it has read."""

    def __init__(self, model: AgentModel) -> None:
        self._model = model
        language = model.language.config
        self._heads, self._layers = int(language.num_attention_heads), int(language.num_hidden_layers)
        self._head_width = int(language.hidden_size) // self._heads
        self._table: Tensor = model.language.get_input_embeddings().weight
        seen = chain(model.vision.clip.parameters(), model.projector.parameters())
        self._vision = Prepared(seen, lambda: _Vision.of(model))
        self._language = Prepared(model.language.parameters(), lambda: _Language.of(model))

    def encode(
        self, frames: UInt8[Tensor, "frames height width 3"], *, time: int = 1, words: InstructionContext | None = None
    ) -> Float[Tensor, "frames visual width"]:
        """ℓ(E_θ(V)): the visual tokens of each frame, as `AgentModel.encode` gives them."""
        vision, encoder = self._vision.now(), self._model.vision
        hidden = vision.first_norm(self._embed(frames, vision))
        shape, hidden = hidden.shape, hidden.flatten(0, 1)
        for number, block in enumerate(vision.blocks):
            if words is not None:
                hidden = encoder.look_up(number, hidden.view(shape), words).flatten(0, 1)
            hidden = block.run(hidden, shape[0], _attend)
            if encoder.temporal is not None:
                hidden = encoder.look_back(number, hidden.view(shape), time).flatten(0, 1)
        features = vision.last_norm(hidden.view(shape).narrow(1, 1, shape[1] - 1))
        inputs = self._model.merge(features)
        return vision.project(inputs.flatten(0, 1)).view(*inputs.shape[:2], -1)

    def _embed(
        self, frames: UInt8[Tensor, "frames height width 3"], vision: "_Vision"
    ) -> Float[Tensor, "frames tokens width"]:
        """The tokens of each frame's patches, a start token before them; the pixels are normalised on the way."""
        encoder, (number, height, _, _) = self._model.vision, frames.shape
        size, side = encoder.patch_size, encoder.side
        if (height, frames.shape[2]) != (side * size, side * size):
            planes = frames.permute(0, 3, 1, 2).float()
            frames = F.interpolate(planes, (side * size, side * size), mode="bilinear", antialias=True)
            frames = frames.permute(0, 2, 3, 1)
        grid = frames.reshape(number, side, size, side, 3 * size).transpose(2, 3)
        pixels = torch.empty(grid.shape).copy_(grid)
        patches = torch.mm(pixels.view(number * side * side, -1), vision.patches).view(number, side * side, -1)
        return torch.cat([vision.start.expand(number, -1, -1), patches.add_(vision.added)], dim=1)

    def embed(self, tokens: Int[Tensor, "rows new"]) -> Float[Tensor, "rows new width"]:
        """The embeddings of tokens of the whole vocabulary."""
        return torch.embedding(self._table, tokens)

    def logits(self, hidden: Float[Tensor, "rows width"], first: int) -> Float[Tensor, "rows tokens"]:
        """Those of the vocabulary's tokens from `first` on."""
        return hidden @ self._table[first:].t()

    def empty_cache(self, rows: int, places: int) -> Float[Tensor, "layers 2 rows heads places head"]:
        """Keys and values of nothing yet. Zeros, since places that are masked still enter the products."""
        return torch.zeros(self._layers, 2, rows, self._heads, places, self._head_width)

    def read_on(
        self,
        embeddings: Float[Tensor, "rows new width"],
        cache: Float[Tensor, "layers 2 rows heads places head"],
        lengths: Int[NDArray[np.int64], "rows"],
    ) -> Float[Tensor, "rows new width"]:
        """Hidden states of `new` tokens that follow the `lengths` tokens read before; writes their keys and values."""
        language, (rows, new, _) = self._language.now(), embeddings.shape
        hidden = embeddings if language.project_in is None else language.project_in(embeddings)
        places = _Places.of(lengths, new, cache)
        hidden = (hidden + places.positions(language.positions)).flatten(0, 1)
        for number, block in enumerate(language.blocks):
            hidden = block.run(hidden, rows, partial(places.attend, number))
        if language.last_norm is not None:
            hidden = language.last_norm(hidden)
        hidden = hidden.view(rows, new, -1)
        return hidden if language.project_out is None else language.project_out(hidden)


def _attend(projected: Float[Tensor, "3 frames heads tokens head"]) -> Float[Tensor, "frames heads tokens head"]:
    queries, keys, values = projected.unbind()
    return F.scaled_dot_product_attention(queries, keys, values)


@dataclass(frozen=True)
class _Places:
    """Where new tokens stand in a cache: `first` and the `new` places from there on, or other places in each row."""

    first: int
    new: int
    by_row: Int[Tensor, "rows new"] | None  # None: rows of one length, as one row is, where slices are quicker
    unseen: Float[Tensor, "*rows new places"]  # added to the attention to each place: -inf to those behind a token
    held: Sequence[Tensor]  # keys, then values, of each layer in turn: float32[rows, heads, places, head]
    here: Sequence[Tensor]  # of each layer keys and values: of these places alone where rows have one length

    @staticmethod
    def of(lengths: Int[NDArray[np.int64], "rows"], new: int, cache: Tensor) -> "_Places":
        """Those of `new` tokens behind the first `lengths` of each row."""
        first, triangle = int(lengths[0]), _triangle(1 << (cache.shape[4] - 1).bit_length())[:, : cache.shape[4]]
        held = cache.flatten(0, 1).unbind()
        if len(lengths) == 1 or (lengths == first).all():
            here = cache.narrow(4, first, new).unbind()
            return _Places(first, new, None, triangle[first : first + new], held, here)
        places = torch.from_numpy(lengths[:, None] + np.arange(new))
        return _Places(first, new, places, triangle[places][:, None], held, cache.unbind())

    def positions(self, table: Float[Tensor, "places width"]) -> Float[Tensor, "*rows new width"]:
        """The rows of a table at these places."""
        return table[self.first : self.first + self.new] if self.by_row is None else table[self.by_row]

    def attend(
        self, layer: int, projected: Float[Tensor, "3 rows heads new head"]
    ) -> Float[Tensor, "rows heads new head"]:
        """What queries see in that layer, after the keys and values beside them are written at these places."""
        new, here = projected.narrow(0, 1, 2), self.here[layer]
        if self.by_row is None:
            here.copy_(new)
        else:
            here[:, torch.arange(here.shape[1])[:, None], :, self.by_row] = new.permute(1, 3, 0, 2, 4)
        keys, values = self.held[2 * layer], self.held[2 * layer + 1]
        return F.scaled_dot_product_attention(projected.select(0, 0), keys, values, attn_mask=self.unseen)


@lru_cache
def _triangle(size: int) -> Float[Tensor, "size size"]:
    """-inf above the diagonal. Of sizes that are powers of two, so that few do for every number of places."""
    return torch.full((size, size), -torch.inf).triu(1)


class _Vision(NamedTuple):
    """E_θ as it reads raw pixels."""

    patches: Float[Tensor, "pixels width"]  # of a patch's pixels 0 to 255, in the order (y, x, channel)
    added: Float[Tensor, "patches width"]
    start: Float[Tensor, "1 width"]
    first_norm: Norm
    blocks: list[Block]
    last_norm: Norm
    project: Linear

    @staticmethod
    @torch.no_grad()
    def of(model: AgentModel) -> "_Vision":
        """The normalisation of pixels becomes part of the patch embedding, what follows from it of the positions."""
        encoder, embeddings = model.vision, model.vision.clip.embeddings
        kernel, positions = embeddings.patch_embedding.weight, embeddings.position_embedding.weight
        scaled = kernel / (255 * encoder.std)
        offset = -(kernel * encoder.mean / encoder.std).sum((1, 2, 3))
        return _Vision(
            scaled.permute(2, 3, 1, 0).flatten(0, 2),
            positions[1:] + offset,
            embeddings.class_embedding[None] + positions[:1],
            Norm.of(encoder.clip.pre_layrnorm),
            [Block.of_clip(layer) for layer in encoder.clip.encoder.layers],
            Norm.of(encoder.clip.post_layernorm),
            Linear.of(model.projector),
        )


class _Language(NamedTuple):
    """F_φ behind its table."""

    positions: Float[Tensor, "places width"]
    project_in: nn.Linear | None
    blocks: list[Block]
    last_norm: Norm | None
    project_out: nn.Linear | None

    @staticmethod
    def of(model: AgentModel) -> "_Language":
        """That of a model."""
        decoder = model.language.decoder
        positions = decoder.embed_positions
        return _Language(
            positions.weight.detach()[positions.offset :],
            decoder.project_in,
            [Block.of_opt(layer) for layer in decoder.layers],
            None if decoder.final_layer_norm is None else Norm.of(decoder.final_layer_norm),
            decoder.project_out,
        )
