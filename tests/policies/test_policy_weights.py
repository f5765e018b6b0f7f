"""A policy acts by the weights as they are, in the precision that is asked for, and so do its copies."""

import copy
import pickle

import numpy as np
import pytest
import torch
from recorded_observations import longest, observation_of
from tiny import model_of, tokenizer_of
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from agentgym.errors import UserError
from agentgym.policies.agent_policy import AgentPolicy

M = 4  # steps of the window


def changed_by_data(model):
    for weight in model.parameters():
        weight.data.mul_(1.5)


def changed_by_vector(model):
    vector_to_parameters(2 * parameters_to_vector(model.parameters()).detach(), model.parameters())


def changed_in_place(model):
    with torch.no_grad():
        model.projector.weight.mul_(2)


def changed_by_assignment(model):
    model.load_state_dict({name: 1.5 * value for name, value in model.state_dict().items()}, assign=True)


@pytest.fixture
def fresh(demonstrations):
    """A policy of its own, whose weights a test may change."""
    torch.manual_seed(0)
    return AgentPolicy(model_of(demonstrations, window=M), tokenizer_of(demonstrations))


@pytest.mark.parametrize("change", [changed_by_data, changed_by_vector, changed_in_place, changed_by_assignment])
def test_the_weights_as_they_are_act_however_they_were_changed(fresh, demonstrations, change):
    policy, observation = fresh, observation_of([demonstrations[0]], 0)
    before, state = policy.action_logits(observation)
    change(policy.model)
    after, _ = policy.action_logits(observation)
    other = AgentPolicy(copy.deepcopy(policy.model), policy.tokenizer)
    assert not np.allclose(before, after, atol=1e-3)
    np.testing.assert_array_equal(after, other.action_logits(observation)[0])
    with pytest.raises(UserError, match="or its weights have changed since"):
        policy.action_logits(observation, policy.executed(state, [0]))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copy_acts_by_its_own_weights(fresh, demonstrations, copied):
    policy, observation = fresh, observation_of([demonstrations[0]], 0)
    before, state = policy.action_logits(observation)
    other, actor = copied(policy), copied(policy.actor())
    changed_by_data(policy.model)
    again, after = other.action_logits(observation)
    np.testing.assert_array_equal(again, before)
    assert actor.act(observation)[0] == other.predict(observation, deterministic=True)[0][0]
    following = observation_of([demonstrations[0]], 1)
    for each in (copied(state), after):  # a state of the first policy, from before its weights changed, is the copy's
        other.predict(following, other.executed(each, [0]))


@pytest.fixture
def saved(policy, tmp_path):
    """The checkpoint folder of the policy."""
    policy.model.save_pretrained(tmp_path)
    policy.tokenizer.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_it_acts_in_the_precision_that_is_asked_for(policy, saved, demonstrations, dtype):
    other, episodes = AgentPolicy.from_pretrained(saved, device="cpu", dtype=dtype), longest(demonstrations, 2)
    state = expected = None
    for step in range(M + 2):
        logits, state = other.action_logits(observation_of(episodes, step), state)
        exact, expected = policy.action_logits(observation_of(episodes, step), expected)
        np.testing.assert_allclose(logits, exact, atol=0.05)
        state, expected = other.executed(state, [0, 1]), policy.executed(expected, [0, 1])
    assert state.cache.keys_values.dtype == dtype


def test_a_saved_policy_acts_as_the_one_in_memory(policy, saved, demonstrations):
    loaded = AgentPolicy.from_pretrained(saved)
    observation = observation_of(longest(demonstrations, 3), 0)
    states = [each.predict(observation, deterministic=True) for each in (policy, loaded)]
    np.testing.assert_array_equal(states[0][0], states[1][0])
    assert torch.equal(states[0][1].visual[-1], states[1][1].visual[-1])


def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="there is no such folder"):
        AgentPolicy.from_pretrained(tmp_path / "nothing")
