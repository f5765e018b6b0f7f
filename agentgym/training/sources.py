"""The windows of an experiment's parts: mixed to train on, and one source for each part's held-out episodes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agentgym.errors import UserError
from agentgym.model.vision import FrameSize
from agentgym.spaces import SpaceCodec
from agentgym.training.captions import CaptionSource
from agentgym.training.datasets import MixtureComponent
from agentgym.training.mixture import MixedSource
from agentgym.training.windows import Source, WindowSource, split_episodes


@dataclass(frozen=True)
class WindowConfig:
    """How parts become windows: the tokenizer, the vocabulary, and the size that frames have for the model."""

    tokenize: Callable[[str], NDArray[np.int64]]
    tokens: Sequence[str]
    num_text_tokens: int
    patches_per_frame: int
    frame_size: FrameSize


def sources_of(parts: Sequence[MixtureComponent], config: WindowConfig) -> tuple[Source, dict[str, Source]]:
    """Windows to train on, and windows held out by the name of their part, of those parts that hold some out.

    Raises UserError when a part holds all of its episodes out.
    """
    split = [split_episodes(part.dataset, part.held_out, part.held_out_hash) for part in parts]
    training = [_source(part, trained, config) for part, (trained, _) in zip(parts, split, strict=True)]
    for part, source in zip(parts, training, strict=True):
        if not len(source):
            raise UserError(
                f"{part.name}: a share of {part.held_out:g} holds out all of its {len(part.dataset)} episodes, so none "
                "is left to train on; lower held_out, or record more episodes"
            )
    held_out = {part.name: _source(part, kept, config) for part, (_, kept) in zip(parts, split, strict=True)}
    mixed = training[0] if len(parts) == 1 else MixedSource(training, [part.weight for part in parts])
    return mixed, {name: source for name, source in held_out.items() if len(source)}


def _source(part: MixtureComponent, episodes: NDArray[np.int64], config: WindowConfig) -> Source:
    space = SpaceCodec.words(config.num_text_tokens) if part.caption else part.dataset.header.space
    return (CaptionSource if part.caption else WindowSource)(
        part.dataset,
        episodes,
        window=part.window,
        tokenize=config.tokenize,
        patches_per_frame=config.patches_per_frame,
        codec=space.within(config.tokens),
        frame_size=config.frame_size,
    )
