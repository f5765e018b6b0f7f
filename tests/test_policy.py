"""AgentPolicy.predict: the protocol of Stable-Baselines3, and the logits of training."""

import pickle

import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv
from worlds import TASK, model_of, record, tokenizer_of

import agentgym
from agentgym.actions import ActionCodec
from agentgym.environments import encode_instruction
from agentgym.errors import UserError
from agentgym.model.tokenizer import tokenize
from agentgym.policy import AgentPolicy
from agentgym.recipes import FrameRecipe
from agentgym.rollouts import rollout

M = 4


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return record(tmp_path_factory.mktemp("data") / "small")


@pytest.fixture(scope="module")
def policy(dataset):
    torch.manual_seed(0)
    return AgentPolicy(model_of(dataset, window=M), tokenizer_of(dataset))


def observation_of(samples, step):
    return {
        "frame": np.stack([sample.frames[step] for sample in samples]),
        "instruction": np.stack([encode_instruction(sample.instruction) for sample in samples]),
    }


def longest(dataset, count):
    return [dataset[int(i)] for i in np.argsort(-dataset.lengths)[:count]]


def act_as_recorded(policy, samples, monkeypatch):
    """The logits of every step while the recorded actions are the ones taken: [steps][sample, action]."""
    seen = []
    steps = min(len(sample) for sample in samples)
    tokens = iter([np.array([[sample.actions[t]] for sample in samples]) for t in range(steps)])

    def choose(logits, deterministic):
        seen.append(logits.clone())
        return next(tokens)

    monkeypatch.setattr(policy, "_choose", choose)
    state = None
    for t in range(steps):
        _, state = policy.predict(observation_of(samples, t), state)
    monkeypatch.undo()
    return seen


def test_acting_on_a_recorded_episode_gives_the_logits_that_training_saw(policy, dataset, monkeypatch):
    sample = longest(dataset, 1)[0]
    assert len(sample) > M
    acted = act_as_recorded(policy, [sample], monkeypatch)
    tokens = torch.from_numpy(tokenize(tokenizer_of(dataset), sample.instruction))[None]
    for t in range(len(sample)):
        start = max(0, t + 1 - M)
        window = sample[start : t + 1]
        output = policy.model(
            tokens,
            torch.ones_like(tokens),
            torch.from_numpy(window.frames[None, :-1]),
            torch.from_numpy(window.actions[None, :, None]),
            torch.ones(1, len(window), dtype=torch.bool),
        )
        trained = output.action_logits[0, -1, 0, policy.model.config.num_text_tokens :]
        torch.testing.assert_close(acted[t][0], trained, atol=1e-4, rtol=0)


def test_a_batch_equals_its_rows_one_by_one(policy, dataset, monkeypatch):
    samples = longest(dataset, 3)
    together = act_as_recorded(policy, samples, monkeypatch)
    for row, sample in enumerate(samples):
        alone = act_as_recorded(policy, [sample], monkeypatch)
        for t, logits in enumerate(together):
            torch.testing.assert_close(logits[row], alone[t][0], atol=1e-4, rtol=0)


def test_episode_start_resets_its_row_and_no_other(policy, dataset):
    first, second = longest(dataset, 2)
    _, state = policy.predict(observation_of([first, second], 0))
    _, state = policy.predict(observation_of([first, second], 1), state, np.array([False, True]))
    assert state.steps.tolist() == [2, 1]
    _, alone = policy.predict(observation_of([second], 1))
    np.testing.assert_allclose(state.visual[1, :1], alone.visual[0, :1], atol=1e-5)


def test_predict_changes_neither_the_state_nor_episode_start_that_it_got(policy, dataset):
    samples = longest(dataset, 2)
    start = np.array([True, True])
    _, state = policy.predict(observation_of(samples, 0), None, start)
    before = pickle.dumps(state)
    _, after = policy.predict(observation_of(samples, 1), state, np.array([False, False]))
    assert pickle.dumps(state) == before
    assert after is not state
    assert start.tolist() == [True, True]


