"""Views: what is seen is, array for array, what MiniGrid's own `gen_obs` shows."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from minigrid.core.grid import Grid
from minigrid.core.world_object import Ball, Wall
from minigrid.envs import EmptyEnv
from minigrid.minigrid_env import MiniGridEnv

from agentgym.environments import make
from agentgym.environments.views import gen_obs, hasten_view, spread_sight

SEEN = [  # between them: every object, doors in each state, what is carried, moving obstacles, no walls to the sight
    "BabyAI-BossLevel-v0",
    "BabyAI-UnlockLocal-v0",
    "BabyAI-PutNextS5N2Carrying-v0",
    "MiniGrid-ObstructedMaze-2Dlh-v0",
    "MiniGrid-DoorKey-6x6-v0",
    "MiniGrid-Dynamic-Obstacles-6x6-v0",
    "MiniGrid-LavaCrossingS9N2-v0",
    "MiniGrid-Fetch-8x8-N3-v0",
]
MOSTLY_FORWARD = [0.12, 0.12, 0.36, 0.15, 0.08, 0.15, 0.02]  # so that the agent comes about and handles things


def twins(task, **arguments):
    """An environment as MiniGrid has it, and one that sees by our view."""
    slow, fast = (gymnasium.make(task, disable_env_checker=True, **arguments).unwrapped for _ in range(2))
    hasten_view(fast)
    assert fast.gen_obs.__func__ is gen_obs
    return slow, fast


def assert_same(seen, expected):
    assert list(seen) == list(expected)
    assert (seen["direction"], seen["mission"]) == (expected["direction"], expected["mission"])
    image = seen["image"]
    assert image.dtype == expected["image"].dtype
    assert (image.flags.c_contiguous, image.flags.writeable, image.flags.owndata) == (True, True, True)
    np.testing.assert_array_equal(image, expected["image"])


def assert_twins_see_the_same(slow, fast, seed, steps=50):
    draw = np.random.default_rng(seed)
    assert_same(fast.reset(seed=seed)[0], slow.reset(seed=seed)[0])
    for _ in range(steps):
        action = int(draw.choice(7, p=MOSTLY_FORWARD)) % slow.action_space.n
        (expected, *outcome), (seen, *ours) = slow.step(action), fast.step(action)
        assert_same(seen, expected)
        assert ours == outcome
        if outcome[1] or outcome[2]:
            break


@pytest.mark.parametrize("task", SEEN)
def test_every_observation_is_the_one_of_minigrid(task):
    slow, fast = twins(task)
    for seed in range(3):
        assert_twins_see_the_same(slow, fast, seed)


@pytest.mark.parametrize("size", [3, 5, 11])
@pytest.mark.parametrize("see_through_walls", [False, True])
def test_views_of_any_size_with_or_without_walls_to_the_sight(size, see_through_walls):
    slow, fast = twins("BabyAI-UnlockLocal-v0", agent_view_size=size)
    slow.see_through_walls = fast.see_through_walls = see_through_walls
    assert_twins_see_the_same(slow, fast, seed=size)


@pytest.mark.parametrize("size", [3, 7, 9])
def test_sight_spreads_as_in_minigrid_past_walls_at_random(size):
    draw = np.random.default_rng(size)
    for _ in range(400):
        walls = draw.random((size, size)) < draw.random()
        grid = Grid(size, size)
        grid.grid = [Wall() if wall else None for wall in walls.T.ravel()]
        expected = grid.process_vis((size // 2, size - 1))
        reached, seen = bytes(size // 2) + b"\1" + bytes(size // 2), []
        for clear in (~walls).T[::-1]:
            now, reached = spread_sight(reached, clear.tobytes())
            seen.insert(0, list(now))
        np.testing.assert_array_equal(np.array(seen, bool).T, expected)


def test_what_anyone_changes_in_the_grid_is_seen_at_once():
    slow, fast = twins("MiniGrid-Empty-8x8-v0")
    for env in (slow, fast):
        env.reset(seed=0)
        env.see_through_walls = False
        env.grid.set(3, 1, Wall("red"))
        env.grid.set(2, 2, Ball("blue"))
        env.carrying = Ball("purple")
    assert_same(fast.gen_obs(), slow.gen_obs())
    fast.grid.get(2, 2).color = slow.grid.get(2, 2).color = "green"
    fast.agent_dir = slow.agent_dir = 1
    assert_same(fast.gen_obs(), slow.gen_obs())


def test_an_environment_that_sees_in_a_way_of_its_own_is_left_as_it_is():
    class Dreaming(EmptyEnv):
        def gen_obs_grid(self, agent_view_size=None):
            return Grid(7, 7), np.ones((7, 7), bool)

    env = Dreaming()
    hasten_view(env)
    assert "gen_obs" not in vars(env)


def test_a_grid_of_another_class_is_seen_by_its_own_methods():
    class Foggy(Grid):
        def slice(self, *place):
            return Grid(7, 7)

    _, fast = twins("MiniGrid-Empty-8x8-v0")
    fast.reset(seed=0)
    fast.grid = Foggy(8, 8)
    assert_same(fast.gen_obs(), MiniGridEnv.gen_obs(fast))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_of_an_environment_sees_its_own_grid(copied):
    env = make("BabyAI-GoToRedBall-v0").unwrapped
    env.reset(seed=0)
    other = copied(env)
    other.step(2)
    assert_same(other.minigrid.gen_obs(), MiniGridEnv.gen_obs(other.minigrid))
    assert other.minigrid.gen_obs.__self__ is other.minigrid
