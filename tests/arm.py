"""A robot arm as a stranger's environment: two cameras, joints, a text, a nested part; and how it is recorded."""

import gymnasium
import numpy as np
from gymnasium import spaces

import agentgym


class Arm(gymnasium.Env):
    """Two cameras, joints, a text, a nested part; six steps, the last a success."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012
    camera = spaces.Box(0, 255, (32, 40, 3), np.uint8)
    observation_space = spaces.Dict(
        front=camera,
        wrist=spaces.Box(0, 255, (32, 32, 3), np.uint8),
        joints=spaces.Box(-1, 1, (2, 2), np.float64),
        word=spaces.Text(9),
        inner=spaces.Dict(gripper=spaces.Discrete(3), touched=spaces.MultiBinary(2)),
        path=spaces.Sequence(spaces.Discrete(5)),
    )
    action_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.state = 0, self.np_random.normal(size=3)
        return self.observe(), {"level": 3}

    def step(self, action):
        self.t += 1
        self.state = self.state + float(action[0])
        over = self.t == 6
        return self.observe(), 1.0, over, False, {"success": True, "force": np.float32(0.1) * self.t} if over else {}

    def observe(self):
        return {
            "front": np.full((32, 40, 3), 10 * self.t + 5, np.uint8),
            "wrist": np.full((32, 32, 3), self.t, np.uint8),
            "joints": np.outer([self.t, 1 / 3], self.state[:2]),
            "word": f"step {self.t}",
            "inner": {"gripper": np.int64(self.t % 3), "touched": np.array([self.t % 2, 1], np.int8)},
            "path": tuple(range(self.t)),
        }

    def render(self):
        return np.full((16, 16, 3), self.t, np.uint8)


def wrapped(env=None, **settings):
    settings = {"instruction": "lift the cup", "frame": "front", "action_limits": (-1, 1), **settings}
    return agentgym.wrap(env or Arm(), **settings)


def play(recorder, seeds=(0, 1)):
    for seed in seeds:
        recorder.reset(seed=seed)
        over = False
        while not over:
            *_, terminated, truncated, _ = recorder.step(recorder.action_space.sample())
            over = terminated or truncated
