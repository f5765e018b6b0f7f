"""SpaceCodec: any Gymnasium action space <-> action tokens, with the grammar of what may follow.

    Discrete, MultiDiscrete     one token a number              <action:pickup>  <action:gripper=2>
    Box                         one token a dimension: its bin  <action:camera.0=57>
    MultiBinary                 the pressed buttons, in order   <action:attack> <action:jump>
    Text                        one token a character           <action:'a'>
    Words                       a text of the tokenizer's own tokens, no space of Gymnasium's
    Dict, Tuple                 their parts, one after another

Where the length varies the action stands between a start and an end token, as in the paper (arXiv 2402.05929):

    <action_start> <action:attack> <action_next> <action:camera.0=57> <action:camera.1=50> <action_end>

and `<action_next>` ends a part of variable length that others follow. Names are shared wherever they are equal, in one
space and between environments: which part a token speaks of is settled by its place. A codec knows the space, neither
the environment nor the model.

A series of actions is an array of tokens, NO_TOKEN behind the last one of a shorter action. Data sets name their space
by its codec (`agentgym.action_series` has the values), and so do the checkpoints of what is trained on them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from agentgym.errors import UserError

if TYPE_CHECKING:
    import gymnasium

START, END, NEXT = "<action_start>", "<action_end>", "<action_next>"
NO_TOKEN = -(2**62)  # in a series, behind an action that has fewer tokens than others
SPECIAL_TOKENS = 4  # of every text vocabulary, the first ones
LONGEST_TEXT = 48  # text tokens; BabyAI's longest missions have fewer
MU = 100.0  # of the mu-law, as in Gato (Reed et al. 2022)
WIDEST = 2.0**32  # of integer limits, whose bins are computed in float64

Names = Sequence[Any] | Mapping[str, Any] | None
Scale = Literal["uniform", "mu-law"]


@dataclass(frozen=True)
class Integers:
    """Discrete (shape None) or MultiDiscrete: slot i is one of the numbers starts[i], starts[i] + 1, ..."""

    names: tuple[tuple[str, ...], ...]  # the name of every number of every slot
    starts: tuple[int, ...]
    shape: tuple[int, ...] | None
    dtype: str

    @property
    def slots(self) -> tuple[tuple[str, ...], ...]:
        """The token names of every slot."""
        return self.names

    def indices(self, values: Any) -> NDArray[np.int64]:
        """Values [..., *shape] as choices [..., slots]. Raises ValueError for a value outside the space."""
        flat = _flatten_whole(values, self.shape or ()) - np.array(self.starts, np.int64)
        _refuse_outside(flat, np.array([len(names) for names in self.names]), values)
        return flat

    def values(self, indices: NDArray[np.int64]) -> Any:
        """The inverse of `indices`."""
        values = (indices + np.array(self.starts, np.int64)).astype(self.dtype)
        return values.reshape((*indices.shape[:-1], *(self.shape or ())))[()]


@dataclass(frozen=True)
class Reals:
    """Box: slot i is one of `bins[i]` bins between lows[i] and highs[i], its value the middle of the bin."""

    names: tuple[str, ...]
    bins: tuple[int, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    scale: Scale
    shape: tuple[int, ...]
    dtype: str

    @property
    def slots(self) -> tuple[tuple[str, ...], ...]:
        """The token names of every slot."""
        return tuple(
            tuple(f"{name}={i}" for i in range(bins)) for name, bins in zip(self.names, self.bins, strict=True)
        )

    def indices(self, values: Any) -> NDArray[np.int64]:
        """Values [..., *shape] as bins [..., slots]. Raises ValueError for a value beyond the limits."""
        flat = _flatten(values, self.shape).astype(np.float64)
        lows, highs = np.array(self.lows), np.array(self.highs)
        if not bool(((flat >= lows) & (flat <= highs)).all()):
            raise ValueError(f"action {values} is not within its limits [{lows}, {highs}]")
        bins = np.array(self.bins)
        return np.minimum((self.position(flat) * bins).astype(np.int64), bins - 1)

    def values(self, indices: NDArray[np.int64]) -> Any:
        """The middles of bins [..., slots], as the space's own type."""
        position = (indices + 0.5) / np.array(self.bins)
        if self.scale == "mu-law":
            companded = 2 * position - 1
            position = (np.sign(companded) * np.expm1(np.abs(companded) * math.log1p(MU)) / MU + 1) / 2
        lows, highs = np.array(self.lows), np.array(self.highs)
        values = lows + position * (highs - lows + self._whole)
        if self._whole:
            values = np.floor(values)
        return np.clip(values, lows, highs).astype(self.dtype).reshape((*indices.shape[:-1], *self.shape))

    def position(self, flat: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where values [..., slots] stand in [0, 1] between their limits, on the scale whose bins are equally wide."""
        lows, highs = np.array(self.lows), np.array(self.highs)
        width = highs - lows + self._whole
        position = (flat - lows + 0.5 * self._whole) / np.where(width > 0, width, 1)
        if self.scale == "mu-law":
            centred = 2 * position - 1
            position = (np.sign(centred) * np.log1p(MU * np.abs(centred)) / math.log1p(MU) + 1) / 2
        return position

    @property
    def _whole(self) -> int:
        """1 for whole numbers, each of which takes up one unit, 0 for reals."""
        return int(np.issubdtype(np.dtype(self.dtype), np.integer))


@dataclass(frozen=True)
class Buttons:
    """MultiBinary: the names of the pressed ones, in order."""

    names: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Characters:
    """Text of at least `shortest` and at most `longest` of the characters."""

    characters: tuple[str, ...]
    shortest: int
    longest: int

    @property
    def names(self) -> tuple[str, ...]:
        """The token names of the characters."""
        return tuple(f"{character!r}" for character in self.characters)


@dataclass(frozen=True)
class Words:
    """One to `longest` tokens of a text vocabulary of `size`, as ids of the tokenizer; its special tokens are none.

    In a series they count from the first action token, before which they stand: they are negative.
    """

    size: int
    longest: int
    shortest: int = 1

    @property
    def ids(self) -> list[int]:
        """The tokens that words are of, as the series has them."""
        return list(range(SPECIAL_TOKENS - self.size, 0))


@dataclass(frozen=True)
class Parts:
    """Dict (with keys) or Tuple (without)."""

    keys: tuple[str, ...] | None
    parts: tuple["Node", ...]


Leaf = Integers | Reals | Buttons | Characters | Words
Node = Leaf | Parts
KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Integers, Reals, Buttons, Characters, Words, Parts)}


class State(NamedTuple):
    """How far an action has come: in which leaf, how many tokens there, and the last choice there."""

    leaf: int  # −1: the start token is due; the number of leaves: the end token is due; one more: whole
    taken: int = 0
    last: int = -1


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
        root = _node(space, names, (), Binning(bins, limits, scale))
        return SpaceCodec(root, tuple(_own_tokens(root)))

    @staticmethod
    def discrete(names: Sequence[str], start: int = 0) -> "SpaceCodec":
        """The codec of `Discrete(len(names), start=start)`."""
        root = Integers((tuple(names),), (start,), None, "int64")
        return SpaceCodec(root, tuple(_own_tokens(root)))

    @staticmethod
    def words(size: int, longest: int = LONGEST_TEXT) -> "SpaceCodec":
        """The codec of texts over a vocabulary of `size` text tokens; a text is the ids of its tokens."""
        root = Words(size, longest)
        return SpaceCodec(root, tuple(_own_tokens(root)))

    def within(self, tokens: Iterable[str]) -> "SpaceCodec":
        """The same codec with the ids of a larger vocabulary. Raises ValueError when that lacks a token."""
        shared = tuple(tokens)
        missing = set(_own_tokens(self.root)) - set(shared)
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
        return " + ".join(_described(leaf) for leaf in self._leaves) or "nothing"

    @cached_property
    def length(self) -> int | None:
        """|A_t| where all actions have as many tokens, None where the length varies."""
        if self._variable:
            return None
        return sum(len(leaf.slots) for leaf in self._leaves if isinstance(leaf, Integers | Reals))

    @cached_property
    def longest(self) -> int:
        """The most tokens that an action can have."""
        if self.length is not None:
            return self.length
        within = sum(_most_choices(leaf) for leaf in self._leaves)
        separators = sum(not self._fixed(i) and not self._ends_with(i) for i in range(len(self._leaves)))
        return len((START, END)) + within + separators

    @property
    def is_free(self) -> bool:
        """Whether an action is one token, and any token of the vocabulary is one: nothing is left to the grammar."""
        return self.length == 1 and len(self.allowed()) == len(self.tokens)

    def encode(self, action: Any) -> list[int]:
        """The tokens of one action. Raises ValueError for an action outside the space."""
        ids = []
        for place, (leaf, value) in enumerate(zip(self._leaves, _split(self.root, action), strict=True)):
            slots = self._choices[place]
            ids += [slots[min(i, len(slots) - 1)][choice] for i, choice in enumerate(_choose(leaf, value))]
            if not self._fixed(place) and not self._ends_with(place):
                ids.append(self._id[NEXT])
        return [self._id[START], *ids, self._id[END]] if self._variable else ids

    def decode(self, ids: Sequence[int]) -> Any:
        """The action of its tokens. Raises ValueError when they are none."""
        chosen: list[list[int]] = [[] for _ in self._leaves]
        state = self.first
        for i, token in enumerate(ids):
            following = self.follow(state)
            if int(token) not in following:
                raise ValueError(f"token {token} may not stand at place {i} of {list(ids)}")
            if 0 <= state.leaf < len(self._leaves) and token != self._closes(state.leaf):
                slots = self._choices[state.leaf]
                chosen[state.leaf].append(slots[min(state.taken, len(slots) - 1)].index(int(token)))
            state = following[int(token)]
        if self.follow(state):
            raise ValueError(f"the action of tokens {list(ids)} is not whole")
        return _join(self.root, iter([_value(leaf, c) for leaf, c in zip(self._leaves, chosen, strict=True)]))

    def allowed(self, prefix: Sequence[int] = ()) -> list[int]:
        """The ids that may follow a prefix, none when the action is whole. Raises ValueError for a wrong prefix."""
        state = self.first
        for i, token in enumerate(prefix):
            following = self.follow(state)
            if int(token) not in following:
                raise ValueError(f"token {token} may not stand at place {i} of {list(prefix)}")
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
        for place, (leaf, values) in enumerate(zip(self._leaves, _split(self.root, actions), strict=True)):
            assert isinstance(leaf, Integers | Reals)
            ids = leaf.indices(values)
            for i, options in enumerate(self._options[place]):
                ids[..., i] = options[ids[..., i]]
            parts.append(ids)
        return np.concatenate(parts, axis=-1)

    def decode_array(self, ids: NDArray[np.int64]) -> Any:
        """The inverse of `encode_array`. Raises ValueError for tokens that are no action."""
        assert self.length is not None, "actions of varying length make no array"
        values, column = [], 0
        for place, leaf in enumerate(self._leaves):
            assert isinstance(leaf, Integers | Reals)
            indices = ids[..., column : column + len(leaf.slots)].copy()
            for i, options in enumerate(self._options[place]):
                matches = indices[..., i, None] == options
                indices[..., i] = found = matches.argmax(-1)
                if not np.array_equal(options[found], ids[..., column + i]):
                    raise ValueError(f"column {column + i} has tokens that may not stand there")
            values.append(leaf.values(indices))
            column += len(leaf.slots)
        return _join(self.root, iter(values))

    @staticmethod
    def of_root(root: Mapping[str, Any]) -> "SpaceCodec":
        """The codec of `to_json`'s root, with the tokens of its own."""
        node = _from_json(root)
        return SpaceCodec(node, tuple(_own_tokens(node)))

    def to_json(self) -> dict[str, Any]:
        """What `from_json` makes the same codec of."""
        return {"root": _to_json(self.root), "tokens": list(self.tokens)}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "SpaceCodec":
        """The codec of `to_json`'s values."""
        return SpaceCodec(_from_json(values["root"]), tuple(values["tokens"]))

    @cached_property
    def _leaves(self) -> tuple[Leaf, ...]:
        return tuple(_leaves(self.root))

    @cached_property
    def _makes_arrays(self) -> bool:
        return isinstance(self.root, Integers | Reals)

    @cached_property
    def _variable(self) -> bool:
        return not all(isinstance(leaf, Integers | Reals) for leaf in self._leaves)

    @cached_property
    def _id(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens)}

    @cached_property
    def _options(self) -> list[list[NDArray[np.int64]]]:
        """`_choices` as arrays."""
        return [[np.array(options, np.int64) for options in slots] for slots in self._choices]

    @cached_property
    def _choices(self) -> list[list[list[int]]]:
        """The ids that each slot of each leaf may take; buttons and characters have one slot, entered repeatedly."""
        return [
            [leaf.ids] if isinstance(leaf, Words) else [[self._id[_token(name)] for name in s] for s in _slots(leaf)]
            for leaf in self._leaves
        ]

    @cached_property
    def first(self) -> State:
        """The state before the first token."""
        return State(-1) if self._variable else self._enter(0)

    def _fixed(self, place: int) -> bool:
        return isinstance(self._leaves[place], Integers | Reals)

    def _ends_with(self, place: int) -> bool:
        """Whether nothing follows this leaf but the end token."""
        return all(not _slots(leaf) for leaf in self._leaves[place + 1 :])

    def _closes(self, place: int) -> int | None:
        """The token that ends a leaf of varying length."""
        if self._fixed(place):
            return None
        return self._id[END] if self._ends_with(place) else self._id[NEXT]

    def _enter(self, place: int) -> State:
        """The state at the start of that leaf, or of the next one that has tokens."""
        while place < len(self._leaves) and not _slots(self._leaves[place]):
            place += 1
        if place == len(self._leaves) and not self._variable:
            return State(place + 1)
        return State(place)

    def follow(self, state: State) -> dict[int, State]:
        """The ids that may come next, and where each leads; none when the action is whole."""
        place = state.leaf
        if place == -1:
            return {self._id[START]: self._enter(0)}
        if place == len(self._leaves):
            return {self._id[END]: State(place + 1)}
        if place > len(self._leaves):
            return {}
        leaf, choices = self._leaves[place], self._choices[place]
        if isinstance(leaf, Integers | Reals):
            last = state.taken + 1 == len(choices)
            after = self._enter(place + 1) if last else State(place, state.taken + 1)
            return dict.fromkeys(choices[state.taken], after)
        following = {}
        closing = self._closes(place)
        assert closing is not None
        if isinstance(leaf, Buttons):
            following = {token: State(place, 0, i) for i, token in enumerate(choices[0]) if i > state.last}
        elif state.taken < leaf.longest:
            following = dict.fromkeys(choices[0], State(place, state.taken + 1))
        if isinstance(leaf, Buttons) or state.taken >= leaf.shortest:
            whole = State(len(self._leaves) + 1)
            following[closing] = whole if self._ends_with(place) else self._enter(place + 1)
        return following


