"""Policies of Stable-Baselines3 are its own: pickled, copied, sent elsewhere, and changed in whatever way it does."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from algorithms import make, make_env
from stable_baselines3 import A2C, PPO
from torch.nn.utils import parameters_to_vector

ALGORITHMS = pytest.mark.parametrize("algorithm", [PPO, A2C])


def seen():
    return make_env().reset(seed=5)[0]


def logits(policy, observation):
    with torch.no_grad():
        return policy.get_distribution(policy.obs_to_tensor(observation)[0]).distribution.logits.numpy()


@ALGORITHMS
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda policy: pickle.loads(pickle.dumps(policy))])
def test_a_copy_acts_as_the_original_did_whatever_becomes_of_that(run, algorithm, copied):
    model = make(algorithm, run, make_env())
    observation = seen()
    before = logits(model.policy, observation)
    frozen = copied(model.policy)
    model.learn(8)
    for weight in model.policy.parameters():
        weight.data.mul_(1.5)
    np.testing.assert_array_equal(logits(frozen, observation), before)
    assert np.abs(logits(model.policy, observation) - before).max() > 1e-3


@ALGORITHMS
@pytest.mark.parametrize("change", ["data", "load_from_vector", "average"])
def test_weights_that_were_changed_in_any_way_act_at_once(run, algorithm, change):
    model, other = (make(algorithm, run, make_env()) for _ in range(2))
    policy, observation = model.policy, seen()
    logits(policy, observation)  # whatever is prepared of the old weights is prepared
    with torch.no_grad():
        for weight in other.policy.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())))
    wanted = logits(other.policy, observation)
    if change == "data":
        for mine, theirs in zip(policy.parameters(), other.policy.parameters(), strict=True):
            mine.data.copy_(theirs.data)
    elif change == "load_from_vector":
        policy.load_from_vector(parameters_to_vector(other.policy.parameters()).detach().numpy())
    else:
        for mine, theirs in zip(policy.parameters(), other.policy.parameters(), strict=True):
            mine.data.lerp_(theirs.data, 0.5)
            mine.data.lerp_(theirs.data, 1.0)
    np.testing.assert_allclose(logits(policy, observation), wanted, atol=1e-5)


def test_a_pickled_policy_acts_the_same_in_another_process(run, tmp_path):
    policy, observation = make(A2C, run, make_env()).policy, seen()
    (tmp_path / "policy.pkl").write_bytes(pickle.dumps((policy, observation)))
    code = """if True:
        import pickle
        policy, observation = pickle.load(open("policy.pkl", "rb"))
        print(policy.get_distribution(policy.obs_to_tensor(observation)[0]).distribution.logits.tolist())"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    np.testing.assert_allclose(eval(ran.stdout), logits(policy, observation), atol=1e-5)
