"""Environments: the observation, the seed, success, and a picture that is MiniGrid's own."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from minigrid.core.constants import OBJECT_TO_IDX
from refusals import refusal
from stable_baselines3.common.env_checker import check_env as check_env_sb3
from tiny import TASK

import agentgym
from agentgym.environments import (
    INSTRUCTION_BYTES,
    check_suite,
    decode_instruction,
    encode_instruction,
    make,
    task_ids,
)
from agentgym.environments.pixels import resize
from agentgym.experts import RandomExpert
from agentgym.recipes import FrameRecipe, SuiteRecipe, TaskRecipe
from agentgym.versions import installed_versions

# Between them: keys, balls, boxes, goals, lava, and doors that are open, closed and locked.
DRAWN = [
    "BabyAI-GoToRedBall-v0",
    "BabyAI-UnlockLocal-v0",
    "BabyAI-BossLevel-v0",
    "MiniGrid-DoorKey-8x8-v0",
    "MiniGrid-LavaCrossingS9N2-v0",
    "MiniGrid-ObstructedMaze-2Dlh-v0",
    "MiniGrid-Dynamic-Obstacles-6x6-v0",
]


def acted(task, seed, frame=None, steps=40):
    """An environment after the reset and after each random step."""
    env = make(task, frame=frame)
    observation, _ = env.reset(seed=seed)
    yield env, observation
    expert = RandomExpert()
    expert.start(env, seed)
    done = False
    while not done and steps:
        observation, _, terminated, truncated, _ = env.step(expert.act(observation))
        yield env, observation
        done, steps = terminated or truncated, steps - 1
    env.close()


@pytest.mark.parametrize("task", DRAWN)
@pytest.mark.parametrize("tile_size", [8, 5])
def test_the_partial_view_is_the_picture_that_minigrid_draws(task, tile_size):
    for seed in range(3):
        for env, observation in acted(task, seed, FrameRecipe(tile_size=tile_size)):
            drawn = env.minigrid.get_frame(tile_size=tile_size, agent_pov=True)
            assert np.array_equal(observation["frame"], drawn)


def test_what_the_agent_carries_is_in_the_picture_that_minigrid_draws():
    env = make("MiniGrid-Fetch-8x8-N3-v0")
    carried = set()
    for seed in range(40):
        env.reset(seed=seed)
        front = env.minigrid.grid.get(*env.minigrid.front_pos)
        if front is None or not front.can_pickup():
            continue
        observation = env.step(3)[0]
        assert env.minigrid.carrying is front
        carried.add(front.type)
        assert np.array_equal(observation["frame"], env.minigrid.get_frame(tile_size=8, agent_pov=True))
    assert carried == {"ball", "key"}


def test_locked_doors_and_lava_are_among_what_is_drawn():
    seen = set()
    for task in DRAWN:
        for env, _ in acted(task, 0):
            seen |= {(int(kind), int(state)) for kind, _, state in env.symbolic.reshape(-1, 3)}
    assert {(OBJECT_TO_IDX["door"], state) for state in (1, 2)} <= seen
    assert {OBJECT_TO_IDX[name] for name in ("lava", "goal", "key", "ball", "box")} <= {kind for kind, _ in seen}


@pytest.mark.parametrize("task", DRAWN)
@pytest.mark.parametrize("highlight", [True, False])
def test_the_full_view_is_the_whole_grid_as_minigrid_draws_it(task, highlight):
    recipe = TaskRecipe(id=task, arguments={} if highlight else {"highlight": False})
    for env, observation in acted(recipe, 1, FrameRecipe(view="full", tile_size=4), steps=15):
        inner = env.minigrid
        assert observation["frame"].shape == (inner.height * 4, inner.width * 4, 3)
        assert np.array_equal(observation["frame"], inner.get_frame(highlight=highlight, tile_size=4))


def test_people_are_shown_the_whole_grid_with_what_the_agent_sees():
    for env, _ in acted("MiniGrid-DoorKey-5x5-v0", 0, steps=5):
        assert np.array_equal(env.render(), env.minigrid.get_frame(highlight=True, tile_size=32))


@pytest.mark.parametrize("task", [TASK, "MiniGrid-DoorKey-5x5-v0"])
def test_the_checkers_of_gymnasium_and_stable_baselines3_have_nothing_to_say(task):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(task))
        check_env_sb3(make(task))


def test_the_observation_is_a_frame_and_the_instruction_as_bytes():
    env = agentgym.make(TASK)
    observation, _ = env.reset(seed=0)
    assert observation["frame"].shape == env.frame_shape == (56, 56, 3)
    assert observation["frame"].dtype == np.uint8
    assert decode_instruction(observation["instruction"]) == env.minigrid.mission
    assert env.observation_space.contains(observation)


def test_a_seed_makes_the_episode():
    first, again, other = (
        [observation["frame"] for _, observation in acted(TASK, seed, steps=10)] for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], other[0])


def test_the_seed_of_every_episode_is_named_and_reproduces_it():
    env = make(TASK)
    _, info = env.reset(seed=5)
    assert info["seed"] == 5
    seeds = set()
    for _ in range(5):
        observation, info = env.reset()
        seeds.add(info["seed"])
        assert np.array_equal(observation["frame"], make(TASK).reset(seed=info["seed"])[0]["frame"])
    assert len(seeds) == 5


def test_resets_without_a_seed_follow_from_the_last_one():
    def seeds(env):
        env.reset(seed=9)
        return [env.reset()[1]["seed"] for _ in range(4)]

    assert seeds(make(TASK)) == seeds(make(TASK))


def test_success_is_termination_with_a_reward_and_is_known_only_at_the_end():
    lava = make("MiniGrid-LavaGapS5-v0")
    ends = []
    for seed in range(30):
        lava.reset(seed=seed)
        expert = RandomExpert()
        expert.start(lava, seed)
        done = False
        while not done:
            _, reward, terminated, truncated, info = lava.step(expert.act({}))
            done = terminated or truncated
            assert ("is_success" in info) == done
        assert info["is_success"] == (terminated and reward > 0)
        ends.append((terminated, info["is_success"]))
    assert {(True, False), (True, True)} <= set(ends)


def test_running_out_of_steps_is_no_success():
    env = make(TASK)
    env.reset(seed=0)
    for _ in range(env.minigrid.max_steps):
        _, _, terminated, truncated, info = env.step(0)
    assert truncated
    assert not terminated
    assert info["is_success"] is False


def test_what_the_agent_holds_is_not_changed_by_later_steps():
    env = make(TASK)
    first, info = env.reset(seed=0)
    kept = {key: value.copy() for key, value in first.items()}
    first["instruction"][:] = 7
    second, _, _, _, other_info = env.step(0)
    assert np.array_equal(first["frame"], kept["frame"])
    assert np.array_equal(second["instruction"], kept["instruction"])
    assert info is not other_info


def test_nothing_reaches_standard_output(capfd):
    gymnasium.make("BabyAI-GoTo-v0").reset(seed=1)
    assert "Sampling rejected" in capfd.readouterr().out  # what MiniGrid does by itself
    make("BabyAI-GoTo-v0").reset(seed=1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("text", ["", "go to the red ball", "größer → 球"])
def test_an_instruction_comes_back_from_its_bytes(text):
    padded = encode_instruction(text)
    assert padded.shape == (INSTRUCTION_BYTES,)
    assert decode_instruction(padded) == text


def test_an_instruction_that_is_too_long_is_refused_and_never_cut():
    assert decode_instruction(encode_instruction("x" * INSTRUCTION_BYTES)) == "x" * INSTRUCTION_BYTES
    with pytest.raises(ValueError, match="at most 256 bytes in UTF-8, this one 258"):
        encode_instruction("ö" * 129)


def test_an_unknown_id_is_refused_with_a_suggestion():
    assert refusal(make, "BabyAI-GoToRedBal-v0") == (
        "unknown environment id 'BabyAI-GoToRedBal-v0'; did you mean 'BabyAI-GoToRedBall-v0'?"
    )
    assert "any id of Gymnasium's registry" in refusal(make, "zzz")


def test_an_unknown_id_of_a_suite_is_refused_with_its_key():
    suite = SuiteRecipe(name="mine", description="", tasks=[{"id": TASK}, {"id": "BabyAI-GoToo-v0"}])
    assert refusal(check_suite, suite) == (
        "suite mine: key 'tasks.1.id': unknown environment id 'BabyAI-GoToo-v0'; did you mean 'BabyAI-GoTo-v0'?"
    )


def test_every_id_can_be_made_and_shows_what_it_says():
    assert len(task_ids()) > 150
    for task in task_ids()[::7]:
        env = make(task)
        observation, _ = env.reset(seed=0)
        assert env.observation_space.contains(observation), task
        env.close()


def test_the_versions_that_decide_what_an_episode_looks_like_are_known():
    assert {"agentgym", "gymnasium", "minigrid", "numpy"} == set(installed_versions())


@pytest.mark.parametrize("size", [(6, 6), (3, 4)])
def test_a_picture_of_another_size_can_be_written_to_and_is_another_one(size):
    picture = np.zeros((6, 6, 3), np.uint8)
    resized = resize(picture, size)
    resized += 1
    assert not picture.any()
