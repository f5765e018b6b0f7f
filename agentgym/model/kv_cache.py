"""KVCache: keys and values of the tokens that the language model has read, so that each is read once.

The cache is one tensor on the model's device, allocated once for as many tokens as an episode's window may have. Three
contexts (see `agentgym.model.transformer`) write into it: `Prefill` reads rows from their beginning, `DecodeStep` reads
a few tokens more in every row, whatever the rows' lengths, and `ExportedCache` does that for one row without a fixed
size, as the exported graph does. What a row holds beyond its length is never seen.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from agentgym.model.language import LanguageModel
from agentgym.model.transformer import Heads


class KVCache:
    """Room for `places` tokens in each row. The caller knows how many of each row are valid."""

    def __init__(self, keys_values: Float[Tensor, "layers 2 rows heads places head"]) -> None:
        """Of zeros, since places that are masked still enter the products."""
        self.keys_values = keys_values
        self.turn = 0  # how often it was written, by which the latest reader is known

    @staticmethod
    def empty(language: LanguageModel, rows: int, places: int) -> "KVCache":
        """One for that model, on its device and in its precision."""
        sizes, table = language.transformer.sizes, language.embeddings.weight
        shape = sizes.layers, 2, rows, sizes.heads, places, sizes.width // sizes.heads
        return KVCache(torch.zeros(shape, dtype=table.dtype, device=table.device))

    @property
    def places(self) -> int:
        """How many tokens a row has room for."""
        return self.keys_values.shape[4]

    def select(self, rows: NDArray[np.int64]) -> "KVCache":
        """A cache of those rows (int64[K]), in that order."""
        return KVCache(self.keys_values[:, :, torch.from_numpy(rows).to(self.keys_values.device)])

    @staticmethod
    def join(caches: "Sequence[KVCache]") -> "KVCache":
        """A cache of all their rows, in that order, with room for what the largest holds."""
        places = max(cache.places for cache in caches)
        padded = [F.pad(cache.keys_values, (0, 0, 0, places - cache.places)) for cache in caches]
        return KVCache(torch.cat(padded, dim=2))


class Prefill:
    """Rows that are read from their beginning; their tokens attend only to each other."""

    def __init__(self, cache: KVCache, rows: NDArray[np.int64]) -> None:
        whole = len(rows) == cache.keys_values.shape[2]
        self._rows = None if whole else torch.from_numpy(rows).to(cache.keys_values.device)
        self._held = cache.keys_values

    def positions(self, new: int) -> slice:
        """The indices of the `new` tokens in the table of positions."""
        return slice(0, new)

    def attend(self, layer: int, queries: Heads, keys: Heads, values: Heads) -> Heads:
        """See `agentgym.model.transformer.Context`."""
        for held, new in zip(self._held[layer].unbind(), (keys, values), strict=True):
            if self._rows is None:
                held[:, :, : new.shape[2]] = new
            else:
                held[self._rows, :, : new.shape[2]] = new.to(held.dtype)
        return F.scaled_dot_product_attention(queries, keys, values, is_causal=True)


class DecodeStep:
    """All rows read `new` tokens more, after the first `lengths` of each."""

    def __init__(self, cache: KVCache, lengths: Int[NDArray[np.int64], "rows"], new: int) -> None:
        held, first = cache.keys_values, int(lengths[0])
        self._first, self._end = first, int(lengths.max()) + new
        self._places: Tensor | None = None
        # Views of all layers at once, keys and values in turns: made one by one they cost more than what they hold.
        self._seen = held.narrow(4, 0, self._end).flatten(0, 1).unbind()
        unseen = _unseen(cache.places, held.device, held.dtype)[:, : self._end]
        if len(lengths) == 1 or (lengths == first).all():  # rows of one length: slices, which are quicker
            self._written = held.narrow(4, first, new).flatten(0, 1).unbind()
            self._unseen = unseen[first : first + new] if new > 1 else None
        else:
            self._places = torch.from_numpy(lengths[:, None] + np.arange(new)).to(held.device)
            self._unseen = unseen[self._places][:, None]
            self._rows = torch.arange(len(lengths), device=held.device)[:, None]

    def positions(self, new: int) -> "slice | Tensor":
        """See `Prefill`."""
        return slice(self._first, self._end) if self._places is None else self._places

    def attend(self, layer: int, queries: Heads, keys: Heads, values: Heads) -> Heads:
        """See `agentgym.model.transformer.Context`."""
        places = 2 * layer, 2 * layer + 1
        for place, new in zip(places, (keys, values), strict=True):
            if self._places is None:
                self._written[place].copy_(new)
            else:
                self._seen[place][self._rows, :, self._places] = new.transpose(1, 2)
        held_keys, held_values = (self._seen[place] for place in places)
        return F.scaled_dot_product_attention(queries, held_keys, held_values, attn_mask=self._unseen)


class ExportedCache:
    """One row as a graph reads it: `keys_values` of what it has read come in, those of all tokens go out."""

    def __init__(self, keys_values: Float[Tensor, "layers 2 heads read head"], places: Int[Tensor, "all"]) -> None:
        self._known, self.layers = keys_values, list[Tensor]()
        self._new = places[keys_values.shape[3] :]
        self._seen = places <= self._new[:, None]

    def positions(self, new: int) -> Tensor:
        """See `Prefill`."""
        return self._new

    def attend(self, layer: int, queries: Heads, keys: Heads, values: Heads) -> Heads:
        """See `agentgym.model.transformer.Context`."""
        grown = torch.cat([self._known[layer], torch.cat([keys, values])], dim=2)
        self.layers.append(grown)
        return F.scaled_dot_product_attention(queries, grown[:1], grown[1:], attn_mask=self._seen)


@lru_cache(maxsize=8)
def _unseen(places: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "places places"]:
    """Added to the attention of each place to each: −inf to those that come after it."""
    return torch.full((places, places), -torch.inf, device=device, dtype=dtype).triu(1)
