"""An instruction of the longest permitted length, in any script, fits: in training, acting and the export alike."""

import numpy as np
import pytest
import torch
from tiny import ScriptedSampler, experiment_recipe, record

from agentgym.environments import INSTRUCTION_BYTES, encode_instruction
from agentgym.experiments.onnx_export import write_policy
from agentgym.model.sequence import SlidingWindow
from agentgym.model.tokenizer import tokenize
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.onnx_runtime.onnx_policy import OnnxPolicy
from agentgym.training.datasets import open_parts
from agentgym.training.first_model import first_model

M, STEPS = 4, 7
TEXTS = {"another script": "語" * 85 + "x", "special tokens": "</s>" * 64, "control characters": "\x01" * 256}


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    """The model that training starts with on a few episodes, whose actions depend on what it sees."""
    path = tmp_path_factory.mktemp("data") / "small"
    record(path)
    recipe = experiment_recipe(f"training.window={M}")
    torch.manual_seed(0)
    model, tokenizer = first_model(recipe, open_parts(path, recipe))
    torch.nn.init.normal_(model.projector.weight, std=1.0)
    torch.nn.init.normal_(model.language_model.embeddings.weight[-7:], std=1.0)
    return model.eval(), tokenizer


@pytest.mark.slow
@pytest.mark.parametrize("kind", TEXTS)
@torch.no_grad()
def test_the_longest_instruction_fits_in_training_acting_and_the_export(agent, tmp_path, kind):
    model, tokenizer = agent
    text = TEXTS[kind]
    assert len(text.encode()) == INSTRUCTION_BYTES
    words = torch.from_numpy(tokenize(tokenizer, text))[None]
    frames = np.random.default_rng(0).integers(0, 256, (STEPS, 56, 56, 3), np.uint8)
    policy = AgentPolicy(model, tokenizer)
    played, state = [], None
    for frame in frames:
        observation = {"frame": frame, "instruction": encode_instruction(text)}
        action, state = policy.predict(observation, state, None, True)
        played.append(int(action))

    write_policy(policy, tmp_path)
    exported, history = OnnxPolicy(tmp_path / "policy.onnx"), None
    for frame, expected in zip(frames, played, strict=True):
        action, history = exported.act(frame, text, history)
        assert action == expected

    policy.sampler, state = ScriptedSampler([action] for action in played), None
    for frame in frames:
        _, state = policy.predict({"frame": frame, "instruction": encode_instruction(text)}, state, None, False)
    for step, first in enumerate(SlidingWindow(M).starts(STEPS).tolist()):
        window = slice(first, step + 1)
        actions = torch.tensor(played[window])[None, :, None]
        seen = torch.ones(1, step + 1 - first, dtype=torch.bool)
        output = model(words, torch.ones_like(words), torch.from_numpy(frames[None, window]), actions, seen)
        logits = output.action_logits[0, -1, 0, model.config.num_text_tokens :]
        np.testing.assert_allclose(policy.sampler.seen[step].reshape(-1), logits, atol=1e-3, rtol=1e-4)