class Binning(NamedTuple):
    """How the boxes of a space become bins."""

    bins: int
    limits: tuple[float, float] | None
    scale: Scale


def _node(space: "gymnasium.Space[Any]", names: Names, path: tuple[str, ...], binning: Binning) -> Node:
    from gymnasium import spaces  # here alone: the model reads codecs without it

    if isinstance(space, spaces.Discrete):
        start, size = int(space.start), int(space.n)
        chosen = _named(names, path, [str(start + i) for i in range(size)])
        return Integers((chosen,), (start,), None, str(space.dtype))
    if isinstance(space, spaces.MultiDiscrete):
        starts, sizes = space.start.flatten().tolist(), space.nvec.flatten().tolist()
        slots = zip(_split_names(names, len(sizes)), _dimensions(space.nvec.shape), starts, sizes, strict=True)
        named = [
            _named(mine, (*path, name), [str(start + i) for i in range(size)]) for mine, name, start, size in slots
        ]
        return Integers(tuple(named), tuple(starts), space.nvec.shape, str(space.dtype))
    if isinstance(space, spaces.MultiBinary):
        return Buttons(_named(names, path, _dimensions(space.shape), joint="."), space.shape)
    if isinstance(space, spaces.Box):
        return _box(space, _named(names, path, _dimensions(space.shape), joint="."), binning)
    if isinstance(space, spaces.Text):
        return Characters(tuple(space.character_list), int(space.min_length), int(space.max_length))
    if isinstance(space, spaces.Dict):
        given = names if isinstance(names, Mapping) else {}
        return Parts(
            tuple(space.spaces),
            tuple(_node(part, given.get(key), (*path, key), binning) for key, part in space.spaces.items()),
        )
    if isinstance(space, spaces.Tuple):
        listed = _split_names(names, len(space.spaces))
        parts = enumerate(zip(space.spaces, listed, strict=True))
        return Parts(None, tuple(_node(part, mine, (*path, str(i)), binning) for i, (part, mine) in parts))
    raise UserError(
        f"action space {space}: action tokens exist for Discrete, MultiDiscrete, MultiBinary, Box, Text, Dict and Tuple"
    )


