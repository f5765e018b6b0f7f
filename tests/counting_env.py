"""An environment whose episodes are a function of a number."""

import gymnasium
import numpy as np

from agentgym.environments import encode_instruction


class CountingEnv(gymnasium.Env):
    """Episodes of 3 to 8 steps, a function of a number in 0 ... 255 (the seed, or drawn) and of the actions.

    A frame is noise of the number, the step and the last action; its first pixel is the number.
    """

    task = "Count-v0"

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Dict(
            frame=gymnasium.spaces.Box(0, 255, (56, 56, 3), np.uint8),
            instruction=gymnasium.spaces.Box(0, 255, (32,), np.uint8),
        )
        self.action_space = gymnasium.spaces.Discrete(7)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number = seed % 256 if seed is not None else int(self.np_random.integers(256))
        self.steps = 0
        return self._observe(0), {}

    def step(self, action):
        self.steps += 1
        terminated = self.steps == 3 + self.number % 6
        return self._observe(int(action) + 1), float(action), terminated, False, {}

    def _observe(self, last_action):
        frame = np.random.default_rng([self.number, self.steps, last_action]).integers(0, 256, (56, 56, 3), np.uint8)
        frame[0, 0] = self.number
        return {"frame": frame, "instruction": encode_instruction(f"count to {self.number % 6}", 32)}
