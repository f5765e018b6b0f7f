"""What an experiment is trained on: the dataset of its recipe, or the parts of its mixture, and the domains they make.

Parts may differ in actions, frames and window. Those that have all three in common make one domain; all that are to be
captioned make another, whose actions are words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agentgym.data.store import EpisodeDataset, Header
from agentgym.errors import UserError
from agentgym.recipes import ExperimentRecipe, differences
from agentgym.spaces import SpaceCodec
from agentgym.spaces.domains import Domain, action_tokens
from agentgym.training.captions import CAPTION, PROMPT, CaptionSource
from agentgym.training.mixture import MixedSource
from agentgym.training.windows import Source, WindowSource, split_episodes


@dataclass(frozen=True)
class MixtureComponent:
    """A dataset, its share of the windows, and what is learned of it: its actions, or to say what was done."""

    dataset: EpisodeDataset
    weight: float
    window: int
    caption: bool = False

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that were recorded."""
        return tuple(task["id"] for task in self.dataset.header.recipe["suite"]["tasks"])

    @property
    def prompts(self) -> tuple[str, ...]:
        """What it is read under besides its own instructions."""
        return (PROMPT,) if self.caption else ()

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Height and width of its frames."""
        height, width, _ = self.dataset.header.frame_shape
        return height, width


def open_parts(data: Path, recipe: ExperimentRecipe) -> list[MixtureComponent]:
    """What an experiment is trained on: the folder of its dataset, or the parts of its mixture.

    Raises UserError when a folder holds what another recipe made, is damaged or has nothing to learn from.
    """
    window = recipe.training.window
    parts = [
        MixtureComponent(EpisodeDataset(part.data), part.weight, part.window or window, part.caption)
        for part in recipe.mixture
    ] or [MixtureComponent(EpisodeDataset(data), 1.0, window)]
    changed = differences(dict(parts[0].dataset.header.recipe), recipe.dataset.model_dump(mode="json"))
    if changed and not recipe.mixture:
        raise UserError(
            f"{data}: was recorded by another recipe ({changed[0]}); name its folder with --data, or record it"
        )
    for part in parts:
        if part.dataset.lost:
            raise UserError(part.dataset.lost[0])
        if not len(part.dataset):
            path, outcomes = part.dataset.path, part.dataset.outcomes()
            raise UserError(f"{path}: no attempt was kept ({outcomes}); there is nothing to train on")
    return parts


def own_header(parts: Sequence[MixtureComponent], recipe: ExperimentRecipe) -> Header:
    """The header of the recipe's own suite: of the first part that recorded its tasks, else of the first part.

    A dataset says what actions and frames it has, so that no environment is made and none has to be installed.
    """
    own = {task.id for task in recipe.dataset.suite.tasks}
    of_suite = (part for part in parts if not part.caption and own & set(part.tasks))
    return next(of_suite, parts[0]).dataset.header


def domains_of(parts: Sequence[MixtureComponent], first: Header, num_text_tokens: int) -> list[Domain]:
    """The domains of all parts, the one with the actions and frames of `first` before the others; captions last."""
    acted = [part for part in parts if not part.caption]
    domains: dict[tuple[SpaceCodec, tuple[int, int], int], Domain] = {}
    for part in sorted(acted, key=lambda part: not same_format(part.dataset.header, first)):
        domain = Domain(part.dataset.header.space, part.frame_shape, part.window, part.tasks)
        key = (domain.space, domain.frame_shape, domain.window)
        known = domains.get(key, replace(domain, tasks=()))
        domains[key] = replace(domain, tasks=tuple(dict.fromkeys((*known.tasks, *domain.tasks))))
    captioned = [part for part in parts if part.caption]
    if not captioned:
        return list(domains.values())
    words = SpaceCodec.words(num_text_tokens)
    return [*domains.values(), Domain(words, captioned[0].frame_shape, captioned[0].window, (CAPTION,))]


def tokens_of(parts: Sequence[MixtureComponent], first: Header) -> tuple[str, ...]:
    """The action tokens of all parts; they do not depend on how many text tokens there are."""
    return action_tokens(domains_of(parts, first, num_text_tokens=1))


@dataclass(frozen=True)
class WindowConfig:
    """How parts become windows: the tokenizer, the vocabulary, and the side that frames have for the model."""

    tokenize: Callable[[str], NDArray[np.int64]]
    tokens: Sequence[str]
    num_text_tokens: int
    patches_per_frame: int
    frame_side: int


def sources_of(parts: Sequence[MixtureComponent], held_out: float, reading: WindowConfig) -> tuple[Source, Source]:
    """Windows to train on, and windows held out."""
    split = [split_episodes(part.dataset, held_out) for part in parts]
    weights = [part.weight for part in parts]
    first, second = (
        MixedSource([_source(part, sides[side], reading) for part, sides in zip(parts, split, strict=True)], weights)
        for side in (0, 1)
    )
    return (first.sources[0], second.sources[0]) if len(parts) == 1 else (first, second)


def _source(part: MixtureComponent, episodes: NDArray[np.int64], reading: WindowConfig) -> Source:
    space = SpaceCodec.words(reading.num_text_tokens) if part.caption else part.dataset.header.space
    return (CaptionSource if part.caption else WindowSource)(
        part.dataset,
        episodes,
        window=part.window,
        tokenize=reading.tokenize,
        patches_per_frame=reading.patches_per_frame,
        codec=space.within(reading.tokens),
        frame_side=reading.frame_side,
    )


def same_format(one: Header, other: Header) -> bool:
    """Whether datasets have the same actions and frames."""
    return (one.space, one.frame_shape) == (other.space, other.frame_shape)