def _box(space: "gymnasium.spaces.Box", names: tuple[str, ...], binning: Binning) -> Reals:
    lows, highs = (bound.flatten().astype(np.float64) for bound in (space.low, space.high))
    whole = bool(np.issubdtype(space.dtype, np.integer))
    if binning.limits:
        lows, highs = np.maximum(lows, binning.limits[0]), np.minimum(highs, binning.limits[1])
    with np.errstate(over="ignore", invalid="ignore"):
        widths = highs - lows
    if not np.isfinite(widths).all() or (whole and (widths >= WIDEST).any()):
        raise UserError(f"action space {space}: is unbounded; give limits=(low, high)")
    if (widths < 0).any():
        raise UserError(f"action space {space}: limits {binning.limits} leave nothing of it")
    if whole:
        lows, highs = np.ceil(lows), np.floor(highs)
        counts = np.minimum(binning.bins, highs - lows + 1).astype(int)
    else:
        counts = np.where(widths > 0, binning.bins, 1)
    return Reals(
        names,
        tuple(counts.tolist()),
        tuple(lows.tolist()),
        tuple(highs.tolist()),
        binning.scale,
        space.shape,
        str(space.dtype),
    )


def _named(names: Names, path: tuple[str, ...], default: Sequence[str], joint: str = "=") -> tuple[str, ...]:
    """The given names as they are, shared with all who use them; else numbers behind the path."""
    if names is None:
        place = ".".join(path)
        return tuple(joint.join(filter(None, (place, number))) or "value" for number in default)
    if isinstance(names, Mapping) or len(names) != len(default):
        raise ValueError(f"{len(default)} actions need as many names, not {len(names)}")
    if len(set(names)) < len(names):
        raise ValueError(f"names of one choice must differ: {', '.join(names)}")
    return tuple(names)


