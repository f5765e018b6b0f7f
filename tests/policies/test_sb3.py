"""The agent in PPO and A2C: it starts as the checkpoint, bit by bit, and goes back to one."""

import copy
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from algorithms import agent_weights, make, make_env
from counting_env import CountingEnv
from gymnasium.spaces import Box
from refusals import refusal
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecTransposeImage
from tiny import ScriptedSampler

from agentgym.evaluation import protocol, scoring
from agentgym.model.tokenizer import train_tokenizer
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.sb3 import AgentActorCriticPolicy, HistoryObservation, TetheredPolicy, VisualTokenCache

M = 4


def test_the_history_passes_stable_baselines_own_check():
    check_env(make_env(), warn=False)  # it warns of frames with a time axis


def test_the_weights_after_construction_are_the_checkpoints_to_the_last_bit(run):
    stored = AgentPolicy.from_pretrained(run).model.state_dict()
    built = agent_weights(make(PPO, run, make_env()))
    assert built.keys() == stored.keys()
    for name, value in stored.items():
        assert torch.equal(built[name], value), name


def test_the_distribution_is_that_of_the_agent_policy_at_every_step(run):
    model, policy = make(PPO, run, make_env()), AgentPolicy.from_pretrained(run)
    scripted = policy.sampler = ScriptedSampler([(3 * t + 1) % 7] for t in range(100))
    plain, wrapped = CountingEnv(), make_env()
    one, other, state, done, t = plain.reset(seed=11)[0], wrapped.reset(seed=11)[0], None, False, 0
    while not done:
        action = (3 * t + 1) % 7
        _, state = policy.predict(one, state)
        distribution = model.policy.get_distribution(model.policy.obs_to_tensor(other)[0]).distribution
        seen = torch.from_numpy(scripted.seen[-1]).log_softmax(-1)
        torch.testing.assert_close(distribution.logits.detach(), seen, atol=1e-4, rtol=0)
        one, _, done, _, _ = plain.step(action)
        other, _, _, _, _ = wrapped.step(action)
        t += 1
    assert t > 2 * M - 1


@pytest.mark.parametrize(
    ("algorithm", "wrap"),
    [
        (PPO, lambda: DummyVecEnv([make_env] * 2)),
        (PPO, lambda: SubprocVecEnv([make_env] * 2, start_method="fork")),
        (PPO, lambda: VecTransposeImage(DummyVecEnv([make_env] * 2))),
        (A2C, lambda: DummyVecEnv([make_env] * 2)),
    ],
    ids=["dummy", "subprocess", "transposed", "a2c"],
)
def test_it_learns_in_every_vector_environment(run, algorithm, wrap):
    env = wrap()
    model = make(algorithm, run, env)
    before = agent_weights(model)
    model.learn(16)
    env.close()
    after = agent_weights(model)
    assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith("vision"))
    assert all(torch.isfinite(value).all() for value in after.values())


def test_the_value_head_has_its_own_learning_rate(run):
    model = make(PPO, run, make_env(), value_rate=100.0)
    before, head = agent_weights(model), model.policy.value_net.weight.detach().clone()
    model.learn(8)  # one step of Adam, which moves what has a gradient by the learning rate
    moved = max(float((agent_weights(model)[name] - before[name]).abs().max()) for name in before)
    assert moved == pytest.approx(1e-5, rel=0.05)
    assert float((model.policy.value_net.weight.detach() - head).abs().max()) == pytest.approx(1e-3, rel=0.05)


def test_training_mode_changes_nothing(run):
    policy = make(PPO, run, make_env()).policy
    observation = policy.obs_to_tensor(make_env().reset(seed=3)[0])[0]
    logits = []
    for mode in (True, False):
        policy.set_training_mode(mode)
        logits.append(policy.get_distribution(observation).distribution.logits)
    assert torch.equal(*logits)


