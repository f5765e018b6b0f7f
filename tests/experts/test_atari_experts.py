"""Experts for Atari: where a ball arrives, where a chicken crosses, and a search whose best plan is known."""

import numpy as np
import pytest
from refusals import refusal

from agentgym import experts
from agentgym.environments import make
from agentgym.experts.atari.arrival import Place, arrival
from agentgym.experts.atari.breakout import BreakoutPlayer
from agentgym.experts.atari.crossing import first_move, hit
from agentgym.experts.atari.pong import MIDDLE, PLANS, PongPlayer, plans_worth
from agentgym.experts.atari.search import Outcome, Search, Settings


@pytest.mark.parametrize(
    ("before", "now", "across", "steps"),
    [
        (Place(0, 50), Place(10, 50), 50, 9),  # straight on
        (Place(0, 50), Place(10, 52), 70, 9),
        (Place(0, 90), Place(10, 95), 60, 9),  # 140, thrown back at 100
        (Place(0, 15), Place(10, 10), 35, 9),  # -35, thrown back at 0
        (Place(80, 90), Place(70, 90), None, None),  # away
    ],
)
def test_a_ball_arrives_where_the_walls_throw_it(before, now, across, steps):
    found = arrival(before, now, line=100, walls=(0, 100))
    assert (None if found is None else tuple(found)) == (None if across is None else (across, steps))


def test_a_ball_of_many_reflections_stays_between_the_walls():
    found = arrival(Place(0, 0), Place(1, 30), line=11, walls=(0, 100))
    assert found is not None
    assert found.across == 70  # 30 + 10 * 30 = 330: 100, 0, 100, and 30 back


def test_the_chicken_waits_for_a_car_and_goes_up_where_the_road_is_free():
    assert first_move(6, lambda height, steps: False) == "up"
    assert first_move(6, lambda height, steps: height == 10 and steps <= 2) == "noop"
    assert first_move(10, lambda height, steps: height >= 10 and steps <= 3) == "down"
    assert first_move(6, lambda height, steps: True) == "up"


def test_a_car_is_a_danger_where_it_will_be():
    cars = [0] * 10
    assert hit(cars, 16, 50)  # 0.8 a step: at 40
    assert not hit(cars, 16, 100)
    assert not hit(cars, 6, 50)  # beside the road
    assert hit(cars, 8 + 16 * 9, 138)  # from right to left: at 160 - 110


def memory(**values):
    """The emulator's memory with those bytes, by their names in a player's module."""
    ram = np.zeros(128, np.uint8)
    for name, value in values.items():
        ram[int(name.removeprefix("byte"))] = value
    return ram


def breakout(*, ball, paddle, along=100):
    return memory(byte99=ball, byte101=along, byte72=paddle)


@pytest.mark.parametrize("paddle", range(56, 200, 9))
def test_the_likeliest_action_is_the_chosen_one_and_doubt_is_near_the_aim(paddle):
    """No ball was seen before: the paddle follows it to 120, less 8, and is brought within 10 of there."""
    player = BreakoutPlayer()
    action = player.choose(breakout(ball=120, paddle=paddle))
    distance = 112 - paddle
    assert action == ("noop" if abs(distance) <= 10 else "right" if distance > 0 else "left")
    assert sum(player.chances.values()) == pytest.approx(1)
    assert player.chances[action] == max(player.chances.values())
    assert (player.chances["noop"] < 0.01) == (abs(distance) > 10 + 4.6 * 7)  # by the logistic function


@pytest.mark.parametrize(("action", "push"), [("left", -1), ("leftfire", -1), ("right", 1), ("noop", 0), ("fire", 0)])
def test_the_player_of_breakout_steers_where_the_paddle_will_rest(action, push):
    """10 further than it is, by the push before; whatever else the memory holds."""
    chances = []
    for executed, paddle, rest in ((action, 104, 0), ("noop", 104 + 10 * push, 255)):
        player = BreakoutPlayer()
        player.choose(breakout(ball=120, paddle=90))
        player.executed(executed)
        ram = breakout(ball=120, paddle=paddle, along=96)
        ram[70] = rest
        player.choose(ram)
        chances.append(player.chances)
    assert chances[0] == pytest.approx(chances[1])


