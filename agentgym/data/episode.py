"""Episode: S = (W, V_1, A_1, ..., V_T, A_T) of the paper, the one value that recording, storing and training share.

It is a whole episode or a slice of one. It is checked when it is made and closed under slicing. It knows no files,
models or environments.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentgym.spaces.values import Actions


@dataclass(frozen=True, eq=False)
class Episode:
    """Instruction W, frames V_1 ... V_{T+1} and actions A_1 ... A_T of an episode or a slice of one.

    `frames[t]` is what was seen when `actions[t]` was chosen and `frames[t + 1]` its outcome, so that there is one
    frame more than actions. `labels[t]`, where there are labels, is what the expert would have done in place of
    `actions[t]`. `terminated` and `truncated` are of the last action. Frames are uint8 in 0 to 255, RGB; rewards are
    float64 in the environment's unit, undiscounted. `versions` are of the packages that drew the frames. Raises
    ValueError when the parts do not fit each other. The notation is that of section 3 of arXiv 2402.05929.
    """

    instruction: str
    frames: NDArray[np.uint8]  # [T + 1, height, width, 3], or what represents it (`store.blocks.CompressedFrames`)
    actions: Actions  # [T, ...], as the environment took them (see `agentgym.spaces.values`)
    rewards: NDArray[np.float64]  # [T]
    terminated: bool
    truncated: bool
    success: bool
    seed: int
    task: str
    expert: str
    versions: Mapping[str, str] = field(default_factory=dict)
    labels: Actions | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)  # what was kept with each frame, by name: T + 1 values

    def __post_init__(self) -> None:
        frames: Any = self.frames
        if not hasattr(frames, "dtype"):
            raise ValueError(f"frames must be an array of uint8[T + 1, H, W, 3], not a {type(frames).__name__}")
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape[1:]:
            raise ValueError(f"frames must be uint8[T + 1, H, W, 3], not {frames.dtype}{list(frames.shape)}")
        if len(self.frames) != len(self.actions) + 1:
            raise ValueError(f"{len(self.actions)} actions need {len(self.actions) + 1} frames, not {len(self.frames)}")
        if len(self.rewards) != len(self.actions):
            raise ValueError(f"{len(self.actions)} actions need as many rewards, not {len(self.rewards)}")
        if self.labels is not None and len(self.labels) != len(self.actions):
            raise ValueError(f"{len(self.actions)} actions need as many labels, or none, not {len(self.labels)}")
        if len(self.actions) == 0:
            raise ValueError("an episode has at least one action")

    def __len__(self) -> int:
        """The number of actions, T."""
        return len(self.actions)

    def __getitem__(self, steps: slice) -> "Episode":
        """The episode of those steps, with the frame that follows the last of them."""
        start, stop, stride = steps.indices(len(self))
        if stride != 1 or stop <= start:
            raise ValueError(
                f"steps [{steps.start}:{steps.stop}:{steps.step}] are not a run of at least one step of {len(self)}"
            )
        last = stop == len(self)
        return replace(
            self,
            frames=self.frames[start : stop + 1],
            actions=self.actions[start:stop],
            rewards=self.rewards[start:stop],
            labels=None if self.labels is None else self.labels[start:stop],
            extras={name: values[start : stop + 1] for name, values in self.extras.items()},
            terminated=self.terminated and last,
            truncated=self.truncated and last,
        )

    @property
    def total_reward(self) -> float:
        """The undiscounted sum of the rewards."""
        return float(np.add.reduce(self.rewards))
