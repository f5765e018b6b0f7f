"""Writing an action token by token: each is one that the grammar allows, and F_φ reads it before the next is chosen.

So no sequence that the model can write is an invalid action. What the writer reads on the way is forgotten: the next
step reads the whole action, which may be another's by then (`AgentPolicy.executed`).
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from agentgym.model.agent import AgentModel
from agentgym.model.reading import Reader
from agentgym.spaces import NO_TOKEN, SpaceCodec, State, TextTokenSpace

Choose = Callable[[Tensor], NDArray[np.int64]]


class Writer:
    """Writes actions of one space, of which the model's vocabulary may hold more than the tokens."""

    def __init__(self, model: AgentModel, reader: Reader, codec: SpaceCodec) -> None:
        self._reader, self._codec = reader, codec
        self.longest = codec.longest
        text = model.config.num_text_tokens
        self._first = (
            0 if isinstance(codec.root, TextTokenSpace) else text
        )  # the first token of the vocabulary that may come
        self._below = text - self._first  # tokens count from the first action token
        self._following = lru_cache(maxsize=10_000)(codec.follow)
        self._allowed = lru_cache(maxsize=10_000)(self._mask_of)

    def write(
        self,
        hidden: Float[Tensor, "rows width"],
        cache: Float[Tensor, "layers 2 rows heads places head"],
        lengths: Int[NDArray[np.int64], "rows"],
        choose: Choose,
    ) -> Int[NDArray[np.int64], "rows tokens"]:
        """Each row's next action, NO_TOKEN behind a shorter one, from the hidden states at their latest tokens.

        The cache holds the `lengths` tokens read so far and has room for an action more. `choose` takes the logits of
        all rows, −inf where a token may not stand; a row whose action is whole has one token left to choose from.
        """
        text = self._first + self._below
        states = [self._codec.first] * len(hidden)
        written = np.full((len(hidden), self.longest), NO_TOKEN, np.int64)
        for place in range(self.longest):
            allowed = torch.stack([self._allowed(state) for state in states])
            logits = self._reader.logits(hidden, self._first).masked_fill(~allowed, -torch.inf)
            chosen = choose(logits)[:, 0] - self._below
            unfinished = [bool(self._following(state)) for state in states]
            written[unfinished, place] = chosen[unfinished]
            for row in np.flatnonzero(unfinished):
                states[row] = self._following(states[row])[int(chosen[row])]
            if not any(self._following(state) for state in states):
                break
            new = self._reader.embed(torch.from_numpy(chosen)[:, None] + text)
            hidden = self._reader.read_on(new, cache, lengths + place)[:, -1]
        return written

    def _mask_of(self, state: State) -> Tensor:
        """bool[tokens]: what may come next, and one token where nothing may."""
        mask = torch.zeros(self._below + self._codec.num_tokens, dtype=torch.bool)
        mask[[token + self._below for token in self._codec.follow(state)] or [0]] = True
        return mask
