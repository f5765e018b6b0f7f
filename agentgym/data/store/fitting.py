"""Whether an episode fits a dataset: checked before it is appended, so that an unfit one affects no other.

What fits can be written, read back as it was, and trained on. A reward may be any float64, NaN and infinite ones among
them: they are stored as they are.
"""

import operator
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from agentgym.data.episode import Episode
from agentgym.data.store.blocks import CompressedFrames, encode_blocks
from agentgym.data.store.format import Header
from agentgym.errors import UserError
from agentgym.spaces import Node
from agentgym.spaces.values import Actions, as_plain, find_outside, stack

LARGEST = 2**31 - 1  # bytes of an episode's blocks, whose places are int32
SEEDS = range(-(2**63), 2**63)


class UnfitEpisodeError(UserError, ValueError):
    """The episode does not fit its dataset, or cannot be stored exactly; its text says why."""


def fit(episode: Episode, header: Header) -> Episode:
    """The episode as the dataset of that header stores it, its frames encoded.

    Raises UnfitEpisodeError with the reason.

    Those are frames of another size, an action or label outside the space, a seed of more than 63 bits, text that is
    no Unicode, rewards that are not float64.
    """
    try:
        return _fit(episode, header)
    except ValueError as error:
        raise UnfitEpisodeError(
            f"episode of {episode.task!r}, seed {episode.seed}: {error}; it was not recorded"
        ) from None


def _fit(episode: Episode, header: Header) -> Episode:
    if episode.frames.shape[1:] != tuple(header.frame_shape):
        raise ValueError(
            f"its frames are {list(episode.frames.shape[1:])}, those of the dataset {list(header.frame_shape)}"
        )
    for name in ("instruction", "task", "expert"):
        _check_text(name, getattr(episode, name))
    if not isinstance(episode.versions, Mapping):
        raise ValueError(f"its versions are {episode.versions!r}, no mapping of packages to versions")
    for name, version in episode.versions.items():
        _check_text("name of a package", name)
        _check_text(f"version of {name}", version)
    frames: Any = episode.frames
    if not isinstance(frames, CompressedFrames):
        frames = CompressedFrames(encode_blocks(frames), frames.shape)
    size = sum(map(len, frames.blocks))
    if size > LARGEST:
        raise ValueError(f"its frames take {size:,} bytes compressed, more than {LARGEST:,}; record it in parts")
    return replace(
        episode,
        frames=frames,
        extras=_extras_of(episode, header),
        seed=_whole_seed(episode.seed),
        actions=_of_the_space("action", header.space.root, episode.actions),
        labels=None if episode.labels is None else _of_the_space("label", header.space.root, episode.labels),
        rewards=_float64(episode.rewards),
    )


def _extras_of(episode: Episode, header: Header) -> dict[str, Any]:
    expected, given = {extra.name for extra in header.extras}, set(episode.extras)
    if given != expected:
        raise ValueError(
            f"in addition to its frames it has {', '.join(sorted(given)) or 'nothing'}, the dataset "
            f"{', '.join(sorted(expected)) or 'nothing'}"
        )
    found = {extra.name: extra.gather(episode.extras[extra.name]) for extra in header.extras}
    short = next((name for name, values in found.items() if len(values) != len(episode) + 1), None)
    if short is not None:
        raise ValueError(f"it has {len(found[short])} values of {short} for {len(episode) + 1} frames")
    return found


def describe_outside(space: Node, actions: Actions, what: str = "action") -> str | None:
    """Names the first action of a series that is outside the space; None where there is none."""
    step = find_outside(space, actions)
    return None if step is None else f"{what} {as_plain(space, actions[step])} of step {step} is outside the space"


def _of_the_space(what: str, space: Node, given: Actions) -> Actions:
    actions = stack(space, given)
    if problem := describe_outside(space, actions, what):
        raise ValueError(problem)
    return actions


def _whole_seed(seed: Any) -> int:
    try:
        number = operator.index(seed)
    except TypeError:
        raise ValueError(f"its seed is {seed!r}, not a whole number") from None
    if number not in SEEDS:
        raise ValueError(f"its seed has {number.bit_length()} bits; at most 63 are stored")
    return number


def _check_text(name: str, text: Any) -> None:
    if not isinstance(text, str):
        raise ValueError(f"its {name} is {text!r}, not text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"its {name} is not Unicode text ({error.reason})") from None


def _float64(rewards: Any) -> Any:
    """The rewards exactly, NaN and infinite ones too."""
    given = np.asarray(rewards)
    if given.ndim != 1 or given.dtype.kind not in "iubf":
        raise ValueError(f"its rewards are {given.dtype}{list(given.shape)}; expected one number a step")
    found = given.astype(np.float64)
    if not np.array_equal(found.astype(given.dtype), given, equal_nan=given.dtype.kind == "f"):
        raise ValueError(f"its rewards are {given.dtype} that float64 does not hold exactly")
    return found
