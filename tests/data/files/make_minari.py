"""Records the small Minari datasets beside this file with Minari's own DataCollector, which needs jax:

pip install "minari[create,hdf5]" minigrid && python tests/data/files/make_minari.py tests/data/files/minari
"""

import os
import sys
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium import spaces

TASK = "BabyAI-GoToRedBall-v0"


class TextMission(gymnasium.ObservationWrapper):
    """MiniGrid's mission space has no serialiser in Minari; the missions are texts."""

    def __init__(self, env):
        super().__init__(env)
        mission = spaces.Text(200, charset="abcdefghijklmnopqrstuvwxyz ,")
        self.observation_space = spaces.Dict({**env.observation_space.spaces, "mission": mission})

    def observation(self, observation):
        return observation


class Room(gymnasium.Env):
    """Eight by eight pixels that show the step, an order in words, and actions of several kinds at once."""

    observation_space = spaces.Dict(
        image=spaces.Box(0, 255, (8, 8, 3), np.uint8), text=spaces.Text(30, charset="abcdefghijklmnopqrstuvwxyz ")
    )
    action_space = spaces.Dict(
        buttons=spaces.MultiBinary(3),
        camera=spaces.Box(-1, 1, (2,), np.float32),
        gear=spaces.Discrete(4, start=1),
        hands=spaces.Tuple((spaces.MultiDiscrete([3, 5]), spaces.Box(0, 9, (1,), np.int16))),
        said=spaces.Text(6, charset="abc"),
    )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.seen(), {}

    def step(self, action):
        self.steps += 1
        return self.seen(), float(action["gear"]), self.steps == 3, False, {}

    def seen(self):
        return {"image": np.full((8, 8, 3), self.steps, np.uint8), "text": "tidy the room"}


def record_room(root, *, episodes=2):
    """Drawn actions of every kind in the room."""
    os.environ["MINARI_DATASETS_PATH"] = str(root)
    import minari

    gymnasium.register("Room-v0", "make_minari:Room", max_episode_steps=9)
    env = minari.DataCollector(gymnasium.make("Room-v0", disable_env_checker=True), jpeg_encoding=False)
    env.action_space.seed(0)
    for seed in range(episodes):
        env.reset(seed=seed)
        for _ in range(3):
            env.step(env.action_space.sample())
    env.create_dataset("babyai/room-v0", algorithm_name="random steps", description="A fixture.", author="agentgym")
    return Path(root) / "babyai/room-v0"


def record(root, kind, *, episodes=2, steps=9):
    """`kind` is "image" (28x28 pictures) or "symbolic" (MiniGrid's own 7x7 view)."""
    os.environ["MINARI_DATASETS_PATH"] = str(root)
    import minari
    import minigrid  # noqa: F401  (its environments are there once it is imported)
    from minigrid.wrappers import RGBImgPartialObsWrapper

    env = gymnasium.make(TASK)
    if kind == "image":
        env = RGBImgPartialObsWrapper(env, tile_size=4)
    env = minari.DataCollector(TextMission(env), jpeg_encoding=False)
    for seed in range(episodes):
        env.reset(seed=seed)
        generator = np.random.default_rng(seed)
        for _ in range(steps):
            _, _, terminated, truncated, _ = env.step(int(generator.integers(0, 3)))
            if terminated or truncated:
                break
    name = f"babyai/goto-{kind}-v0"
    env.create_dataset(name, algorithm_name="random steps", description="A fixture.", author="agentgym")
    return Path(root) / name


if __name__ == "__main__":
    for kind in ("image", "symbolic"):
        print(record(Path(sys.argv[1]).resolve(), kind))
    print(record_room(Path(sys.argv[1]).resolve()))
