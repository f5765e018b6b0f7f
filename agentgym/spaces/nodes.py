"""The tree of an action space: numbers, buttons, text and words are its leaves, and the tokens of each."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agentgym.spaces.numbers import Integers, Reals, check_range, flatten_whole

START, END, NEXT = "<action_start>", "<action_end>", "<action_next>"
SPECIAL_TOKENS = 4  # of every text vocabulary, the first ones


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
class TextTokenSpace:
    """One to `longest` tokens of a text vocabulary of `size`, as ids of the tokenizer; its special tokens are none.

    In a series they count from the first action token, which comes after them: they are negative.
    """

    size: int
    longest: int
    shortest: int = 1

    @property
    def ids(self) -> list[int]:
        """The tokens that words are of, as the series has them."""
        return list(range(SPECIAL_TOKENS - self.size, 0))


@dataclass(frozen=True)
class CompositeSpace:
    """Dict (with keys) or Tuple (without)."""

    keys: tuple[str, ...] | None
    parts: tuple["Node", ...]


Leaf = Integers | Reals | Buttons | Characters | TextTokenSpace
Node = Leaf | CompositeSpace
# By the names that dataset headers and checkpoints hold, which outlive those of the classes.
KINDS: dict[str, type[Any]] = {
    "Integers": Integers,
    "Reals": Reals,
    "Buttons": Buttons,
    "Characters": Characters,
    "Words": TextTokenSpace,
    "Parts": CompositeSpace,
}
KIND_NAMES = {kind: name for name, kind in KINDS.items()}


def token_of(name: str) -> str:
    """The action token of a name."""
    return f"<action:{name}>"


def slots_of(leaf: Leaf) -> tuple[tuple[str, ...], ...]:
    """The names of the choices at each of a leaf's tokens."""
    if isinstance(leaf, TextTokenSpace):
        return ((),)  # tokens of the text vocabulary, which no action token names
    return leaf.slots if isinstance(leaf, Integers | Reals) else (leaf.names,)


def leaves_of(node: Node) -> list[Leaf]:
    """The leaves of a space in the order of their tokens."""
    if isinstance(node, CompositeSpace):
        return [leaf for part in node.parts for leaf in leaves_of(part)]
    return [node]


def most_choices(leaf: Leaf) -> int:
    """How many tokens a leaf can have, the one that closes it not counted."""
    if isinstance(leaf, Buttons):
        return len(leaf.names)
    return leaf.longest if isinstance(leaf, Characters | TextTokenSpace) else len(leaf.slots)


def described(leaf: Leaf) -> str:
    """A leaf in a few words, for messages."""
    kinds = {Integers: "whole numbers", Reals: "reals", Buttons: "buttons", Characters: "text", TextTokenSpace: "words"}
    return f"{kinds[type(leaf)]} ({most_choices(leaf)})"


def own_tokens(root: Node) -> list[str]:
    """The tokens of a space, each once; those of structure last."""
    leaves = leaves_of(root)
    names = [token_of(name) for leaf in leaves for slot in slots_of(leaf) for name in slot]
    varying = [not isinstance(leaf, Integers | Reals) for leaf in leaves]
    structure = [START, END] if any(varying) else []
    if any(varying[:-1]):
        structure.append(NEXT)
    return list(dict.fromkeys([*names, *structure]))


def split(node: Node, action: Any) -> list[Any]:
    """The values of the leaves, in order."""
    if not isinstance(node, CompositeSpace):
        return [action]
    keys: Iterable[Any] = node.keys if node.keys is not None else range(len(node.parts))
    return [value for key, part in zip(keys, node.parts, strict=True) for value in split(part, action[key])]


def join(node: Node, values: Any) -> Any:
    """The action of the leaves' values, taken in order."""
    if not isinstance(node, CompositeSpace):
        return next(values)
    joined = [join(part, values) for part in node.parts]
    return tuple(joined) if node.keys is None else dict(zip(node.keys, joined, strict=True))


def choose(leaf: Leaf, value: Any) -> list[int]:
    """The choices in a leaf that give one value. Of buttons and characters, all are made in the one slot.

    Raises ValueError for a value outside the leaf's space.
    """
    if isinstance(leaf, Integers | Reals):
        return list(leaf.indices(value).tolist())
    if isinstance(leaf, Buttons):
        pressed = flatten_whole(value, leaf.shape)
        check_range(pressed, np.array(2), value)
        return np.flatnonzero(pressed).tolist()
    if isinstance(leaf, TextTokenSpace):
        if not leaf.shortest <= len(value) <= leaf.longest:
            raise ValueError(f"a text has {leaf.shortest} to {leaf.longest} tokens, this one {len(value)}")
        return [int(token) - SPECIAL_TOKENS for token in value]
    if not leaf.shortest <= len(value) <= leaf.longest or not set(value) <= set(leaf.characters):
        raise ValueError(f"text {value!r} is not of {leaf.shortest} to {leaf.longest} characters of the space")
    return [leaf.characters.index(character) for character in value]


def value_of(leaf: Leaf, chosen: list[int]) -> Any:
    """The inverse of `_choose`."""
    if isinstance(leaf, Integers | Reals):
        return leaf.values(np.array(chosen, np.int64))
    if isinstance(leaf, Buttons):
        pressed = np.zeros(len(leaf.names), np.int8)
        pressed[chosen] = 1
        return pressed.reshape(leaf.shape)
    if isinstance(leaf, TextTokenSpace):
        return tuple(choice + SPECIAL_TOKENS for choice in chosen)
    return "".join(leaf.characters[i] for i in chosen)


def to_json(node: Node) -> dict[str, Any]:
    """The space as plain values, which a dataset's header and a checkpoint hold."""
    if isinstance(node, CompositeSpace):
        keys = None if node.keys is None else list(node.keys)
        return {"kind": "Parts", "keys": keys, "parts": [to_json(part) for part in node.parts]}
    return {"kind": KIND_NAMES[type(node)], **{key: _lists(value) for key, value in asdict(node).items()}}


def _lists(value: Any) -> Any:
    return [_lists(each) for each in value] if isinstance(value, tuple) else value