def test_a_tethered_policy_counts_how_far_it_is_from_the_checkpoint(run):
    policy = PPO(TetheredPolicy, make_env(), n_steps=8, batch_size=8, policy_kwargs={"checkpoint": str(run)}).policy
    observation = policy.obs_to_tensor(make_env().reset(seed=3)[0])[0]
    before = policy.get_distribution(observation).distribution
    actions = torch.tensor([2])
    assert policy.evaluate_actions(observation, actions)[2].tolist() == pytest.approx([0.0], abs=1e-6)
    with torch.no_grad():
        policy.features_extractor.agent.language_model.embeddings.weight[-7:] += torch.randn(7, 128)
    values, log_prob, nearness = policy.evaluate_actions(observation, actions)
    after = policy.get_distribution(observation).distribution
    torch.testing.assert_close(nearness, -torch.distributions.kl_divergence(after, before))
    torch.testing.assert_close(log_prob, after.log_prob(actions))
    torch.testing.assert_close(values, policy.predict_values(observation))
    assert nearness < -0.1
    assert not any(weight.requires_grad for weight in policy.reference.parameters())


def test_a_saved_model_acts_the_same_in_another_process(run, tmp_path):
    model = make(PPO, run, make_env())
    model.learn(8)
    model.save(tmp_path / "model.zip")
    observation, _ = make_env().reset(seed=5)
    np.savez(tmp_path / "observation.npz", **observation)
    code = """if True:
        import numpy as np
        from stable_baselines3 import PPO
        model = PPO.load("model.zip")
        observation = model.policy.obs_to_tensor(dict(np.load("observation.npz")))[0]
        print(model.policy.get_distribution(observation).distribution.logits.tolist())"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    logits = model.policy.get_distribution(model.policy.obs_to_tensor(observation)[0]).distribution.logits
    np.testing.assert_allclose(eval(ran.stdout), logits.detach().numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "wrap", [DummyVecEnv, lambda fns: VecTransposeImage(DummyVecEnv(fns))], ids=["plain", "turned"]
)
def test_a_saved_model_needs_no_checkpoint_folder(run, tmp_path, monkeypatch, wrap):
    shutil.copytree(run, tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    model = make(PPO, "here", wrap([make_env]))
    model.learn(8)
    model.save("model.zip")
    observation, _ = make_env().reset(seed=5)
    expected, _ = model.predict(observation, deterministic=True)
    (tmp_path / "here").rename(tmp_path / "elsewhere")
    loaded = PPO.load("model.zip", env=wrap([make_env]))
    for name, value in agent_weights(model).items():
        assert torch.equal(agent_weights(loaded)[name], value), name
    assert loaded.predict(observation, deterministic=True)[0] == expected
    loaded.learn(8)
    loaded.policy.save_checkpoint(tmp_path / "tuned")
    assert AgentPolicy.from_pretrained(tmp_path / "tuned").codec.num_tokens == 7
    assert "there is no such folder" in refusal(make, PPO, "here", make_env())


def test_a_policy_is_saved_and_loaded_by_itself(run, tmp_path):
    policy = make(PPO, run, make_env()).policy
    policy.save(tmp_path / "policy.pt")
    loaded = AgentActorCriticPolicy.load(tmp_path / "policy.pt")
    observation, _ = make_env().reset(seed=5)
    assert loaded.predict(observation, deterministic=True)[0] == policy.predict(observation, deterministic=True)[0]


def test_a_tuned_agent_goes_back_to_a_run_that_evaluate_reads(run, tmp_path, monkeypatch):
    model = make(PPO, run, make_env())
    model.learn(8)
    model.policy.save_checkpoint(tmp_path / "tuned")
    stored = AgentPolicy.from_pretrained(tmp_path / "tuned").model.state_dict()
    for name, value in agent_weights(model).items():
        assert torch.equal(stored[name], value), name
    config = protocol.configure_evaluation(str(tmp_path / "tuned"), episodes=1, videos=0)
    assert scoring.evaluate(config, workers=1)["tasks"][0]["episodes"] == 1
    assert "choose a new folder" in refusal(model.policy.save_checkpoint, tmp_path / "tuned")

    def full(folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model.policy.features_extractor.tokenizer, "save_pretrained", full)
    assert "nothing is left there" in refusal(model.policy.save_checkpoint, tmp_path / "half")
    assert {each.name for each in tmp_path.iterdir()} == {"tuned"}


def test_what_does_not_fit_is_one_clear_line(run):
    other = HistoryObservation(CountingEnv(), window=M + 1)
    text = refusal(make, PPO, run, other)
    assert "frames [5, 56, 56, 3]" in text
    assert "HistoryObservation(env, window=4)" in text
    fewer = make_env()
    fewer.action_space = type(fewer.action_space)(5)
    assert "action space Discrete(5)" in refusal(make, PPO, run, fewer)


def test_a_frame_is_encoded_once_until_the_encoder_learns(run):
    agent = AgentPolicy.from_pretrained(run).model
    calls = []
    encoded = VisualTokenCache()
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 56, 56, 3), np.uint8))
    with torch.no_grad():
        for chosen, version in (([0, 1, 0], 1), ([2, 1], 1), ([2, 1], 2)):
            seen = frames[chosen]
            tokens = encoded.of(
                seen.flatten(1),
                lambda places, seen=seen: (calls.append(len(places)), agent.encode(seen[places]))[1],
                version,
            )
            torch.testing.assert_close(tokens, agent.encode(seen), atol=1e-4, rtol=0)
    assert calls == [2, 1, 2]


def test_a_saved_models_own_note_wins_over_a_folder_that_has_changed_since(run, tmp_path, monkeypatch):
    shutil.copytree(run, tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    env = DummyVecEnv([make_env])
    model = make(PPO, "here", env)
    model.save("model.zip")
    tokens = model.policy.features_extractor.tokenizer.get_vocab()
    recipe = (tmp_path / "here" / "recipe.json").read_text()
    other = train_tokenizer(["entirely other words"] * 3, list(tokens)[:0] or ["<action:0>"])
    other.save_pretrained("here/model")
    (tmp_path / "here" / "recipe.json").write_text("{}")
    loaded = PPO.load("model.zip", env=DummyVecEnv([make_env]))
    assert loaded.policy.features_extractor.tokenizer.get_vocab() == tokens
    observation, _ = make_env().reset(seed=5)
    assert loaded.predict(observation, deterministic=True)[0] == model.predict(observation, deterministic=True)[0]
    loaded.policy.save_checkpoint("tuned")
    assert (tmp_path / "tuned" / "recipe.json").read_text() == recipe
    assert "tokenizer" in refusal(make, PPO, "here", env)  # a new one reads the folder, though the space has a note


def test_a_copy_of_a_policy_is_one_and_keeps_the_rate_of_its_value_head(run):
    model = make(PPO, run, make_env())
    copied = copy.deepcopy(model.policy)
    for policy in (copied, copy.copy(copied)):
        before = policy.value_net.weight.detach().clone()
        for group in policy.optimizer.param_groups:
            group["lr"] = 1e-5
        policy.value_net.weight.grad = torch.ones_like(before)
        policy.optimizer.step()
        moved = (before - policy.value_net.weight.detach()).abs()
        torch.testing.assert_close(moved, torch.full_like(before, 30e-5), rtol=1e-3, atol=0)  # Adam's first step
    assert not model.policy.value_net.weight.any()


def test_frames_of_another_type_are_refused_and_not_cut_to_whole_numbers():
    env = CountingEnv()
    env.observation_space["frame"] = Box(0, 1, (56, 56, 3), np.float32)
    assert "the frames are float32; expected uint8" in refusal(HistoryObservation, env, window=M)
