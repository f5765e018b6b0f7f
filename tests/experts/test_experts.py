"""Experts: the bot acts as upstream's does, and the random one by its seed."""

import numpy as np
import pytest
from minigrid.utils.baby_ai_bot import BabyAIBot
from refusals import refusal
from tiny import TASK

from agentgym import experts
from agentgym.environments import make
from agentgym.evaluation.expert_rollouts import play_seeds
from agentgym.recipes import BudgetRecipe, FrameRecipe


@pytest.mark.parametrize(
    ("task", "seeds"),
    [(TASK, 30), ("BabyAI-GoTo-v0", 10), ("BabyAI-PickupLoc-v0", 30), ("BabyAI-UnlockLocal-v0", 30)],
)
def test_the_bot_acts_as_upstreams_does(task, seeds):
    env, expert = make(task), experts.make("babyai-bot")
    for seed in range(seeds):
        observation, _ = env.reset(seed=seed)
        expert.start(env, seed)
        upstream = BabyAIBot(env.minigrid)
        done = False
        while not done:
            action = expert.act(observation)
            assert action == upstream.replan(), (seed, env.minigrid.step_count)
            observation, _, terminated, truncated, info = env.step(action)
            done = terminated or truncated
        assert info["is_success"]


def test_the_random_expert_draws_every_action_and_by_its_seed_only():
    env = make(TASK)

    def actions(seed):
        expert = experts.make("random")
        expert.start(env, seed)
        return [expert.act({}) for _ in range(200)]

    assert actions(3) == actions(3)
    assert actions(3) != actions(4)
    assert np.array_equal(np.unique(actions(3)), np.arange(env.action_space.n))


def test_a_plan_without_end_is_given_up_at_once_on_any_machine():
    budget = BudgetRecipe(seconds=10_000)
    played = play_seeds("babyai-bot", "BabyAI-UnlockToUnlock-v0", FrameRecipe(), range(8), budget)
    in_circles = [episode for episode in played if episode.over_budget]
    assert 0 < len(in_circles) < 8
    assert {episode.error for episode in in_circles} == {"the bot plans in circles"}
    assert all(episode.success for episode in played if not episode.over_budget)


def test_the_bot_refuses_an_environment_it_cannot_act_in():
    line = refusal(experts.make("babyai-bot").check, make("MiniGrid-Empty-5x5-v0"))
    assert line == "expert 'babyai-bot' cannot act in MiniGrid-Empty-5x5-v0: it needs a BabyAI-* task"


def test_an_unknown_expert_is_refused_with_a_suggestion():
    assert refusal(experts.make, "babyai-bott") == "no expert is named 'babyai-bott'; did you mean 'babyai-bot'?"
    assert refusal(experts.make, "zzz").endswith(f"known: {', '.join([*experts.EXPERTS, *experts.BY_PATH])}")


ACTS_IN = {
    "minigrid-planner": "MiniGrid-DoorKey-5x5-v0",
    "trained": "MinAtar/Breakout-v1",
    "atari-ram": "ALE/Freeway-v5",
    "rollout-iw": "ALE/Boxing-v5",
}


@pytest.mark.parametrize("name", list(experts.EXPERTS))
def test_every_expert_keeps_the_protocol(name):
    expert, env = experts.make(name), make(ACTS_IN.get(name, TASK))
    expert.check(env)
    for seed in range(2):
        observation, _ = env.reset(seed=seed)
        expert.start(env, seed)
        for _ in range(3):
            action = expert.act(observation)
            assert env.action_space.contains(action)
            observation = env.step(action)[0]
