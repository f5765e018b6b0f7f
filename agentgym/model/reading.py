"""F_φ, reading on: a few more tokens of each row, with the keys and values of those before them.

The rows of a batch may have different lengths. Token i of a row stands at place i of the cache and has position i, so
that a causal mask by places is right for all of them: what stands beyond a row's end is not seen, and overwritten by
the tokens that come there. Transformers' own caches have one length for all rows.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import OPTModel


def empty_cache(language: OPTModel, rows: int, places: int) -> Float[Tensor, "layers 2 rows heads places head"]:
    """Keys and values of nothing yet. Zeros, since places that are masked still enter the products."""
    config = language.config
    heads = config.num_attention_heads
    return torch.zeros(config.num_hidden_layers, 2, rows, heads, places, config.hidden_size // heads)


def read_on(
    language: OPTModel,
    embeddings: Float[Tensor, "rows new width"],
    cache: Float[Tensor, "layers 2 rows heads places head"],
    lengths: Int[Tensor, "rows"],
) -> Float[Tensor, "rows new width"]:
    """Hidden states of `new` tokens that follow the `lengths` tokens read before; writes their keys and values."""
    decoder = language.decoder
    places = lengths[:, None] + torch.arange(embeddings.shape[1])
    unseen = torch.arange(cache.shape[4]) > places[..., None]
    mask = torch.zeros(unseen.shape).masked_fill_(unseen, -torch.inf)[:, None]
    hidden = embeddings if decoder.project_in is None else decoder.project_in(embeddings)
    hidden = hidden + decoder.embed_positions(None, position_ids=places)
    keys_values = _KeysValues(cache, places)
    for layer in decoder.layers:
        hidden = layer(hidden, attention_mask=mask, past_key_values=keys_values)
    if decoder.final_layer_norm is not None:
        hidden = decoder.final_layer_norm(hidden)
    return hidden if decoder.project_out is None else decoder.project_out(hidden)


class _KeysValues:
    """What an OPT layer asks of a cache: write the new keys and values, give back all of them."""

    def __init__(self, cache: Tensor, places: Tensor) -> None:
        self._cache = cache
        self._rows = torch.arange(len(places))[:, None]
        self._places = places

    def update(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        for kind, new in enumerate((keys, values)):
            self._cache[layer, kind][self._rows, :, self._places] = new.transpose(1, 2)
        return self._cache[layer, 0], self._cache[layer, 1]
