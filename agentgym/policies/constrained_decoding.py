"""Writing an action token by token: each is one that the grammar allows, and the model reads it before the next.

So no sequence that the model can write is an invalid action. What is read on the way is forgotten: the next step reads
the whole action, which may be another action by then (`AgentPolicy.executed`).
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from agentgym.model.agent import AgentModel
from agentgym.model.kv_cache import DecodeStep, KVCache
from agentgym.spaces import NO_TOKEN, SpaceCodec, State, TextTokenSpace

Choose = Callable[[Tensor], NDArray[np.int64]]
REMEMBERED = 10_000  # states of the grammar


class ConstrainedDecoder:
    """Writes actions of one space, of which the model's vocabulary may hold more than the tokens."""

    def __init__(self, model: AgentModel, codec: SpaceCodec) -> None:
        self._language, self._codec = model.language_model, codec
        self.longest = codec.longest
        text = model.config.num_text_tokens
        self._first = (
            0 if isinstance(codec.root, TextTokenSpace) else text
        )  # the first token of the vocabulary that may come
        self._below = text - self._first  # tokens count from the first action token
        self._following: dict[State, dict[int, State]] = {}
        self._allowed: dict[State, Tensor] = {}

    def decode(
        self,
        hidden: Float[Tensor, "rows width"],
        cache: KVCache,
        lengths: Int[NDArray[np.int64], "rows"],
        choose: Choose,
    ) -> Int[NDArray[np.int64], "rows tokens"]:
        """Each row's next action, NO_TOKEN after a shorter one, from the hidden states at their latest tokens.

        The cache holds the `lengths` tokens read so far and has room for an action more. `choose` takes the logits of
        all rows, −inf where a token is not allowed; a row whose action is whole has one token left to choose from.
        """
        language, text = self._language, self._first + self._below
        states = [self._codec.first] * len(hidden)
        written = np.full((len(hidden), self.longest), NO_TOKEN, np.int64)
        for place in range(self.longest):
            allowed = torch.stack([self._mask(state) for state in states]).to(hidden.device)
            logits = language.logits(hidden, self._first).masked_fill(~allowed, -torch.inf)
            chosen = choose(logits) - self._below
            unfinished = [bool(self._follow(state)) for state in states]
            written[unfinished, place] = chosen[unfinished]
            for row in np.flatnonzero(unfinished):
                states[row] = self._follow(states[row])[int(chosen[row])]
            if not any(self._follow(state) for state in states):
                break
            new = language.embeddings(torch.from_numpy(chosen + text)[:, None].to(hidden.device))
            hidden = language(new, DecodeStep(cache, lengths + place, 1))[:, -1]
        return written

    def _follow(self, state: State) -> dict[int, State]:
        """What may come next, and the state after it."""
        if state not in self._following:
            self._following = {} if len(self._following) == REMEMBERED else self._following
            self._following[state] = self._codec.follow(state)
        return self._following[state]

    def _mask(self, state: State) -> Tensor:
        """bool[tokens]: what may come next, and one token where nothing may."""
        if state not in self._allowed:
            self._allowed = {} if len(self._allowed) == REMEMBERED else self._allowed
            mask = torch.zeros(self._below + self._codec.num_tokens, dtype=torch.bool)
            mask[[token + self._below for token in self._follow(state)] or [0]] = True
            self._allowed[state] = mask
        return self._allowed[state]
