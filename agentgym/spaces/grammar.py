"""The grammar of an action's tokens: what is allowed at every place, and where it leads."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentgym.spaces.nodes import END, NEXT, START, Buttons, Characters, Leaf, TextTokenSpace, slots_of, token_of
from agentgym.spaces.numbers import Integers, Reals


class State(NamedTuple):
    """How far an action is written: in which leaf, how many tokens there, and the last choice there."""

    leaf: int  # −1: the start token is due; the number of leaves: the end token is due; one more: whole
    taken: int = 0
    last: int = -1


@dataclass(frozen=True)
class Grammar:
    """Of the actions of these leaves, with the ids of these tokens."""

    leaves: tuple[Leaf, ...]
    tokens: tuple[str, ...]

    @cached_property
    def varies(self) -> bool:
        """Whether actions differ in length."""
        return not all(isinstance(leaf, Integers | Reals) for leaf in self.leaves)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Of the tokens."""
        return {token: i for i, token in enumerate(self.tokens)}

    @cached_property
    def options(self) -> list[list[NDArray[np.int64]]]:
        """`choices` as arrays int64[choices]."""
        return [[np.array(options, np.int64) for options in slots] for slots in self.choices]

    @cached_property
    def choices(self) -> list[list[list[int]]]:
        """The ids that each slot of each leaf may take; buttons and characters have one slot, entered repeatedly."""
        return [
            [leaf.ids]
            if isinstance(leaf, TextTokenSpace)
            else [[self.ids[token_of(name)] for name in s] for s in slots_of(leaf)]
            for leaf in self.leaves
        ]

    @cached_property
    def first(self) -> State:
        """The state before the first token."""
        return State(-1) if self.varies else self._enter(0)

    def is_fixed(self, place: int) -> bool:
        """Whether that leaf always has as many tokens."""
        return isinstance(self.leaves[place], Integers | Reals)

    def ends_with(self, place: int) -> bool:
        """Whether nothing follows this leaf but the end token."""
        return all(not slots_of(leaf) for leaf in self.leaves[place + 1 :])

    def closes(self, place: int) -> int | None:
        """The token that ends a leaf of varying length."""
        if self.is_fixed(place):
            return None
        return self.ids[END] if self.ends_with(place) else self.ids[NEXT]

    def follow(self, state: State) -> dict[int, State]:
        """The ids that may come next, and where each leads; none when the action is whole."""
        place = state.leaf
        if place == -1:
            return {self.ids[START]: self._enter(0)}
        if place == len(self.leaves):
            return {self.ids[END]: State(place + 1)}
        if place > len(self.leaves):
            return {}
        leaf, choices = self.leaves[place], self.choices[place]
        if isinstance(leaf, Integers | Reals):
            last = state.taken + 1 == len(choices)
            after = self._enter(place + 1) if last else State(place, state.taken + 1)
            return dict.fromkeys(choices[state.taken], after)
        return self._follow_varying(state, leaf)

    def _follow_varying(self, state: State, leaf: Buttons | Characters | TextTokenSpace) -> dict[int, State]:
        place, choices = state.leaf, self.choices[state.leaf]
        following = {}
        closing = self.closes(place)
        assert closing is not None
        if isinstance(leaf, Buttons):
            following = {token: State(place, 0, i) for i, token in enumerate(choices[0]) if i > state.last}
        elif state.taken < leaf.longest:
            following = dict.fromkeys(choices[0], State(place, state.taken + 1))
        if isinstance(leaf, Buttons) or state.taken >= leaf.shortest:
            whole = State(len(self.leaves) + 1)
            following[closing] = whole if self.ends_with(place) else self._enter(place + 1)
        return following

    def _enter(self, place: int) -> State:
        """The state at the start of that leaf, or of the next one that has tokens."""
        while place < len(self.leaves) and not slots_of(self.leaves[place]):
            place += 1
        if place == len(self.leaves) and not self.varies:
            return State(place + 1)
        return State(place)