def _split_names(names: Names, count: int) -> list[Any]:
    """Names of each of several parts."""
    if names is None:
        return [None] * count
    if isinstance(names, Mapping) or len(names) != count:
        raise ValueError(f"{count} parts need as many lists of names, not {len(names)}")
    return list(names)


def _dimensions(shape: tuple[int, ...]) -> list[str]:
    """The place of every element of an array, in order."""
    return [",".join(map(str, place)) for place in np.ndindex(*shape)]


def _token(name: str) -> str:
    return f"<action:{name}>"


def _slots(leaf: Leaf) -> tuple[tuple[str, ...], ...]:
    if isinstance(leaf, Words):
        return ((),)  # tokens of the text vocabulary, which no action token names
    return leaf.slots if isinstance(leaf, Integers | Reals) else (leaf.names,)


def _leaves(node: Node) -> list[Leaf]:
    if isinstance(node, Parts):
        return [leaf for part in node.parts for leaf in _leaves(part)]
    return [node]


def _most_choices(leaf: Leaf) -> int:
    """How many tokens a leaf can have, the one that closes it not counted."""
    if isinstance(leaf, Buttons):
        return len(leaf.names)
    return leaf.longest if isinstance(leaf, Characters | Words) else len(leaf.slots)


def _described(leaf: Leaf) -> str:
    kinds = {Integers: "whole numbers", Reals: "reals", Buttons: "buttons", Characters: "text", Words: "words"}
    return f"{kinds[type(leaf)]} ({_most_choices(leaf)})"


