"""The planner on MiniGrid's true grid: its world is MiniGrid's, its plans are short, it copes with what happens."""

from collections import deque

import numpy as np
import pytest
from refusals import refusal

from agentgym import experts
from agentgym.environments import make
from agentgym.experts.planner.missions import Arrive, Mission, Open, PickUp
from agentgym.experts.planner.planning import NoPlanError, plan
from agentgym.experts.planner.search import NEVER, cheapest_way, facing, standing
from agentgym.experts.planner.world import WALL, Thing, World

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
        ("###### #>.Lg# #k.### ######", 7),
        ("###### #>.Lg# #b..## ######", 8),  # the key is in the box
        ("####### #>.o.g# #######", 5),  # carries on what was in the way
        ("####### #.>o.g# #.#...# #######", 4),
    ],
)
def test_the_goal_is_reached_by_as_few_actions_as_can_be(picture, length):
    world = draw(picture)
    goal = world.where("goal")[0]
    actions = plan(world, reach_goal(world))
    assert act_out(world, actions).pose // 4 == goal
    assert len(actions) == length == shortest(world, lambda state: state.pose // 4 == goal)


def test_a_thing_in_the_hand_is_put_aside_for_the_key_and_not_into_the_way():
    world = draw("####### #...#.# #>.oLg# #.k.#.# #######")
    actions = plan(world, reach_goal(world))
    end = act_out(world, actions)
    assert end.pose // 4 == world.where("goal")[0]
    assert len(end.where("ball", "blue")) == 1
    assert end.carrying == KEY
    assert len(actions) <= shortest(world, lambda state: state.pose // 4 == world.where("goal")[0]) + 2


def test_the_prize_beyond_a_locked_door_is_picked_up_with_the_key_put_down_before():
    world = draw("###### #k>LP# ######")  # where one can only drop what is carried behind oneself
    end = act_out(world, plan(world, Mission((PickUp("ball", "purple"),))))
    assert end.carrying == PRIZE
    assert end.where("key")


def test_a_door_that_is_to_be_opened_is_open_at_the_end():
    world = draw("##### #>.L# #k..# #####")
    end = act_out(world, plan(world, Mission((Open(world.where("door")[0]),))))
    assert end.cells[world.where("door")[0]].state == "open"


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        ("##### #>#g# #####", "there is no way"),
        ("##### #>~g# #####", "there is no way"),
        ("###### #>.Lg# ######", "there is no way"),  # no key
        ("####### #>LkLg# #######", "there is no way"),  # the key is behind its own door
    ],
)
def test_what_cannot_be_done_is_said(picture, reason):
    world = draw(picture)
    with pytest.raises(NoPlanError, match=reason):
        plan(world, reach_goal(world))


def test_where_things_must_not_be_touched_they_are_walls():
    world = draw("##### #>og# #####")
    assert len(plan(world, reach_goal(world))) == 3
    with pytest.raises(NoPlanError, match="there is no way"):
        plan(world, Mission(reach_goal(world).tasks, hands=False))


def test_the_cheapest_way_pays_what_a_cell_costs():
    prices = [NEVER] * 5 + [NEVER, 0, 9, 0, NEVER] + [NEVER] * 5
    assert cheapest_way(4 * 6, standing(8), prices, 5) == (11, [4 * 7, 4 * 8])
    assert cheapest_way(4 * 6, facing(7, 5), prices, 5) == (0, [])
    assert cheapest_way(4 * 6, standing(11), prices, 5) is None


@pytest.mark.parametrize(
    "task", ["MiniGrid-ObstructedMaze-1Dlhb-v0", "MiniGrid-KeyCorridorS3R2-v0", "MiniGrid-DoorKey-5x5-v0"]
)
def test_the_world_after_an_action_is_the_environments(task):
    env, generator = make(task), np.random.default_rng(0)
    for seed in range(2):
        env.reset(seed=seed)
        done = False
        for action in generator.choice(6, size=150, p=[0.15, 0.15, 0.3, 0.15, 0.1, 0.15]):
            foreseen = World.of(env.minigrid).after(int(action))
            _, _, done, _, _ = env.step(action)
            assert World.of(env.minigrid) == foreseen
            if done:
                break


def play(task, seed, disturb=lambda step: None):
    """The actions of an episode and whether it was solved; `disturb` may put another action in a step's place."""
    env, expert = make(task), experts.make("minigrid-planner")
    expert.check(env)
    observation, _ = env.reset(seed=seed)
    expert.start(env, seed)
    actions, done = [], False
    while not done:
        action = expert.act(observation)
        actions.append(action)
        other = disturb(len(actions))
        observation, _, terminated, truncated, info = env.step(action if other is None else other)
        done = terminated or truncated
    return actions, info["is_success"]


@pytest.mark.parametrize(
    "task",
    [
        *("MiniGrid-Dynamic-Obstacles-6x6-v0", "MiniGrid-Fetch-6x6-N2-v0", "MiniGrid-GoToDoor-8x8-v0"),
        *("MiniGrid-GoToObject-6x6-N2-v0", "MiniGrid-KeyCorridorS3R1-v0", "MiniGrid-LavaGapS5-v0"),
        *("MiniGrid-MemoryS7-v0", "MiniGrid-ObstructedMaze-2Dlhb-v1", "MiniGrid-PutNear-6x6-N2-v0"),
        *("MiniGrid-RedBlueDoors-6x6-v0", "MiniGrid-Unlock-v0", "MiniGrid-BlockedUnlockPickup-v0"),
    ],
)
def test_levels_of_every_kind_are_solved_the_same_way_each_time(task):
    assert all(play(task, seed)[1] for seed in range(3))
    assert play(task, 0) == play(task, 0)


@pytest.mark.parametrize("task", ["MiniGrid-DoorKey-6x6-v0", "MiniGrid-ObstructedMaze-1Dlhb-v0"])
def test_it_plans_again_when_another_action_was_executed(task):
    generator = np.random.default_rng(0)

    def disturb(step):
        return int(generator.integers(6)) if step % 4 == 0 else None

    assert all(play(task, seed, disturb)[1] for seed in range(3))


@pytest.mark.parametrize("task", ["MiniGrid-Playground-v0", "BabyAI-GoToRedBall-v0"])
def test_a_level_that_asks_nothing_it_knows_is_refused(task):
    line = refusal(experts.make("minigrid-planner").check, make(task))
    assert line == (
        f"expert 'minigrid-planner' cannot act in {task}: it needs a MiniGrid-* task with a mission; "
        "'babyai-bot' acts in BabyAI-* tasks"
    )
