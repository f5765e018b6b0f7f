"""The agent at one step: a frame to its visual tokens, and F_φ reading on from what it has read before.

The rows of a batch may have different lengths. Token i of a row stands at place i of the cache and has position i, so
that a causal mask by places is right for all of them: what stands beyond a row's end is not seen, and overwritten by
the tokens that come there. (Transformers' own caches have one length for all rows.)
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from agentgym.model.agent import AgentModel
from agentgym.model.blocks import Block


class Reader:
    """Reads frames and tokens with a model's own weights; holds nothing of what it has read."""

    def __init__(self, model: AgentModel) -> None:
        self._model = model
        self._decoder = model.language.decoder
        self._vision = [Block.of_clip(layer) for layer in model.vision.clip.encoder.layers]
        self._language = [Block.of_opt(layer) for layer in self._decoder.layers]

    def encode(self, frames: UInt8[Tensor, "frames height width 3"]) -> Float[Tensor, "frames visual width"]:
        """ℓ(E_θ(V)): the visual tokens of each frame, as `AgentModel.encode` gives them."""
        vision = self._model.vision
        hidden = vision.embed(vision.patchify(frames))
        for block in self._vision:
            hidden = block.run(hidden, F.scaled_dot_product_attention)
        return self._model.project(hidden[:, 1:])

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
        written = (torch.arange(len(places))[:, None], slice(None), places)
        hidden = embeddings if decoder.project_in is None else decoder.project_in(embeddings)
        hidden = hidden + F.embedding(places + decoder.embed_positions.offset, decoder.embed_positions.weight)
        for block, (all_keys, all_values) in zip(self._language, cache, strict=True):

            def attend(
                queries: Tensor, keys: Tensor, values: Tensor, held: tuple[Tensor, Tensor] = (all_keys, all_values)
            ) -> Tensor:
                for known, new in zip(held, (keys, values), strict=True):
                    known[written] = new.transpose(1, 2)
                return F.scaled_dot_product_attention(queries, *held, attn_mask=seen)

            hidden = block.run(hidden, attend)
        if decoder.final_layer_norm is not None:
            hidden = decoder.final_layer_norm(hidden)
        return hidden if decoder.project_out is None else decoder.project_out(hidden)
