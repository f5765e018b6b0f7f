"""Environments that are plausible and wrong, or right in unusual ways: ids `nasty:Nasty/NAME-v0`."""

import gymnasium
import numpy as np
from gymnasium import spaces
from minigrid.core.grid import Grid
from minigrid.core.mission import MissionSpace
from minigrid.core.world_object import Ball, Goal
from minigrid.minigrid_env import MiniGridEnv

SIDE = 24


def picture(x, y):
    """uint8[24, 24, 3], a function of two numbers."""
    shown = np.zeros((SIDE, SIDE, 3), np.uint8)
    shown[..., 2] = 40
    shown[y % SIDE, x % SIDE] = (255, 128, 0)
    shown[(y * 3 + 1) % SIDE, :] = (0, 200, 0)
    return shown


class Base(gymnasium.Env):
    """Twelve steps of a point that moves in four directions, solved at the end."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  (as Gymnasium has it)
    LENGTH = 12

    def __init__(self, render_mode=None, **settings):
        self.render_mode = render_mode
        self.action_space = spaces.Discrete(4)
        self.observation_space = spaces.Box(0, SIDE, (2,), np.float32)
        self.t = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        self.x, self.y = (int(v) for v in self.np_random.integers(0, SIDE, 2))
        return np.array([self.x, self.y], np.float32), {}

    def move(self, action):
        self.x += int(action == 0) - int(action == 1)
        self.y += int(action == 2) - int(action == 3)

    def step(self, action):
        self.t += 1
        self.move(action)
        done = self.t >= self.LENGTH
        seen = np.array([self.x, self.y], np.float32)
        return seen, 1.0, done, False, {"is_success": True} if done else {}

    def render(self):
        return picture(self.x, self.y)


class Float(Base):
    """Frames in 0 to 1, as of matplotlib."""

    def render(self):
        return picture(self.x, self.y).astype(np.float32) / 255


class Int64(Base):
    """Frames of whole numbers that fit."""

    def render(self):
        return picture(self.x, self.y).astype(np.int64)


class TooBright(Base):
    """Whole numbers that do not fit."""

    def render(self):
        return picture(self.x, self.y).astype(np.int64) * 2


class RGBA(Base):
    """A fourth channel."""

    def render(self):
        return np.concatenate([picture(self.x, self.y), np.full((SIDE, SIDE, 1), 255, np.uint8)], -1)


class Grey(Base):
    """One channel."""

    def render(self):
        return picture(self.x, self.y).mean(-1).astype(np.uint8)


class NoneRender(Base):
    """Forgets to return what it drew."""

    def render(self):
        return None


class ListRender(Base):
    """A list of pictures."""

    def render(self):
        return [picture(self.x, self.y)]


class LateFloat(Base):
    """One frame of another dtype in mid-course, with odd seeds."""

    def reset(self, *, seed=None, options=None):
        self.odd = bool(seed and seed % 2)
        return super().reset(seed=seed)

    def render(self):
        shown = picture(self.x, self.y)
        return shown / 255 if self.odd and self.t == 18 else shown

    LENGTH = 20


class NotANumber(Base):
    """NaN and infinite rewards, numpy's booleans, both ends at once, success as an array."""

    def step(self, action):
        seen, _, over, _, info = super().step(action)
        reward = {3: np.float32("nan"), 5: -np.inf}.get(self.t, np.int32(2))
        return seen, reward, np.bool_(over), np.bool_(over), {"is_success": np.array([True])} if over else info


class TwoRewards(Base):
    """A reward of two numbers."""

    def step(self, action):
        seen, _, over, truncated, info = super().step(action)
        return seen, np.array([1.0, 2.0]), over, truncated, info


class LateNoise(Base):
    """Draws from NumPy's own generator after a while."""

    LENGTH = 30

    def step(self, action):
        result = super().step(action)
        if self.t > 20:
            self.x += int(np.random.randint(0, SIDE))
        return result