def pong(*, ball, paddle, along):
    return memory(byte54=ball, byte49=along, byte51=paddle)


def test_what_a_plan_is_worth_is_where_it_brings_the_paddle_when_the_ball_comes():
    by_plan = dict(zip(map(tuple, PLANS.tolist()), plans_worth(MIDDLE + 19.3 + 7.5, 2.0), strict=True))
    # A push now has moved it by 19.3 when the ball comes: the ball is then 7.5 from the middle, at the paddle's end.
    assert by_plan[1, 0, 0, 0] == pytest.approx(max(by_plan.values()), abs=0.01)
    assert by_plan[1, 0, 1, -1] == by_plan[1, 0, 0, 0]  # what is done later comes too late
    assert by_plan[1, 1, 0, 0] < by_plan[1, 0, 0, 0]  # nearly in the middle: thrown back, and no more
    assert by_plan[0, 0, 0, 0] == pytest.approx(-1, abs=1e-6)  # missed


def test_the_player_of_pong_waits_in_the_middle_while_the_ball_flies_away():
    for paddle, action in ((125 - 6, "noop"), (60, "left"), (180, "right")):
        player = PongPlayer()
        player.choose(pong(ball=100, paddle=paddle, along=120))
        assert player.choose(pong(ball=100, paddle=paddle, along=116)) == action
        assert player.chances[action] == max(player.chances.values())


@pytest.mark.parametrize(("action", "push"), [("left", 1), ("leftfire", 1), ("right", -1), ("noop", 0), ("fire", 0)])
def test_the_player_of_pong_continues_from_the_action_that_was_executed(action, push):
    """Far from the ball it steers where the paddle will rest: 10.4 further by the push before."""
    chances = []
    for executed, paddle in ((action, 100), ("noop", 100 + round(10.4 * push))):
        player = PongPlayer()
        player.choose(pong(ball=100, paddle=paddle, along=120))
        player.executed(executed)
        player.choose(pong(ball=100, paddle=paddle, along=116))
        chances.append(list(player.chances.values()))
    assert chances[0] == pytest.approx(chances[1], abs=0.03)


def test_probabilities_are_in_the_order_of_the_actions():
    env, expert = make("ALE/Breakout-v5"), experts.make("atari-ram")
    expert.check(env)
    assert expert.has_probabilities
    observation, _ = env.reset(seed=0)
    expert.start(env, 0)
    action = expert.act(observation)
    assert env.action_names[action] == "fire"
    assert expert.probabilities().tolist() == [float(name == "fire") for name in env.action_names]
    env.close()


def test_a_game_whose_player_is_always_certain_has_no_probabilities():
    expert = experts.make("atari-ram")
    expert.check(make("ALE/Freeway-v5"))
    assert not expert.has_probabilities


class Corridor:
    """Places in a row: action 1 goes to the right, 0 to the left; what costs is an end."""

    num_actions, num_atoms = 2, 100

    def __init__(self, rewards):
        self._rewards = rewards

    def after(self, state, action):
        place = state + (1 if action else -1)
        reward = self._rewards.get(place, 0.0)
        return Outcome(place, reward, reward < 0, np.array([place]))


def searching(rewards, *, states=50, seed=0, horizon=20):
    search = Search(Corridor(rewards), Settings(states, horizon, 0.9), np.random.default_rng(seed))
    return search, Outcome(50, 0.0, False, np.array([50]))