def test_a_single_observation_gives_a_single_action(policy, dataset):
    sample = dataset[0]
    observation = {"frame": sample.frames[0], "instruction": encode_instruction(sample.instruction)}
    action, state = policy.predict(observation, deterministic=True)
    batch_action, _ = policy.predict(observation_of([sample], 0), deterministic=True)
    assert action.shape == ()
    assert action == batch_action[0]
    assert state.steps.tolist() == [1]


def test_frames_may_come_channels_first(policy, dataset):
    observation = observation_of([dataset[0]], 0)
    turned = {**observation, "frame": observation["frame"].transpose(0, 3, 1, 2)}
    states = [policy.predict(each)[1] for each in (observation, turned)]
    np.testing.assert_array_equal(states[0].visual, states[1].visual)


def test_sampling_is_a_function_of_the_seed(dataset):
    torch.manual_seed(0)
    model, tokenizer = model_of(dataset), tokenizer_of(dataset)
    draws = []
    for seed in (3, 3, 4):
        policy = AgentPolicy(model, tokenizer, seed=seed)
        many = {key: np.repeat(value, 50, axis=0) for key, value in observation_of([dataset[0]], 0).items()}
        draws.append(policy.predict(many)[0].tolist())
    assert draws[0] == draws[1] != draws[2]
    assert len(set(draws[0])) > 1


def test_evaluate_policy_gives_the_score_of_our_own_rollout_on_the_same_seeds(policy):
    vec_env = DummyVecEnv([lambda: Monitor(agentgym.make(TASK))] * 4)
    vec_env.seed(100)  # seeds 100 to 103
    returns, lengths = evaluate_policy(policy, vec_env, n_eval_episodes=4, return_episode_rewards=True)
    ours = rollout(policy, TASK, frame=FrameRecipe(), seeds=range(100, 104), num_environments=2, deterministic=True)
    assert sorted(lengths) == sorted(episode.length for episode in ours)
    assert sorted(returns) == pytest.approx(sorted(episode.total_reward for episode in ours), abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"frame": np.zeros((1, 64, 64, 3), np.uint8)},
            r"uint8\[64, 64, 3\]; the agent was trained on uint8\[56, 56, 3\]",
        ),
        ({"frame": np.zeros((1, 56, 56, 3), np.float32)}, "the frame is float32"),
        ({"instruction": None}, "no 'instruction'"),
    ],
)
def test_an_observation_that_does_not_fit_is_one_clear_line(policy, dataset, change, message):
    observation = {**observation_of([dataset[0]], 0), **change}
    observation = {key: value for key, value in observation.items() if value is not None}
    with pytest.raises(UserError, match=message):
        policy.predict(observation)


def test_a_state_of_another_number_of_environments_is_refused(policy, dataset):
    _, state = policy.predict(observation_of(longest(dataset, 2), 0))
    with pytest.raises(UserError, match="state is of 2 environments, the observation of 1"):
        policy.predict(observation_of(longest(dataset, 1), 0), state)


def test_an_environment_with_other_actions_is_refused(policy):
    with pytest.raises(UserError, match=r"its actions are up, down; the agent was trained for left, right"):
        policy.refuse_other_actions(ActionCodec(("up", "down")), "Other-v0")


def test_a_saved_policy_acts_as_the_one_in_memory(policy, dataset, tmp_path):
    policy.model.save_pretrained(tmp_path)
    tokenizer_of(dataset).save_pretrained(tmp_path)
    loaded = AgentPolicy.from_pretrained(tmp_path)
    observation = observation_of(longest(dataset, 3), 0)
    states = [each.predict(observation, deterministic=True) for each in (policy, loaded)]
    np.testing.assert_array_equal(states[0][0], states[1][0])
    np.testing.assert_array_equal(states[0][1].visual, states[1][1].visual)


def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="there is no such folder"):
        AgentPolicy.from_pretrained(tmp_path / "nothing")
