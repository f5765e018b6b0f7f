"""The planner on MiniGrid's true grid: its world is MiniGrid's, its ways are the shortest, it copes with what happens."""

from collections import deque

import numpy as np
import pytest
from worlds import refusal

from agentgym import experts
from agentgym.environments import make
from agentgym.experts.planner.missions import Arrive, Mission, Open, PickUp
from agentgym.experts.planner.planning import NoPlanError, plan
from agentgym.experts.planner.search import beside, cheapest_way, facing, standing
from agentgym.experts.planner.world import DROP, TOGGLE, WALL, Thing, World

GOAL = Thing("goal", "green")
KEY = Thing("key", "yellow")
PRIZE = Thing("ball", "purple")
SIGNS = {
    ".": None,
    "#": WALL,
    "g": GOAL,
    "~": Thing("lava", "red"),
    "o": Thing("ball", "blue"),
    "k": KEY,
    "b": Thing("box", "grey", contains=KEY),
    "d": Thing("door", "red", "closed"),
    "L": Thing("door", "yellow", "locked"),
    "P": PRIZE,
}


def draw(picture):
    """A world from a picture; the agent is an arrow in the direction of its look."""
    rows = picture.split()
    signs = "".join(rows)
    cell = next(place for place, sign in enumerate(signs) if sign in ">v<^")
    things = tuple(None if sign in ">v<^" else SIGNS[sign] for sign in signs)
    return World(len(rows[0]), things, 4 * cell + ">v<^".index(signs[cell]))


def reach_goal(world):
    return Mission((Arrive(frozenset(standing(world.where("goal")[0]))),))


def act_out(world, actions):
    for action in actions:
        world = world.after(action)
    return world


def shortest(world, is_done):
    """The fewest actions to a state, by trying everything."""
    queue, seen = deque([(0, world)]), {world}
    while queue:
        count, state = queue.popleft()
        if is_done(state):
            return count
        for following in map(state.after, range(6)):
            on = following.cells[following.pose // 4]
            if following not in seen and (on is None or on.kind != "lava"):
                seen.add(following)
                queue.append((count + 1, following))
    raise AssertionError("it cannot be done")


@pytest.mark.parametrize(
    ("picture", "length"),
    [
        ("##### #>.g# #####", 2),
        ("##### #<.g# #####", 4),  # two turns first
        ("##### #>~g# #...# #####", 7),  # around the lava
        ("###### #>d.g# ######", 4),  # a toggle opens the door
        ("###### #>.Lg# #k...# ######", 9),
        ("###### #>.Lg# #b..## ######", 10),
        ("####### #>.o.g# #######", 7),  # picks the ball up, turns, drops it where it was, and passes
        ("####### #.>o.g# #.#...# #.....# #######", 6),  # it need not be touched at all
    ],
)
def test_the_goal_is_reached_by_as_few_actions_as_can_be(picture, length):
    world = draw(picture)
    goal = world.where("goal")[0]
    actions = plan(world, reach_goal(world))
    assert act_out(world, actions).pose // 4 == goal
    print(length, shortest(world, lambda state: state.pose // 4 == goal))
    assert len(actions) == length


def test_x():
    assert 0