@pytest.mark.parametrize(
    ("rewards", "best"),
    [
        ({45: 1.0}, 0),
        ({49: 1.0, 55: 10.0}, 1),  # the feast is worth the way
        ({49: 1.0, 55: 1.2}, 0),  # what is later counts less
        ({51: -1.0}, 0),
        ({51: -9.0, 49: -1.0}, 0),  # the smaller evil
    ],
)
def test_the_search_finds_the_best_plan_of_a_corridor(rewards, best):
    search, start = searching(rewards)
    assert search.choose(start) == best


def test_what_was_tried_is_kept_below_the_action_when_the_world_is_as_foreseen():
    search, start = searching({55: 1.0})
    assert search.choose(start) == 1
    below = search.root.children[1]
    assert search.choose(below.outcome) == 1
    assert search.root is below
    search.choose(Outcome(70, 0.0, False, np.array([70])))
    assert search.root.outcome.state == 70


def test_a_search_costs_no_more_states_than_it_may():
    search, start = searching({}, states=7)
    search.choose(start)
    assert search.root.size == 7


def test_a_search_without_a_reward_chooses_by_its_seed():
    chosen = [searching({}, states=5, seed=seed)[0] for seed in range(9)]
    start = Outcome(50, 0.0, False, np.array([50]))
    assert {search.choose(start) for search in chosen} == {0, 1}


def test_a_search_continues_where_every_way_is_an_end():
    search, start = searching({49: -1.0, 51: -2.0})
    assert search.choose(start) == 0
    assert search.choose(search.root.children[0].outcome._replace(over=False)) in (0, 1)


def actions_of(name, task, seed, steps):
    env = make(task)
    env.begin(seed)
    expert = experts.make(name)
    expert.check(env)
    expert.start(env, seed)
    actions = []
    for _ in range(steps):
        actions.append(int(expert.act({})))
        env.play(actions[-1])
    return actions, env.ale.getRAM().tolist()


@pytest.mark.parametrize(("name", "task"), [("rollout-iw", "ALE/Boxing-v5"), ("atari-ram", "ALE/Breakout-v5")])
def test_an_episode_is_a_function_of_its_seed_and_its_actions_replay_it(name, task):
    pytest.importorskip("ale_py")
    actions, memory = actions_of(name, task, 3, 9)
    assert (actions, memory) == actions_of(name, task, 3, 9)
    env = make(task)
    env.begin(3)
    for action in actions:
        env.play(action)
    assert env.ale.getRAM().tolist() == memory  # so that planning leaves no trace in the game


def test_the_chicken_crosses():
    pytest.importorskip("ale_py")
    env = make("ALE/Freeway-v5")
    env.begin(0)
    expert = experts.make("atari-ram")
    expert.check(env)
    expert.start(env, 0)
    assert sum(env.play(expert.act({})).reward for _ in range(90)) >= 1


def test_what_an_expert_cannot_play_is_refused_in_one_line():
    pytest.importorskip("ale_py")
    assert refusal(experts.make("atari-ram").check, make("ALE/Boxing-v5")) == (
        "expert 'atari-ram' cannot act in ALE/Boxing-v5: it plays ALE/Breakout-v5, ALE/Freeway-v5, ALE/Pong-v5; "
        "'rollout-iw' plays every ALE/* game"
    )
    assert refusal(experts.make("rollout-iw").check, make("MiniGrid-Empty-5x5-v0")) == (
        "expert 'rollout-iw' cannot act in MiniGrid-Empty-5x5-v0: it searches in saved states of ALE/* games"
    )


def test_a_player_of_the_memory_plays_the_same_without_frames():
    env, memories = make("ALE/Freeway-v5"), []
    for env.drawn in (True, False):
        expert = experts.make("atari-ram")
        observation, _ = env.reset(seed=3)
        expert.start(env, 3)
        for _ in range(40):
            observation = env.step(expert.act(observation))[0]
        assert observation["frame"].any() == env.drawn
        memories.append(env.ale.getRAM().tolist())
    assert memories[0] == memories[1]