def _own_tokens(root: Node) -> list[str]:
    """The tokens of a space, each once; those of structure last."""
    leaves = _leaves(root)
    names = [_token(name) for leaf in leaves for slot in _slots(leaf) for name in slot]
    varying = [not isinstance(leaf, Integers | Reals) for leaf in leaves]
    structure = [START, END] if any(varying) else []
    if any(varying[:-1]):
        structure.append(NEXT)
    return list(dict.fromkeys([*names, *structure]))


def _split(node: Node, action: Any) -> list[Any]:
    """The values of the leaves, in order."""
    if not isinstance(node, Parts):
        return [action]
    keys: Iterable[Any] = node.keys if node.keys is not None else range(len(node.parts))
    return [value for key, part in zip(keys, node.parts, strict=True) for value in _split(part, action[key])]


def _join(node: Node, values: Any) -> Any:
    """The action of the leaves' values, taken in order."""
    if not isinstance(node, Parts):
        return next(values)
    joined = [_join(part, values) for part in node.parts]
    return tuple(joined) if node.keys is None else dict(zip(node.keys, joined, strict=True))


def _choose(leaf: Leaf, value: Any) -> list[int]:
    """The choices in a leaf that give one value. Of buttons and characters, all are made in the one slot."""
    if isinstance(leaf, Integers | Reals):
        return list(leaf.indices(value).tolist())
    if isinstance(leaf, Buttons):
        pressed = _flatten_whole(value, leaf.shape)
        _refuse_outside(pressed, np.array(2), value)
        return np.flatnonzero(pressed).tolist()
    if isinstance(leaf, Words):
        if not leaf.shortest <= len(value) <= leaf.longest:
            raise ValueError(f"a text has {leaf.shortest} to {leaf.longest} tokens, this one {len(value)}")
        return [int(token) - SPECIAL_TOKENS for token in value]
    if not leaf.shortest <= len(value) <= leaf.longest or not set(value) <= set(leaf.characters):
        raise ValueError(f"text {value!r} is not of {leaf.shortest} to {leaf.longest} characters of the space")
    return [leaf.characters.index(character) for character in value]


