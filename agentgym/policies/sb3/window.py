"""The observation of a window: what Stable-Baselines3's algorithms, which shuffle single observations, are shown."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary
from numpy.typing import NDArray

from agentgym.data.recorder import check_no_autoreset
from agentgym.errors import UserError
from agentgym.model.sequence import SlidingWindow
from agentgym.spaces.from_zero import from_zero


class HistoryObservation(gymnasium.Wrapper[dict[str, NDArray[Any]], np.int64, dict[str, NDArray[Any]], np.int64]):
    """Shows the window that the agent sees: its frames, the actions between them, and which places are taken.

    {"frames": uint8[M, H, W, 3], "actions": int64[M], "mask": int8[M], "instruction": uint8[L]}; the action at a place
    is the one taken on its frame, and 0 where none has been taken yet. Actions count from 0, here and in `step`, also
    where the environment's do not: that is how Stable-Baselines3 counts.

    Raises UserError unless the environment shows uint8 frames and an instruction, and its actions are Discrete.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], *, window: int) -> None:
        super().__init__(env)
        check_no_autoreset(env, "the window", "leave Autoreset out: Stable-Baselines3 resets by itself")
        seen, actions = env.observation_space, env.action_space
        if not isinstance(seen, Dict) or not {"frame", "instruction"} <= set(seen.spaces):
            raise UserError(f"observation space {seen}: expected {{'frame', 'instruction'}}, as of agentgym.make")
        if seen["frame"].dtype != np.uint8:  # written into the window they would be cut to whole numbers
            raise UserError(f"the frames are {seen['frame'].dtype}; expected uint8, 0 to 255, as of agentgym.make")
        if not isinstance(actions, Discrete):
            raise UserError(f"action space {actions}: expected a Discrete one")
        shape = seen["frame"].shape
        assert shape is not None
        self.observation_space: Dict = Dict(  # type: ignore[assignment]  # Gymnasium types it Space[dict[str, Any]]
            {
                "frames": Box(0, 255, (window, *shape), np.uint8),
                "actions": Box(0, int(actions.n) - 1, (window,), np.int64),
                "mask": MultiBinary(window),
                "instruction": seen["instruction"],
            }
        )
        self.action_space, self._first_action = from_zero(actions)
        self._frames = np.zeros((window, *shape), np.uint8)
        self._actions = np.zeros(window, np.int64)
        self._window = SlidingWindow(window)
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """The window, arrays [steps, ...], with the episode's first frame, and the environment's info."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._steps = 0
        return self._append(observation), info

    def step(self, action: np.int64) -> tuple[dict[str, NDArray[Any]], Any, bool, bool, dict[str, Any]]:
        """The window, arrays [steps, ...], with the next frame; a full one moves first."""
        observation, reward, terminated, truncated, info = self.env.step(action + self._first_action)
        self._actions[self._steps - 1] = int(action)
        kept = int(self._window.before_next(np.asarray(self._steps)))
        for values in (self._frames, self._actions):
            values[:kept] = values[self._steps - kept : self._steps].copy()
        self._steps = kept
        return self._append(observation), reward, terminated, truncated, info

    def _append(self, observation: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self._frames[self._steps] = observation["frame"]
        self._steps += 1
        self._frames[self._steps :] = 0
        self._actions[self._steps - 1 :] = 0
        return {
            "frames": self._frames.copy(),
            "actions": self._actions.copy(),
            "mask": (np.arange(len(self._actions)) < self._steps).astype(np.int8),
            "instruction": observation["instruction"],
        }
