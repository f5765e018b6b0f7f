"""Attention to the instruction in the visual encoder: each frame is read for its own words, in training and acting."""

import numpy as np
import pytest
import torch
from counting_env import CountingEnv
from stable_baselines3 import PPO
from tiny import logits_of, model_of, sources_of, write_run
from transformers import CLIPVisionConfig

from agentgym.environments import encode_instruction
from agentgym.experiments.onnx_export import export_onnx
from agentgym.model.grounding import InstructionContext, positions
from agentgym.model.tokenizer import tokenize
from agentgym.model.vision import VisionEncoder
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.onnx_runtime.onnx_policy import OnnxPolicy
from agentgym.policies.sb3 import AgentActorCriticPolicy, HistoryObservation

M = 4
CONFIG = CLIPVisionConfig(
    hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8
)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    made = VisionEncoder(CONFIG, word_width=12)
    return made.eval()


@pytest.fixture
def patches():
    return torch.rand(3, 4, 3 * 8 * 8, generator=torch.Generator().manual_seed(1))


def words(*rows: list[int], of_frame=(0, 1, 0)) -> InstructionContext:
    """Rows of word numbers, 0 for padding; a word's embedding is a function of its number."""
    numbers = torch.tensor(rows)
    embeddings = torch.stack([((number + 1.0) * torch.arange(1, 13)).sin() for number in numbers.flatten()])
    return InstructionContext(embeddings.view(*numbers.shape, 12), numbers > 0, torch.tensor(of_frame))


def test_a_silent_one_leaves_the_features_of_the_image_encoder(encoder, patches):
    image = VisionEncoder(CONFIG).eval()
    image.load_state_dict({k: v for k, v in encoder.state_dict().items() if not k.startswith("grounding")})
    said = words([1, 2, 3], [4, 5, 6])
    assert not torch.allclose(encoder(patches, words=said), image(patches), atol=1e-3)
    assert torch.allclose(encoder(patches), image(patches), atol=1e-6)
    for attention in encoder.grounding:
        attention.zero_init()
    assert torch.allclose(encoder(patches, words=said), image(patches), atol=1e-6)


def test_a_frame_is_read_for_its_own_words_only(encoder, patches):
    before, after = (encoder(patches, words=words([1, 2, 3], row)) for row in ([4, 5, 6], [4, 5, 7]))
    assert (before - after).abs().amax((1, 2)).gt(1e-5).tolist() == [False, True, False]


def test_padding_changes_nothing_and_the_order_of_words_something(encoder, patches):
    plain = encoder(patches, words=words([1, 2, 3], [4, 5, 6]))
    padded = encoder(patches, words=words([0, 0, 1, 2, 3], [0, 0, 4, 5, 6]))
    turned = encoder(patches, words=words([2, 1, 3], [4, 5, 6]))
    assert torch.allclose(plain, padded, atol=1e-6)
    assert (plain - turned).abs().amax((1, 2)).gt(1e-5).tolist() == [True, False, True]


def test_positions_are_counted_without_the_padding():
    made = positions(torch.tensor([[False, True, True], [True, True, True]]), 5)
    assert made.shape == (2, 3, 5)
    assert torch.equal(made[0, 1:], made[1, :2])
    assert torch.allclose(made[1, 2, :4], torch.tensor([np.sin(2), np.sin(0.02), np.cos(2), np.cos(0.02)]).float())


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """A run folder with an untrained agent whose actions depend on what it sees and on its instruction."""
    settings, place = "model.instruction_attention=true", tmp_path_factory.mktemp("grounded") / "agent"
    return write_run(place, dataset, settings, window=M, words=slice(None), instruction_attention=True)


def expected(policy, frames, actions, texts):
    """The training forward's logits at each step, in the window and under the instruction of that step."""
    start, logits = 0, []
    for step in range(len(frames)):
        if step - start == M:
            start = step - M // 3
        instruction = torch.tensor(tokenize(policy.tokenizer, texts[step]))[None]
        window = torch.from_numpy(np.stack(frames[start : step + 1]))[None]
        taken = torch.tensor([*actions[start:step], 0])[None, :, None]
        with torch.no_grad():
            output = policy.model(
                instruction, torch.ones_like(instruction), window, taken, torch.ones(window.shape[:2], dtype=torch.bool)
            )
        logits.append(output.action_logits[0, -1, 0, policy.model.config.num_text_tokens :].numpy())
    return np.stack(logits)