def _value(leaf: Leaf, chosen: list[int]) -> Any:
    """The inverse of `_choose`."""
    if isinstance(leaf, Integers | Reals):
        return leaf.values(np.array(chosen, np.int64))
    if isinstance(leaf, Buttons):
        pressed = np.zeros(len(leaf.names), np.int8)
        pressed[chosen] = 1
        return pressed.reshape(leaf.shape)
    if isinstance(leaf, Words):
        return tuple(choice + SPECIAL_TOKENS for choice in chosen)
    return "".join(leaf.characters[i] for i in chosen)


def _flatten(values: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Values [..., *shape] as [..., elements]."""
    array = np.asarray(values)
    batch = array.shape[: array.ndim - len(shape)]
    if array.ndim < len(shape) or array.shape[len(batch) :] != shape:
        raise ValueError(f"action {values} has shape {array.shape}; expected {shape}")
    return array.reshape((*batch, math.prod(shape)))


def _flatten_whole(values: Any, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The same of whole numbers; those of another type are refused, not cut."""
    flat = _flatten(values, shape)
    if flat.size and flat.dtype.kind not in "iub":
        raise ValueError(f"action {values} is {flat.dtype}; expected whole numbers")
    return flat.astype(np.int64)


def _refuse_outside(indices: NDArray[np.int64], sizes: NDArray[np.int64], values: Any) -> None:
    if not bool(((indices >= 0) & (indices < sizes)).all()):
        raise ValueError(f"action {values} is outside the space")


def _to_json(node: Node) -> dict[str, Any]:
    if isinstance(node, Parts):
        keys = None if node.keys is None else list(node.keys)
        return {"kind": "Parts", "keys": keys, "parts": [_to_json(part) for part in node.parts]}
    return {"kind": type(node).__name__, **{key: _lists(value) for key, value in asdict(node).items()}}


def _from_json(values: Mapping[str, Any]) -> Node:
    fields = {key: _tuples(value) for key, value in values.items() if key not in ("kind", "parts")}
    if values["kind"] == "Parts":
        fields["parts"] = tuple(_from_json(part) for part in values["parts"])
    return cast("Node", KINDS[values["kind"]](**fields))


def _lists(value: Any) -> Any:
    return [_lists(each) for each in value] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value
