"""A module of somebody else's with an environment, as a file that can be imported."""

from pathlib import Path

MODULE = """import os
import sys

import gymnasium

{on_import}


class Room(gymnasium.Env):
    metadata = {{"render_modes": ["rgb_array"]}}
    render_mode = "rgb_array"
    observation_space = gymnasium.spaces.Box(0, 255, (8, 8, 3), "uint8")
    action_space = gymnasium.spaces.Discrete(7)

    def __init__(self, render_mode=None):
        pass

    def reset(self, *, seed=None, options=None):
        return self.observation_space.low, {{}}

    def step(self, action):
        {in_step}
        return self.observation_space.low, 0.0, True, False, {{}}


gymnasium.register("{name}", entry_point=Room)
"""


def write_room(folder: Path, module: str, name: str, *, in_step: str, on_import: str = "") -> str:
    """The id MODULE:NAME of an environment in `folder`, whose step executes that statement."""
    (folder / f"{module}.py").write_text(MODULE.format(name=name, in_step=in_step, on_import=on_import))
    return f"{module}:{name}"