class LateRewardNoise(Base):
    """The same in its rewards alone."""

    LENGTH = 30

    def step(self, action):
        seen, reward, over, truncated, info = super().step(action)
        return seen, float(np.random.random()) if self.t > 20 else reward, over, truncated, info


class LateEnd(Base):
    """The same in when it ends: `LateEnd.ends` after its reset."""

    ends = 20
    LENGTH = 10**6

    def step(self, action):
        seen, reward, _, truncated, info = super().step(action)
        over = self.t >= self.ends
        return seen, reward, over, truncated, {"is_success": True} if over else info


class Start(Base):
    """Whole numbers from 10: left, stay, right; another action jumps."""

    def __init__(self, render_mode=None, **settings):
        super().__init__(render_mode)
        self.action_space = spaces.Discrete(3, start=10)

    def move(self, action):
        self.x += int(action) - 11

    def step(self, action):
        seen, _, over, truncated, info = super().step(action)
        return seen, float(int(action) == 12), over, truncated, info


class Raises(Base):
    """A simulator that is lost in the 18th step."""

    LENGTH = 20

    def step(self, action):
        result = super().step(action)
        if self.t == 18:
            raise RuntimeError("simulator lost its connection: port 4242")
        return result


class RaisesReset(Base):
    """Has no levels."""

    def reset(self, *, seed=None, options=None):
        raise FileNotFoundError("levels/level-0.xml")


class RaisesInit(Base):
    """Has no licence."""

    def __init__(self, **settings):
        raise RuntimeError("licence file is missing")


class MyRoom(MiniGridEnv):
    """A level of one's own, with a mission for each seed."""

    COLORS = ("red", "green", "blue")

    def __init__(self, **settings):
        space = MissionSpace(mission_func=lambda color: f"go to the {color} ball", ordered_placeholders=[self.COLORS])
        super().__init__(mission_space=space, grid_size=8, max_steps=20, **settings)

    def _gen_grid(self, width, height):
        self.grid = Grid(width, height)
        self.grid.wall_rect(0, 0, width, height)
        color = self.COLORS[int(self.np_random.integers(3))]
        self.put_obj(Ball(color), 3, 3)
        self.put_obj(Goal(), 5, 5)
        self.place_agent()
        self.mission = f"go to the {color} ball"


def of_space(name, space):
    """An environment with those actions, in which every one moves it on."""

    def make(self, render_mode=None, **settings):
        Base.__init__(self, render_mode)
        self.action_space = space

    return type(name, (Base,), {"__init__": make, "move": lambda self, action: setattr(self, "x", self.x + 1)})


SPACES = {
    "Graph": spaces.Graph(spaces.Box(-1, 1, (2,)), spaces.Discrete(3)),
    "Unbounded": spaces.Box(-np.inf, np.inf, (2,), np.float32),
    "Nested": spaces.Dict(
        {
            "b-key": spaces.Tuple([spaces.Discrete(3, start=-1), spaces.Box(-1, 1, (2, 2))]),
            "a": spaces.MultiBinary([2, 2]),
            "t": spaces.Text(5, min_length=0, charset="aé日"),
            "m": spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, 0], [0, -5]]),
        }
    ),
    "Huge": spaces.Discrete(200_000_000),
    "Pixels": spaces.Box(0, 255, (64, 64, 3), np.uint8),
    "Whole": spaces.Box(-5, 5, (3,), np.int8),
}
CLASSES = [kind for kind in list(globals().values()) if isinstance(kind, type) and issubclass(kind, Base)]
for kind in CLASSES:
    gymnasium.register(f"Nasty/{kind.__name__}-v0", entry_point=kind)
for name, space in SPACES.items():
    gymnasium.register(f"Nasty/{name}-v0", entry_point=of_space(name, space))
gymnasium.register("MiniGrid-MyRoom-v0", entry_point=MyRoom)
gymnasium.register("Nasty/ByName-v0", entry_point="nasty:Base")
