"""The baseline of PPO from scratch: Stable-Baselines3's CnnPolicy, which sees frames and no instruction."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray


class LatestFrame(gymnasium.ObservationWrapper[NDArray[np.uint8], Any, dict[str, NDArray[np.uint8]]]):
    """Shows only the frame, as Stable-Baselines3's CnnPolicy takes it."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        assert isinstance(env.observation_space, gymnasium.spaces.Dict)
        self.observation_space = env.observation_space["frame"]

    def observation(self, observation: dict[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The frame, uint8[height, width, 3]."""
        return observation["frame"]


class FramePolicy:
    """A policy that takes only frames, given whole observations."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Actions for a batch of observations."""
        return self._model.predict(observation["frame"], state, episode_start, deterministic)
