"""The agent at one step: a frame to its visual tokens, and F_φ reading on from what it has read before.

The rows of a batch may have different lengths. Token i of a row stands at place i of the cache and has position i, so
that a causal mask by places is right for all of them: what stands beyond a row's end is not seen, and overwritten by
the tokens that come there. (Transformers' own caches have one length for all rows.)
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from agentgym.model.agent import AgentModel
from agentgym.model.blocks import Block, Joined, norm
from agentgym.model.grounding import Words


class Reader:
    """Reads frames and tokens with a model's own weights; holds nothing of what it has read."""

    def __init__(self, model: AgentModel) -> None:
        self._model = model
        self._decoder = model.language.decoder
        self._vision = [Block.of_clip(layer) for layer in model.vision.clip.encoder.layers]
        self._first = Joined()
        self._language = [Block.of_opt(layer) for layer in self._decoder.layers]

    def encode(
        self, frames: UInt8[Tensor, "frames height width 3"], *, time: int = 1, words: Words | None = None
    ) -> Float[Tensor, "frames visual width"]:
        """ℓ(E_θ(V)): the visual tokens of each frame, as `AgentModel.encode` gives them."""
        vision = self._model.vision
        side = vision.side * vision.patch_size
        if torch.is_inference_mode_enabled() and frames.shape[1:3] == (side, side):
            hidden = self._embed(frames)
        else:
            hidden = vision.embed(vision.patchify(frames))
        for number, block in enumerate(self._vision):
            hidden = block.run(vision.look_up(number, hidden, words), F.scaled_dot_product_attention)
            hidden = vision.look_back(number, hidden, time)
        return self._model.project(hidden[:, 1:])

    def _embed(self, frames: UInt8[Tensor, "frames side side 3"]) -> Float[Tensor, "frames tokens width"]:
        """What E_θ's layers take. The normalisation of pixels is part of the patch embedding here."""
        vision, embeddings = self._model.vision, self._model.vision.clip.embeddings
        positions = embeddings.position_embedding.weight
        weight, start = self._first.of(
            [embeddings.patch_embedding.weight, embeddings.class_embedding, positions], self._fold
        )
        size = vision.patch_size
        grid = frames.unflatten(2, (vision.side, size)).unflatten(1, (vision.side, size))
        patches = grid.transpose(2, 3).reshape(len(frames), vision.num_patches, -1).float()
        hidden = torch.cat([start[:1].expand(len(frames), 1, -1), F.linear(patches, weight) + start[1:]], dim=1)
        return norm(vision.clip.pre_layrnorm, hidden)

    def _fold(self, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The patch embedding of raw pixels (y, x, channel), and what is added to each token."""
        kernel, start, positions = parameters
        vision = self._model.vision
        scaled = kernel / (255 * vision.std)
        offset = -(kernel * vision.mean / vision.std).sum((1, 2, 3))
        added = positions + torch.cat([start[None], offset.expand(len(positions) - 1, -1)])
        return scaled.permute(0, 2, 3, 1).flatten(1), added

    def empty_cache(self, rows: int, places: int) -> Float[Tensor, "layers 2 rows heads places head"]:
        """Keys and values of nothing yet. Zeros, since places that are masked still enter the products."""
        config = self._model.language.config
        heads = config.num_attention_heads
        return torch.zeros(config.num_hidden_layers, 2, rows, heads, places, config.hidden_size // heads)

    def read_on(
        self,
        embeddings: Float[Tensor, "rows new width"],
        cache: Float[Tensor, "layers 2 rows heads places head"],
        lengths: Int[Tensor, "rows"],
    ) -> Float[Tensor, "rows new width"]:
        """Hidden states of `new` tokens that follow the `lengths` tokens read before; writes their keys and values."""
        decoder = self._decoder
        places = lengths[:, None] + torch.arange(embeddings.shape[1])
        seen = (torch.arange(cache.shape[4]) <= places[..., None])[:, None]
        first, end = int(lengths.min()), int(lengths.max()) + embeddings.shape[1]
        level = end - first == embeddings.shape[1]  # rows of one length, as one row is: a slice is quicker to write
        written = (torch.arange(len(places))[:, None], slice(None), places)
        hidden = embeddings if decoder.project_in is None else decoder.project_in(embeddings)
        hidden = hidden + F.embedding(places + decoder.embed_positions.offset, decoder.embed_positions.weight)
        for block, (all_keys, all_values) in zip(self._language, cache, strict=True):

            def attend(
                queries: Tensor, keys: Tensor, values: Tensor, held: tuple[Tensor, Tensor] = (all_keys, all_values)
            ) -> Tensor:
                for known, new in zip(held, (keys, values), strict=True):
                    if level:
                        known[:, :, first:end] = new
                    else:
                        known[written] = new.transpose(1, 2)
                return F.scaled_dot_product_attention(queries, *held, attn_mask=seen)

            hidden = block.run(hidden, attend)
        if decoder.final_layer_norm is not None:
            hidden = norm(decoder.final_layer_norm, hidden)
        return hidden if decoder.project_out is None else decoder.project_out(hidden)
