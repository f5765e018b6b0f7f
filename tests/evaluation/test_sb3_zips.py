"""Zips of Stable-Baselines3 as policies: trusted first, then scored as any other."""

import gymnasium
import pytest
from refusals import refusal
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny import TASK

from agentgym import environments
from agentgym.evaluation import policy_registry
from agentgym.recipes import FrameRecipe
from agentgym.spaces import SpaceCodec
from agentgym.trust import trusting


def environment():
    return environments.make(TASK)


@pytest.fixture(scope="module")
def zipped(tmp_path_factory):
    """A Stable-Baselines3 model that has learned nothing, as its zip."""
    path = tmp_path_factory.mktemp("zip") / "ppo.zip"
    PPO("MultiInputPolicy", DummyVecEnv([environment]), n_steps=2, batch_size=2, device="cpu").save(path)
    return path


def test_a_stable_baselines3_zip_is_scored_once_it_is_trusted(zipped, scored):
    assert "give --trust" in refusal(scored, f"sb3:{zipped}")
    found = scored(f"sb3:{zipped}", trust=True)
    assert (found["name"], found["seeds_checked_against"]) == ("sb3-ppo", None)
    sampled = [scored(f"sb3:{zipped}", str(n), trust=True, deterministic=False, environments=n) for n in (1, 4)]
    assert sampled[0]["tasks"] == sampled[1]["tasks"]


def test_the_policy_of_a_zip_acts_as_stable_baselines3_loads_it(zipped):
    with trusting(True):
        ours, theirs = policy_registry.SB3Policy(zipped, sampled=False), PPO.load(zipped, device="cpu")
    env = environment()
    for seed in range(5):
        observation = {key: value[None] for key, value in env.reset(seed=seed)[0].items()}
        assert ours.predict(observation, deterministic=True)[0] == theirs.predict(observation, deterministic=True)[0]


def test_a_zip_counts_from_0_where_an_environments_actions_do_not(zipped):
    with trusting(True):
        policy, env = policy_registry.SB3Policy(zipped, sampled=False), environment()
    observation = {key: value[None] for key, value in env.reset(seed=0)[0].items()}
    chosen = policy.predict(observation, deterministic=True)[0]
    space = SpaceCodec.of(gymnasium.spaces.Discrete(int(env.action_space.n), start=5))
    assert policy.playing(space, "any").predict(observation, deterministic=True)[0] == chosen + 5


def test_a_zip_that_does_not_fit_is_one_line(zipped, scored, tmp_path):
    (tmp_path / "text.zip").write_text("no zip")
    assert "cannot be loaded as a Stable-Baselines3 model" in refusal(
        scored, f"sb3:{tmp_path / 'text.zip'}", trust=True
    )
    assert "there is no file" in refusal(scored, f"sb3:{tmp_path / 'none.zip'}", trust=True)
    env = environments.make(TASK, frame=FrameRecipe(tile_size=4))
    with trusting(True):
        policy = policy_registry.SB3Policy(zipped, sampled=False)
    assert "was trained on" in refusal(policy_registry.check_fit, policy, env)
    vec_env = DummyVecEnv([environment])
    DQN("MultiInputPolicy", vec_env, buffer_size=2, device="cpu").save(tmp_path / "dqn.zip")
    with trusting(True):
        policy_registry.SB3Policy(tmp_path / "dqn.zip", sampled=False)
        assert "leave --sample out" in refusal(policy_registry.SB3Policy, tmp_path / "dqn.zip", sampled=True)
