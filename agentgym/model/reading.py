"""The agent at one step: a frame to its visual tokens, and F_φ reading on from what it has read before.

The rows of a batch may have different lengths. Token i of a row stands at place i of the cache and has position i, so
that a causal mask by places is right for all of them: what stands beyond a row's end is not seen, and overwritten by
the tokens that come there. (Transformers' own caches have one length for all rows.)
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from agentgym.model.agent import AgentModel
from agentgym.model.blocks import Block, Norm, Prepared


class Reader:
    """Reads frames and tokens with a model's own weights; holds nothing of what it has read."""

    def __init__(self, model: AgentModel) -> None:
        self._model = model
        clip, language = model.vision.clip, model.language
        self._vision = Prepared(clip.parameters(), lambda: _Vision.of(model))
        self._language = Prepared(language.parameters(), lambda: _Language.of(model))

    def encode(
        self, frames: UInt8[Tensor, "frames height width 3"], *, time: int = 1
    ) -> Float[Tensor, "frames visual width"]:
        """ℓ(E_θ(V)): the visual tokens of each frame, as `AgentModel.encode` gives them."""
        vision, temporal = self._vision.now(), self._model.vision.temporal
        hidden = vision.first_norm(self._embed(frames, vision))
        shape = hidden.shape
        hidden = hidden.flatten(0, 1)
        for number, block in enumerate(vision.blocks):
            hidden = block.run(hidden, shape[0], F.scaled_dot_product_attention)
            if temporal is not None:
                hidden = temporal[number](hidden.view(shape), time).flatten(0, 1)
        return self._model.project(hidden.view(shape)[:, 1:])

    def _embed(
        self, frames: UInt8[Tensor, "frames height width 3"], vision: "_Vision"
    ) -> Float[Tensor, "frames tokens width"]:
        """The tokens of each frame's patches, a start token before them; the pixels are normalised on the way."""
        encoder, pixels = self._model.vision, frames
        size, side = encoder.patch_size, encoder.side
        if frames.shape[1:3] != (side * size, side * size):
            planes = frames.permute(0, 3, 1, 2).float()
            resized = F.interpolate(planes, (side * size, side * size), mode="bilinear", antialias=True)
            pixels = resized.permute(0, 2, 3, 1)
        patches = torch.zeros(len(frames), 1 + encoder.num_patches, len(vision.patches))  # nothing at the start token
        grid = pixels.reshape(len(frames), side, size, side, 3 * size).transpose(2, 3)
        patches[:, 1:].view(grid.shape).copy_(grid)
        return patches @ vision.patches + vision.added

    def embed(self, tokens: Int[Tensor, "rows new"]) -> Float[Tensor, "rows new width"]:
        """The embeddings of tokens of the whole vocabulary."""
        return F.embedding(tokens, self._language.now().table)

    def logits(self, hidden: Float[Tensor, "rows width"], first: int) -> Float[Tensor, "rows tokens"]:
        """Those of the vocabulary's tokens from `first` on."""
        return hidden @ self._language.now().table[first:].t()

    def empty_cache(self, rows: int, places: int) -> Float[Tensor, "layers 2 rows heads places head"]:
        """Keys and values of nothing yet. Zeros, since places that are masked still enter the products."""
        config = self._model.language.config
        heads = config.num_attention_heads
        return torch.zeros(config.num_hidden_layers, 2, rows, heads, places, config.hidden_size // heads)

    def read_on(
        self,
        embeddings: Float[Tensor, "rows new width"],
        cache: Float[Tensor, "layers 2 rows heads places head"],
        lengths: Int[NDArray[np.int64], "rows"],
    ) -> Float[Tensor, "rows new width"]:
        """Hidden states of `new` tokens that follow the `lengths` tokens read before; writes their keys and values."""
        language, (rows, new, _) = self._language.now(), embeddings.shape
        first = int(lengths.min())
        level = first == int(lengths.max())  # rows of one length, as one row is: a slice is quicker to write
        places = torch.from_numpy(lengths[:, None] + np.arange(new))
        unseen = F.embedding(places, _unseen(cache.shape[4]))[:, None]
        written = cache[..., first : first + new, :].unbind() if level else cache.unbind()
        by_row = (torch.arange(rows)[:, None], slice(None), places)
        hidden = embeddings if language.project_in is None else language.project_in(embeddings)
        hidden = (hidden + F.embedding(places, language.positions)).flatten(0, 1)
        for block, held, slots in zip(language.blocks, cache.unbind(), written, strict=True):

            def attend(
                queries: Tensor, keys: Tensor, values: Tensor, held: Tensor = held, slots: Tensor = slots
            ) -> Tensor:
                for slot, fresh in zip(slots.unbind(), (keys, values), strict=True):
                    if level:
                        slot.copy_(fresh)
                    else:
                        slot[by_row] = fresh.transpose(1, 2)
                return F.scaled_dot_product_attention(queries, *held.unbind(), attn_mask=unseen)

            hidden = block.run(hidden, rows, attend)
        if language.last_norm is not None:
            hidden = language.last_norm(hidden)
        hidden = hidden.view(rows, new, -1)
        return hidden if language.project_out is None else language.project_out(hidden)


class _Vision(NamedTuple):
    """E_θ as it reads raw pixels."""

    patches: Float[Tensor, "pixels width"]  # of a patch's pixels 0 to 255, in the order (y, x, channel)
    added: Float[Tensor, "tokens width"]
    first_norm: Norm
    blocks: list[Block]

    @staticmethod
    @torch.no_grad()
    def of(model: AgentModel) -> "_Vision":
        """The normalisation of pixels becomes part of the patch embedding, what follows from it of the positions."""
        encoder, embeddings = model.vision, model.vision.clip.embeddings
        kernel, positions = embeddings.patch_embedding.weight, embeddings.position_embedding.weight
        scaled = kernel / (255 * encoder.std)
        offset = -(kernel * encoder.mean / encoder.std).sum((1, 2, 3))
        start = torch.cat([embeddings.class_embedding[None], offset.expand(encoder.num_patches, -1)])
        return _Vision(
            scaled.permute(2, 3, 1, 0).flatten(0, 2),
            positions + start,
            Norm.of(encoder.clip.pre_layrnorm),
            [Block.of_clip(layer) for layer in encoder.clip.encoder.layers],
        )


class _Language(NamedTuple):
    """F_φ with its tied table."""

    table: Float[Tensor, "vocabulary width"]
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
            decoder.embed_tokens.weight.detach(),
            positions.weight.detach()[positions.offset :],
            decoder.project_in,
            [Block.of_opt(layer) for layer in decoder.layers],
            None if decoder.final_layer_norm is None else Norm.of(decoder.final_layer_norm),
            decoder.project_out,
        )


def _unseen(places: int) -> Float[Tensor, "places places"]:
    """What is added to the attention of a token at a place (row) to each place: -inf to those behind it."""
    size = 1 << (places - 1).bit_length()  # so that few tables do for every number of places
    return _triangle(size)[:places, :places]


@lru_cache
def _triangle(size: int) -> Float[Tensor, "size size"]:
    return torch.full((size, size), -torch.inf).triu(1)