def test_acting_is_the_training_forward_and_an_instruction_may_change_in_mid_episode(run, dataset, monkeypatch):
    policy = AgentPolicy.from_pretrained(run)
    seen = logits_of(policy, monkeypatch)
    rng, steps = np.random.default_rng(0), 2 * M + 1
    frames = rng.integers(0, 256, (2, steps, 56, 56, 3), np.uint8)
    texts = [["go to the red ball"] * 3 + ["go to a ball"] * (steps - 3), ["go to the red ball"] * steps]
    state = None
    for step in range(steps):
        said = np.stack([encode_instruction(text[step], 32) for text in texts])
        _, state = policy.predict({"frame": frames[:, step], "instruction": said}, state)
    actions = [(step + 1) % 7 for step in range(steps)]
    for row in range(2):
        true = expected(policy, list(frames[row]), actions, texts[row])
        np.testing.assert_allclose(np.stack(seen)[:, row], true, atol=1e-3, rtol=1e-4)


def test_a_batch_acts_as_each_by_itself_through_moving_windows(run, dataset):
    policy = AgentPolicy.from_pretrained(run)
    frames = np.random.default_rng(1).integers(0, 256, (3, 2 * M, 56, 56, 3), np.uint8)
    said = np.stack([encode_instruction(text, 32) for text in ("go to the red ball", "red", "go to a red red ball")])
    starts = np.zeros(3, bool)
    state, states = None, [None] * 3
    for step in range(2 * M):
        starts[1] = step == 3
        together, state = policy.predict(
            {"frame": frames[:, step], "instruction": said}, state, starts, deterministic=True
        )
        for row in range(3):
            observation = {"frame": frames[row, step], "instruction": said[row]}
            alone, states[row] = policy.predict(observation, states[row], starts[row : row + 1], deterministic=True)
            assert alone == together[row]


def test_an_exported_policy_looks_again_when_the_instruction_changes(run, tmp_path, monkeypatch):
    export_onnx(run, tmp_path / "exported")
    policies = AgentPolicy.from_pretrained(run), OnnxPolicy(tmp_path / "exported" / "policy.onnx")
    seen = [logits_of(policy, monkeypatch) for policy in policies]
    frames, states = np.random.default_rng(2).integers(0, 256, (2 * M, 56, 56, 3), np.uint8), [None, None]
    for step, frame in enumerate(frames):
        text = "go to the red ball" if step < 3 else "go to a ball"
        observation = {"frame": frame[None], "instruction": encode_instruction(text, 32)[None]}
        states = [each.predict(observation, state)[1] for each, state in zip(policies, states, strict=True)]
    for ours, theirs in zip(*seen, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3, rtol=1e-4)


def test_a_stable_baselines_policy_has_the_same_distribution(run, monkeypatch):
    wrapped = HistoryObservation(CountingEnv(), window=M)
    model = PPO(
        AgentActorCriticPolicy, wrapped, n_steps=8, batch_size=8, policy_kwargs={"checkpoint": str(run)}, device="cpu"
    )
    policy = AgentPolicy.from_pretrained(run)
    seen = logits_of(policy, monkeypatch)
    plain = CountingEnv()
    one, other, state, done = plain.reset(seed=11)[0], wrapped.reset(seed=11)[0], None, False
    while not done:
        _, state = policy.predict(one, state)
        distribution = model.policy.get_distribution(model.policy.obs_to_tensor(other)[0]).distribution
        np.testing.assert_allclose(
            distribution.logits.detach().numpy(),
            torch.from_numpy(seen[-1]).log_softmax(-1).numpy(),
            atol=1e-3,
        )
        one, _, done, _, _ = plain.step(len(seen) % 7)
        other, _, _, _, _ = wrapped.step(len(seen) % 7)


def test_the_masked_autoencoder_reads_frames_for_nothing_in_particular(dataset):
    torch.manual_seed(0)
    model = model_of(dataset, instruction_attention=True)
    batch = sources_of(dataset)[0].batch(np.arange(4))
    noise = torch.rand(int(batch.step_mask.sum()), 49, generator=torch.Generator().manual_seed(0))
    swapped = {"instruction_of": batch.instruction_of.flip(0)}
    pictures = [model(**{**batch.inputs, **other}, mask_noise=noise) for other in ({}, swapped)]
    assert torch.equal(pictures[0].reconstruction.predicted, pictures[1].reconstruction.predicted)
    assert not torch.allclose(pictures[0].action_logits, pictures[1].action_logits)
