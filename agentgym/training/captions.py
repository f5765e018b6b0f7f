"""Hindsight captions: of the frames of an episode, the instruction that was followed, as words.

    W = "what was done?"   v v v v | v v v v | v v v v | <action_start> go to the red ball <action_end>

The frames are those of the whole episode, the one after its last action among them; of an episode longer than the
window they are evenly spaced, first and last included. Actions are not shown. The words are the tokenizer's own
tokens, the "action" of the last step: text is an action space like another (`agentgym.spaces.Words`).
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from agentgym.data.store import EpisodeDataset
from agentgym.model.tokenizer import pad_left
from agentgym.model.vision import FrameSize
from agentgym.spaces import SpaceCodec
from agentgym.training.datasets import PROMPT
from agentgym.training.order import order
from agentgym.training.windows import Batch


class CaptionSource:
    """Makes batches of episodes to caption: one window an episode."""

    targets_per_window = 1.0

    def __init__(
        self,
        dataset: EpisodeDataset,
        episodes: NDArray[np.int64],
        *,
        window: int,
        tokenize: Callable[[str], NDArray[np.int64]],
        patches_per_frame: int,
        codec: SpaceCodec,
        frame_size: FrameSize,
    ) -> None:
        """`codec` is of words, with the ids of the model's vocabulary."""
        self.window = window
        self.episodes, self.codec = episodes, codec
        self._dataset = dataset
        self._patches_per_frame, self._frame_size = patches_per_frame, frame_size
        self._prompt = tokenize(PROMPT)
        instructions = dataset.column("instruction")
        self.instructions = [instructions[episode] for episode in episodes]
        self._answers = {text: codec.encode(tokenize(text)[1:]) for text in set(self.instructions)}

    def __len__(self) -> int:
        return len(self.episodes)

    def order(self, seed: int, first: int, count: int) -> NDArray[np.int64]:
        """The episodes at places [first, first + count) of the endless order of that seed, int64[count]."""
        return order(len(self), seed, first, count)

    def steps(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many frames of those episodes (int64[n]) are shown, int64[n]."""
        return np.minimum(self._dataset.lengths[self.episodes[indices]] + 1, self.window)

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """The episodes of int64[rows]; the last step of each has the words, no other step has an action."""
        seen = [self._frames(int(episode)) for episode in self.episodes[indices]]
        answers = [self._answers[self.instructions[index]] for index in indices]
        steps, length = max(map(len, seen)), max(map(len, answers))
        frames = np.zeros((len(seen), steps, *seen[0].shape[1:]), np.uint8)
        tokens = np.zeros((len(seen), steps, length), np.int64)
        mask = np.zeros(tokens.shape, bool)
        step_mask = np.zeros((len(seen), steps), bool)
        for row, (shown, answer) in enumerate(zip(seen, answers, strict=True)):
            frames[row, : len(shown)] = shown
            tokens[row, len(shown) - 1, : len(answer)] = answer
            mask[row, len(shown) - 1, : len(answer)] = True
            step_mask[row, : len(shown)] = True
        instruction, instruction_mask = pad_left([self._prompt])
        return Batch(
            instruction=torch.from_numpy(instruction),
            instruction_mask=torch.from_numpy(instruction_mask),
            instruction_of=torch.zeros(len(seen), dtype=torch.long),
            frames=self._frame_size.fit(torch.from_numpy(frames)),
            actions=torch.from_numpy(tokens),
            targets=torch.from_numpy(tokens),
            action_mask=torch.from_numpy(mask),
            target_mask=torch.from_numpy(mask),
            step_mask=torch.from_numpy(step_mask),
            context_mask=torch.zeros(step_mask.shape, dtype=torch.bool),
            episodes=tuple(self.episodes[indices].tolist()),
            patches_per_frame=self._patches_per_frame,
            num_action_tokens=self.codec.num_tokens,
        )

    def _frames(self, episode: int) -> NDArray[np.uint8]:
        length = int(self._dataset.lengths[episode])
        return self._dataset.frames(episode, 0, length + 1)[shown_frames(length + 1, self.window)]


def shown_frames(count: int, window: int) -> NDArray[np.int64]:
    """Which of an episode's frames are shown, int64[n]: all, or `window` evenly spaced ones with the first and last."""
    return np.linspace(0, count - 1, min(count, window)).round().astype(np.int64)
