"""AgentPolicy.predict: the protocol of Stable-Baselines3, and the logits of training."""

import pickle

import numpy as np
import pytest
import torch
from recorded_observations import longest, observation_of
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny import TASK, ScriptedSampler, model_of, sources_of, tokenizer_of

import agentgym
from agentgym.environments import encode_instruction
from agentgym.errors import UserError
from agentgym.evaluation.rollouts import rollout
from agentgym.model.sequence import SlidingWindow
from agentgym.model.tokenizer import most_tokens
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.recipes import INSTRUCTION_BYTES, FrameRecipe
from agentgym.spaces import SpaceCodec

M = 4  # steps of the window


def act_as_recorded(policy, episodes, monkeypatch):
    """The logits of every step while the recorded actions are the ones taken: [steps][sample, action]."""
    steps = min(len(episode) for episode in episodes)
    scripted = ScriptedSampler([episode.actions[t] for episode in episodes] for t in range(steps))
    monkeypatch.setattr(policy, "sampler", scripted)
    state = None
    for t in range(steps):
        _, state = policy.predict(observation_of(episodes, t), state)
    monkeypatch.undo()
    return [torch.from_numpy(logits) for logits in scripted.seen]


def window_start(step):
    """The first step the agent sees at that one: 0, then M - kept more each time a window of M is full."""
    moved = M - SlidingWindow(M).kept
    return 0 if step < M else moved * -(-(step + 1 - M) // moved)


def trained_logits(policy, instruction, window):
    """The training forward's logits at the last step of a window."""
    tokens = torch.from_numpy(policy._instructions(instruction))[None]
    output = policy.model(
        tokens,
        torch.ones_like(tokens),
        torch.from_numpy(window.frames[None, :-1]),
        torch.from_numpy(window.actions[None, :, None]),
        torch.ones(1, len(window), dtype=torch.bool),
    )
    return output.action_logits[0, -1, 0, policy.model.config.num_text_tokens :]


@pytest.mark.parametrize("convolutional_stem", [False, True], ids=["patches", "convolutions"])
def test_acting_on_a_recorded_episode_gives_the_logits_that_training_saw(
    convolutional_stem, demonstrations, monkeypatch
):
    torch.manual_seed(0)
    model = model_of(demonstrations, window=M, convolutional_stem=convolutional_stem)
    policy = AgentPolicy(model, tokenizer_of(demonstrations))
    episode = longest(demonstrations, 1)[0]
    assert len(episode) > 2 * M
    acted = act_as_recorded(policy, [episode], monkeypatch)
    for t in range(len(episode)):
        trained = trained_logits(policy, episode.instruction, episode[window_start(t) : t + 1])
        torch.testing.assert_close(acted[t][0], trained, atol=1e-4, rtol=0)


def test_every_window_the_agent_acts_on_begins_one_that_it_was_trained_on(demonstrations):
    for source in sources_of(demonstrations, window=M):
        trained = {(episode, start): stop for episode, start, stop in source.table.tolist()}
        for episode in np.unique(source.table[:, 0]):
            for step in range(demonstrations.lengths[episode]):
                assert trained[episode, window_start(step)] > step


def test_an_instruction_may_change_in_mid_episode(policy, demonstrations, monkeypatch):
    episode, other = longest(demonstrations, 1)[0], "go to the green door"
    observations = [observation_of([episode], t) for t in range(6)]
    for observation in observations[2:]:
        observation["instruction"] = encode_instruction(other)[None]
    scripted = ScriptedSampler([action] for action in episode.actions)
    monkeypatch.setattr(policy, "sampler", scripted)
    state = None
    for observation in observations:
        _, state = policy.predict(observation, state)
    seen = [torch.from_numpy(logits) for logits in scripted.seen]
    for t, instruction in enumerate([episode.instruction] * 2 + [other] * 4):
        trained = trained_logits(policy, instruction, episode[window_start(t) : t + 1])
        torch.testing.assert_close(seen[t][0], trained, atol=1e-4, rtol=0)


def test_a_batch_equals_its_rows_one_by_one(policy, demonstrations, monkeypatch):
    episodes = longest(demonstrations, 3)
    together = act_as_recorded(policy, episodes, monkeypatch)
    for row, episode in enumerate(episodes):
        alone = act_as_recorded(policy, [episode], monkeypatch)
        for t, logits in enumerate(together):
            torch.testing.assert_close(logits[row], alone[t][0], atol=1e-4, rtol=0)


def test_episode_start_resets_its_row_and_no_other(policy, demonstrations):
    first, second = longest(demonstrations, 2)
    _, state = policy.predict(observation_of([first, second], 0))
    _, state = policy.predict(observation_of([first, second], 1), state, np.array([False, True]))
    assert state.steps.tolist() == [2, 1]
    _, alone = policy.predict(observation_of([second], 1))
    torch.testing.assert_close(state.visual[-1][1], alone.visual[-1][0], atol=1e-5, rtol=0)


def test_staggered_episode_ends_change_nothing(policy, demonstrations, monkeypatch):
    episodes = longest(demonstrations, 3)
    alone = [act_as_recorded(policy, [episode], monkeypatch) for episode in episodes]
    delays = np.array([0, 2, 5])
    state = None
    for t in range(7):
        steps = np.maximum(t - delays, 0)  # a row that waits shows its first frame again and again
        chosen = [episode.actions[step] for episode, step in zip(episodes, steps, strict=True)]
        monkeypatch.setattr(policy, "sampler", ScriptedSampler([chosen]))
        rows = [observation_of([episode], step) for episode, step in zip(episodes, steps, strict=True)]
        observation = {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}
        _, state = policy.predict(observation, state, t <= delays)
        for row, step in enumerate(steps):
            seen = torch.from_numpy(policy.sampler.seen[0][row])
            torch.testing.assert_close(seen, alone[row][step][0], atol=1e-4, rtol=0)


def test_predict_changes_neither_the_state_nor_episode_start_that_it_got(policy, demonstrations):
    episodes = longest(demonstrations, 2)
    start = np.array([True, True])
    _, state = policy.predict(observation_of(episodes, 0), None, start)
    expected, after = policy.predict(observation_of(episodes, 1), state, np.array([False, False]), True)
    further, _ = policy.predict(observation_of(episodes, 2), after, deterministic=True)
    for _ in range(2):  # as often as one likes, whatever was read since
        again, other = policy.predict(observation_of(episodes, 1), state, np.array([False, False]), True)
        np.testing.assert_array_equal(again, expected)
        np.testing.assert_array_equal(policy.predict(observation_of(episodes, 2), other, None, True)[0], further)
        np.testing.assert_array_equal(policy.predict(observation_of(episodes, 2), after, None, True)[0], further)
    assert state.steps.tolist() == [1, 1]
    assert start.tolist() == [True, True]


def test_a_single_observation_gives_a_single_action(policy, demonstrations):
    episode = demonstrations[0]
    observation = {"frame": episode.frames[0], "instruction": encode_instruction(episode.instruction)}
    action, state = policy.predict(observation, deterministic=True)
    batch_action, _ = policy.predict(observation_of([episode], 0), deterministic=True)
    assert action.shape == ()
    assert action == batch_action[0]
    assert state.steps.tolist() == [1]


def test_frames_may_come_channels_first(policy, demonstrations):
    observation = observation_of([demonstrations[0]], 0)
    turned = {**observation, "frame": observation["frame"].transpose(0, 3, 1, 2)}
    states = [policy.predict(each)[1] for each in (observation, turned)]
    assert torch.equal(states[0].visual[-1], states[1].visual[-1])


def test_sampling_is_a_function_of_the_seed(demonstrations):
    torch.manual_seed(0)
    model, tokenizer = model_of(demonstrations), tokenizer_of(demonstrations)
    draws = []
    for seed in (3, 3, 4):
        policy = AgentPolicy(model, tokenizer, seed=seed)
        many = {key: np.repeat(value, 50, axis=0) for key, value in observation_of([demonstrations[0]], 0).items()}
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
        ({"frame": np.zeros((1, 56, 56), np.uint8)}, r"the frame is uint8\[1, 56, 56\]; the agent was trained on"),
        ({"frame": np.zeros((0, 56, 56, 3), np.uint8)}, "of no environment"),
        ({"instruction": None}, "no 'instruction'"),
        ({"instruction": np.zeros((2, 9), np.uint8)}, r"uint8\[2, 9\]; expected uint8\[1, L\]"),
        ({"instruction": np.full((1, 9), 255, np.uint8)}, "the instruction is not UTF-8"),
    ],
)
def test_an_observation_that_does_not_fit_is_one_clear_line(policy, demonstrations, change, message):
    observation = {**observation_of([demonstrations[0]], 0), **change}
    observation = {key: value for key, value in observation.items() if value is not None}
    with pytest.raises(UserError, match=message):
        policy.predict(observation)


