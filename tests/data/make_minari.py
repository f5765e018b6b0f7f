"""Records the small Minari datasets beside this file with Minari's own DataCollector, which needs jax:

pip install "minari[create,hdf5]" minigrid && python tests/data/make_minari.py tests/data/minari
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
