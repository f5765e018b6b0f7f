"""The agent in PPO among several domains, and among actions and observations of other kinds."""

import pytest
import torch
from algorithms import make, make_env
from counting_env import CountingEnv
from gymnasium.spaces import Discrete
from gymnasium.wrappers import Autoreset
from refusals import refusal
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.sb3 import HistoryObservation

M = 4  # steps of the window


def test_of_several_domains_it_starts_in_the_one_of_the_environments_actions(run, run_of_two, tmp_path):
    observation = make_env().reset(seed=3)[0]
    one, two = (make(PPO, path, make_env()).policy for path in (run, run_of_two))
    logits = [each.get_distribution(each.obs_to_tensor(observation)[0]).distribution.logits for each in (one, two)]
    assert torch.equal(*logits)
    two.save_checkpoint(tmp_path / "tuned")
    assert AgentPolicy.from_pretrained(tmp_path / "tuned").tasks == AgentPolicy.from_pretrained(run).tasks
    assert "Jump-v0" in AgentPolicy.from_pretrained(run_of_two).tasks


def test_actions_of_no_domain_are_refused_with_those_that_it_knows(run_of_two):
    fewer = make_env()
    fewer.action_space = type(fewer.action_space)(5)
    text = refusal(make, PPO, run_of_two, fewer)
    assert "action space Discrete(5)" in text
    assert "jump, left, duck; " in text
    assert "no task 'Jump-v0' with Discrete(7)" in refusal(make, PPO, run_of_two, make_env(), task="Jump-v0")


class CountingFromThree(CountingEnv):
    """The same with actions 3 to 9, and no others."""

    def __init__(self):
        super().__init__()
        self.action_space = Discrete(7, start=3)

    def step(self, action):
        assert self.action_space.contains(action)
        return super().step(action - 3)


def test_actions_that_begin_with_another_number_are_those_of_the_agent_policy(run_from_three):
    wrapped, plain = HistoryObservation(CountingFromThree(), window=M), CountingFromThree()
    assert wrapped.action_space == Discrete(7)
    model, policy = make(PPO, run_from_three, wrapped), AgentPolicy.from_pretrained(run_from_three)
    seen, other, state, done, played = wrapped.reset(seed=11)[0], plain.reset(seed=11)[0], None, False, []
    while not done:
        ours, (theirs, state) = model.predict(seen, deterministic=True)[0], policy.predict(other, state, None, True)
        assert ours + 3 == theirs
        played.append(int(theirs))
        seen, other, done = wrapped.step(ours)[0], *plain.step(theirs)[0:3:2]
    assert len(set(played)) > 1
    model.learn(8)  # no action outside the space
    unwrapped = HistoryObservation(CountingFromThree(), window=M)
    unwrapped.action_space = Discrete(7, start=3)
    assert "Stable-Baselines3 counts actions from 0" in refusal(make, PPO, run_from_three, unwrapped)


@pytest.mark.parametrize("name", ["frames", "actions"])
def test_observations_that_a_wrapper_normalises_are_refused(run, name):
    env = VecNormalize(DummyVecEnv([make_env]), norm_obs_keys=[name])
    text = refusal(make(PPO, run, env).learn, 8)
    assert f"the observation's '{name}' is from " in text
    assert "VecNormalize" in text


def test_a_window_around_an_environment_that_resets_itself_would_span_two_episodes_and_is_refused():
    env = Autoreset(CountingEnv())
    assert "resets on its own, unseen by the window; leave Autoreset out" in refusal(HistoryObservation, env, window=2)
    env.close()