def test_what_reset_gives_is_not_yet_an_observation(policy, demonstrations):
    observation = observation_of([demonstrations[0]], 0)
    with pytest.raises(UserError, match=r"the observation is a tuple; expected {'frame', 'instruction'}: the first of"):
        policy.predict((observation, {}))


def test_a_state_of_another_number_of_environments_is_refused(policy, demonstrations):
    _, state = policy.predict(observation_of(longest(demonstrations, 2), 0))
    with pytest.raises(UserError, match="state is of 2 environments, the observation of 1"):
        policy.predict(observation_of(longest(demonstrations, 1), 0), state)


def test_a_state_of_another_policy_is_refused(policy, demonstrations):
    torch.manual_seed(1)
    other = AgentPolicy(model_of(demonstrations, window=M), tokenizer_of(demonstrations))
    observation = observation_of([demonstrations[0]], 0)
    for state in (other.predict(observation)[1], (np.zeros(3),)):
        with pytest.raises(UserError, match="the state is not of this policy"):
            policy.predict(observation, state)


def test_a_state_continues_where_it_was_after_pickling_and_in_another_copy_of_the_policy(policy, demonstrations):
    copy = AgentPolicy(policy.model, tokenizer_of(demonstrations))
    episodes = longest(demonstrations, 2)
    _, state = policy.predict(observation_of(episodes, 0), deterministic=True)
    results = [
        each.predict(observation_of(episodes, 1), pickle.loads(pickle.dumps(state)), deterministic=True)
        for each in (policy, copy)
    ]
    (actions, one), (others, other) = results
    np.testing.assert_array_equal(actions, others)
    assert torch.equal(one.cache.keys_values, other.cache.keys_values)
    assert (one.policy, one.read.tolist()) == (other.policy, other.read.tolist())


