"""SpaceCodec: actions to tokens and back, and what may follow a prefix."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agentgym.errors import UserError
from agentgym.spaces.conversion import Binning, Names, check_size, node_of
from agentgym.spaces.grammar import Grammar, State
from agentgym.spaces.nodes import (
    END,
    NEXT,
    START,
    Buttons,
    Leaf,
    Node,
    TextTokenSpace,
    choose,
    described,
    join,
    leaves_of,
    most_choices,
    own_tokens,
    split,
    to_json,
    value_of,
)
from agentgym.spaces.numbers import Integers, Reals, Scale
from agentgym.spaces.stored import read_node

if TYPE_CHECKING:
    import gymnasium

NO_TOKEN = -(2**62)  # in a series, after an action that has fewer tokens than others
LONGEST_TEXT = 48  # text tokens; BabyAI's longest missions have fewer


@dataclass(frozen=True)
class SpaceCodec:
    """Encodes actions of a space as token ids, decodes them, and says at every place which ids may follow.

    Ids count from 0 in `tokens`, which may name more tokens than the space needs (see `within`).
    """

    root: Node
    tokens: tuple[str, ...]

    @staticmethod
    def of(
        space: "gymnasium.Space[Any]",
        names: Names = None,
        *,
        bins: int = 256,
        limits: tuple[float, float] | None = None,
        scale: Scale = "uniform",
    ) -> "SpaceCodec":
        """The codec of a space. Raises UserError for a space that has no tokens.

        `names` follows the space: a name for every number of Discrete, for every dimension of Box and every button of
        MultiBinary, a list of such for every slot of MultiDiscrete and every part of Tuple, a mapping for Dict; None
        anywhere for numbers. `bins`, `limits` and `scale` are of every Box; limits narrow its bounds, and actions
        beyond them are refused.
        """
        check_size(space, bins)
        root = node_of(space, names, (), Binning(bins, limits, scale))
        return SpaceCodec(root, tuple(own_tokens(root)))

    @staticmethod
    def discrete(names: Sequence[str], start: int = 0) -> "SpaceCodec":
        """The codec of `Discrete(len(names), start=start)`."""
        root = Integers((tuple(names),), (start,), None, "int64")
        return SpaceCodec(root, tuple(own_tokens(root)))

    @staticmethod
    def words(size: int, longest: int = LONGEST_TEXT) -> "SpaceCodec":
        """The codec of texts over a vocabulary of `size` text tokens; a text is the ids of its tokens."""
        root = TextTokenSpace(size, longest)
        return SpaceCodec(root, tuple(own_tokens(root)))

    def within(self, tokens: Iterable[str]) -> "SpaceCodec":
        """The same codec with the ids of a larger vocabulary. Raises ValueError when that lacks a token."""
        shared = tuple(tokens)
        missing = set(own_tokens(self.root)) - set(shared)
        if missing:
            raise ValueError(f"the vocabulary has no token {min(missing)}")
        return SpaceCodec(self.root, shared)

    @property
    def num_tokens(self) -> int:
        """How many action tokens the vocabulary grows by."""
        return len(self.tokens)

    def discrete_root(self, who: str) -> Integers:
        """The numbers of a Discrete space. Raises UserError for other spaces, saying who takes one number an action."""
        if not isinstance(self.root, Integers) or self.root.shape is not None:
            raise UserError(f"{who} takes Discrete actions, one token each; these are of another space: {self}")
        return self.root

    def __str__(self) -> str:
        """For people: the names of a Discrete space, else the kinds of the parts."""
        if isinstance(self.root, Integers) and self.root.shape is None:
            return ", ".join(self.root.names[0])
        return " + ".join(described(leaf) for leaf in self._leaves) or "nothing"

    @cached_property
    def length(self) -> int | None:
        """|A_t| where all actions have as many tokens, None where the length varies."""
        if self._grammar.varies:
            return None
        return sum(len(leaf.slots) for leaf in self._leaves if isinstance(leaf, Integers | Reals))

    @cached_property
    def longest(self) -> int:
        """The most tokens that an action can have."""
        if self.length is not None:
            return self.length
        within = sum(most_choices(leaf) for leaf in self._leaves)
        separators = sum(
            not self._grammar.is_fixed(i) and not self._grammar.ends_with(i) for i in range(len(self._leaves))
        )
        return len((START, END)) + within + separators

    @property
    def is_free(self) -> bool:
        """Whether an action is one token, and any token of the vocabulary is one: nothing is left to the grammar."""
        return self.length == 1 and len(self.allowed()) == len(self.tokens)

    def encode(self, action: Any) -> list[int]:
        """The tokens of one action. Raises ValueError for an action outside the space."""
        ids = []
        for place, (leaf, value) in enumerate(zip(self._leaves, split(self.root, action), strict=True)):
            slots = self._grammar.choices[place]
            ids += [slots[min(i, len(slots) - 1)][choice] for i, choice in enumerate(choose(leaf, value))]
            if not self._grammar.is_fixed(place) and not self._grammar.ends_with(place):
                ids.append(self._grammar.ids[NEXT])
        return [self._grammar.ids[START], *ids, self._grammar.ids[END]] if self._grammar.varies else ids

    def decode(self, ids: Sequence[int]) -> Any:
        """The action of its tokens. Raises ValueError when they are not one."""
        chosen: list[list[int]] = [[] for _ in self._leaves]
        state = self.first
        for i, token in enumerate(ids):
            following = self.follow(state)
            if int(token) not in following:
                raise ValueError(f"token {token} is not allowed at place {i} of {list(ids)}")
            if 0 <= state.leaf < len(self._leaves) and token != self._grammar.closes(state.leaf):
                slots = self._grammar.choices[state.leaf]
                chosen[state.leaf].append(slots[min(state.taken, len(slots) - 1)].index(int(token)))
            state = following[int(token)]
        if self.follow(state):
            raise ValueError(f"the action of tokens {list(ids)} is not whole")
        return join(self.root, iter([value_of(leaf, c) for leaf, c in zip(self._leaves, chosen, strict=True)]))

    def allowed(self, prefix: Sequence[int] = ()) -> list[int]:
        """The ids that may follow a prefix, none when the action is whole. Raises ValueError for a wrong prefix."""
        state = self.first
        for i, token in enumerate(prefix):
            following = self.follow(state)
            if int(token) not in following:
                raise ValueError(f"token {token} is not allowed at place {i} of {list(prefix)}")
            state = following[int(token)]
        return list(self.follow(state))

    def encode_series(self, actions: Any) -> NDArray[np.int64]:
        """A series of actions as tokens [T, longest of them]. Raises ValueError for an action outside the space."""
        if self._makes_arrays:
            return self.encode_array(actions)
        rows = [self.encode(action) for action in actions]
        series = np.full((len(rows), max(map(len, rows), default=0)), NO_TOKEN, np.int64)
        for row, ids in zip(series, rows, strict=True):
            row[: len(ids)] = ids
        return series

    def decode_series(self, ids: NDArray[np.int64]) -> Any:
        """The actions of tokens [T, ...]: an array where the space has arrays, else a tuple. Raises ValueError."""
        if self._makes_arrays:
            return self.decode_array(ids)
        actions = tuple(self.decode(row[row != NO_TOKEN]) for row in ids)
        return np.stack(actions) if actions and isinstance(self.root, Buttons) else actions

    def encode_array(self, actions: Any) -> NDArray[np.int64]:
        """Actions [..., *shape] of a space of numbers as tokens [..., length]; a Dict or Tuple holds such arrays."""
        assert self._leaves, "an action without parts makes no array"
        assert self.length is not None, "actions of varying length make no array"
        parts = []
        for place, (leaf, values) in enumerate(zip(self._leaves, split(self.root, actions), strict=True)):
            assert isinstance(leaf, Integers | Reals)
            ids = leaf.indices(values)
            for i, options in enumerate(self._grammar.options[place]):
                ids[..., i] = options[ids[..., i]]
            parts.append(ids)
        return np.concatenate(parts, axis=-1)

    def decode_array(self, ids: NDArray[np.int64]) -> Any:
        """The actions of tokens [..., length]. Raises ValueError for tokens that are not an action."""
        assert self.length is not None, "actions of varying length make no array"
        values, column = [], 0
        for place, leaf in enumerate(self._leaves):
            assert isinstance(leaf, Integers | Reals)
            indices = ids[..., column : column + len(leaf.slots)].copy()
            for i, options in enumerate(self._grammar.options[place]):
                matches = indices[..., i, None] == options
                indices[..., i] = found = matches.argmax(-1)
                if not np.array_equal(options[found], ids[..., column + i]):
                    raise ValueError(f"column {column + i} has tokens that are not allowed there")
            values.append(leaf.values(indices))
            column += len(leaf.slots)
        return join(self.root, iter(values))

    @staticmethod
    def of_root(root: Mapping[str, Any]) -> "SpaceCodec":
        """The codec of `to_json`'s root, with the tokens of its own. Raises ValueError, KeyError or TypeError."""
        node = read_node(root)
        return SpaceCodec(node, tuple(own_tokens(node)))

    def to_json(self) -> dict[str, Any]:
        """Plain values, of which `from_json` makes the same codec."""
        return {"root": to_json(self.root), "tokens": list(self.tokens)}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "SpaceCodec":
        """The codec of `to_json`'s values. Raises ValueError, KeyError or TypeError for others."""
        node, tokens = read_node(values["root"]), tuple(values["tokens"])
        if not all(isinstance(token, str) for token in tokens) or not set(own_tokens(node)) <= set(tokens):
            raise ValueError("the tokens are not those of the space of actions")
        return SpaceCodec(node, tokens)

    @cached_property
    def _leaves(self) -> tuple[Leaf, ...]:
        return tuple(leaves_of(self.root))

    @cached_property
    def _makes_arrays(self) -> bool:
        return isinstance(self.root, Integers | Reals)

    @cached_property
    def _grammar(self) -> Grammar:
        return Grammar(self._leaves, self.tokens)

    @property
    def first(self) -> State:
        """The state before the first token."""
        return self._grammar.first

    def follow(self, state: State) -> dict[int, State]:
        """The ids that may come next, and where each leads; none when the action is whole."""
        return self._grammar.follow(state)