def test_a_high_temperature_draws_evenly_and_a_low_one_takes_the_likeliest(policy, demonstrations):
    many = {key: np.repeat(value, 200, axis=0) for key, value in observation_of([demonstrations[0]], 0).items()}
    likeliest = policy.predict(many, deterministic=True)[0]
    hot, cold = (
        AgentPolicy(policy.model, tokenizer_of(demonstrations), temperature=temperature).predict(many)[0]
        for temperature in (100.0, 1e-4)
    )
    assert np.bincount(hot, minlength=7).min() > 10
    np.testing.assert_array_equal(cold, likeliest)
    with pytest.raises(UserError, match=r"temperature 0\.0: expected more than 0"):
        AgentPolicy(policy.model, tokenizer_of(demonstrations), temperature=0.0)


def test_an_environment_with_other_actions_is_refused(policy):
    with pytest.raises(UserError, match=r"its actions are up, down; the agent was trained for left, right"):
        policy.playing(SpaceCodec.discrete(("up", "down")), "Other-v0")


def test_a_batch_that_becomes_narrower_continues_with_the_histories_it_keeps(policy, demonstrations):
    episodes = longest(demonstrations, 3)
    state = None
    for step in range(M + 2):
        _, state = policy.predict(observation_of(episodes, step), state, deterministic=True)
    rows = np.array([2, 0])
    whole, _ = policy.predict(observation_of(episodes, M + 2), state, deterministic=True)
    kept = policy.select(state, rows)
    narrow, after = policy.predict(observation_of([episodes[row] for row in rows], M + 2), kept, deterministic=True)
    assert narrow.tolist() == whole[rows].tolist()
    assert after.instructions == tuple(episodes[row].instruction for row in rows)


def test_the_longest_instruction_of_any_script_fits_a_full_window(demonstrations):
    tokenizer = tokenizer_of(demonstrations)
    model = model_of(demonstrations, window=M, instruction_tokens=most_tokens(INSTRUCTION_BYTES))
    policy, text = AgentPolicy(model, tokenizer), "語" * (INSTRUCTION_BYTES // 3)
    text += "x" * (INSTRUCTION_BYTES - len(text.encode()))
    assert len(policy._instructions(text)) <= most_tokens(INSTRUCTION_BYTES)
    observation, state = {**observation_of([demonstrations[0]], 0), "instruction": encode_instruction(text)[None]}, None
    for _ in range(M + 1):
        _, state = policy.predict(observation, state)
    too_long = {**observation, "instruction": np.full((1, INSTRUCTION_BYTES + 9), ord("~"), np.uint8)}
    with pytest.raises(UserError, match=r"the instruction is 26\d tokens; this agent has positions for 258"):
        policy.predict(too_long)
