"""The exported policy: PyTorch's actions with only onnxruntime and numpy."""

import json
import pickle
import shutil
import subprocess
import sys
import venv
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from refusals import refusal
from tiny import TASK, logits_of, model_of, tokenizer_of, write_run

from agentgym.environments import encode_instruction
from agentgym.evaluation import policy_registry, protocol, scoring
from agentgym.experiments import onnx_export
from agentgym.experiments.onnx_export import export_onnx
from agentgym.model.adapting import with_domains
from agentgym.model.agent import AgentModel
from agentgym.model.exported_step import ExportedStep
from agentgym.model.tokenizer import tokenize
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.onnx_runtime.onnx_policy import OnnxPolicy, Tokenizer
from agentgym.spaces import SpaceCodec
from agentgym.spaces.domains import Domain

M = 4


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """A run folder with an untrained agent whose actions depend on what it sees."""
    return write_run(tmp_path_factory.mktemp("edge") / "agent", dataset, window=M, words=slice(-7, None))


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "agent"
    export_onnx(run, folder)
    return folder


@pytest.fixture(scope="module")
def policies(run, exported):
    return AgentPolicy.from_pretrained(run), OnnxPolicy(exported / "policy.onnx")


def observations(dataset, rows, step):
    episodes = [dataset[int(i)] for i in np.argsort(-dataset.lengths)[:rows]]
    return {
        "frame": np.stack([episode.frames[step % len(episode)] for episode in episodes]),
        "instruction": np.stack([encode_instruction(episode.instruction) for episode in episodes]),
    }


def test_its_logits_are_pytorchs_through_moving_windows_and_episode_ends(policies, dataset, monkeypatch):
    seen = [logits_of(policy, monkeypatch) for policy in policies]
    states = [None, None]
    for step in range(3 * M):
        starts = np.array([False, step == 3, step == 5])
        observation = observations(dataset, 3, step)
        if step > 6:  # the instruction changes in mid-episode
            observation["instruction"][0] = encode_instruction("go to the green door")
        states = [each.predict(observation, state, starts)[1] for each, state in zip(policies, states, strict=True)]
    for ours, theirs in zip(*seen, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("past", [0, 1, 3])
def test_a_step_of_frames_that_are_resized_is_the_models(dataset, past):
    torch.manual_seed(0)
    config = model_of(dataset, patch_merge=2).config
    config.frame_side, config.vision_config.hidden_act = 40, "gelu"
    model = AgentModel(config).eval()
    frames = torch.randint(0, 256, (1, past + 1, 40, 40, 3), dtype=torch.uint8)
    words, actions = torch.tensor([[2, 40, 41]]), torch.arange(past + 1)[None, :, None] % 7
    output = model(words, torch.ones_like(words), frames, actions, torch.ones(1, past + 1, dtype=torch.bool))
    visual = model.encode(frames[0, :past]) if past else torch.zeros(0, model.visual_tokens, 128)
    logits, seen, keys_values = ExportedStep(model)(
        frames[0, -1], words[0], visual, actions[0, :-1], torch.zeros(3, 2, 4, 0, 32)
    )
    expected = output.action_logits[0, -1, 0, config.num_text_tokens :]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    assert len(seen) == past + 1
    assert keys_values.shape[3] == 3 + past * (model.visual_tokens + 1) + model.visual_tokens


def test_one_environment_at_a_time_acts_as_a_batch(policies, dataset):
    policy, state, histories = policies[1], None, [None] * 3
    for step in range(6):
        observation = observations(dataset, 3, step)
        actions, state = policy.predict(observation, state, deterministic=True)
        for row in range(3):
            text = bytes(observation["instruction"][row]).rstrip(b"\0").decode()
            frame = observation["frame"][row]
            action, histories[row] = policy.act(frame if step % 2 else frame.transpose(2, 0, 1), text, histories[row])
            assert action == actions[row]


def test_it_holds_no_history_and_changes_no_state(policies, dataset):
    policy = policies[1]
    _, state = policy.predict(observations(dataset, 2, 0))
    before = pickle.dumps(state)
    again = [policy.predict(observations(dataset, 2, 1), each, deterministic=True)[0] for each in (state, state)]
    assert pickle.dumps(state) == before
    np.testing.assert_array_equal(*again)


def test_its_tokens_are_the_tokenizers(exported, dataset):
    ours = Tokenizer(**json.loads((exported / "policy.json").read_text())["tokenizer"])
    theirs = tokenizer_of(dataset)
    texts = ["go to the red ball", "", " ", "  two  spaces ", "don't!", "über 12½ 語 \n²x", "a_b--c", "\ttab\u00a0end"]
    spelt = ["</s>", "<pad>", "<s> x <unk>", f"a {theirs.convert_ids_to_tokens(len(theirs) - 1)} b"]
    for text in {*dataset.column("instruction"), *texts, *spelt}:
        np.testing.assert_array_equal(ours.encode(text), tokenize(theirs, text), text)


def test_the_example_runs_without_torch_and_transformers(exported):
    code = f"""if True:
        import runpy, sys
        for name in ("torch", "transformers", "tokenizers", "gymnasium", "agentgym", "stable_baselines3"):
            sys.modules[name] = None
        sys.path.insert(0, {str(exported)!r})
        runpy.run_path({str(exported / "example.py")!r}, run_name="__main__")"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    last = ran.stdout.splitlines()[-1]
    same, _, steps, *_ = last.split()
    assert same == steps
    lines = (exported / "example.py").read_text().splitlines()
    assert len(lines) <= 30
    assert set((exported / "policy.json").parent.iterdir()) == {
        exported / name
        for name in ("policy.onnx", "policy-int8.onnx", "policy.json", "onnx_policy.py", "example.py", "example.npz")
    }


@pytest.mark.slow
def test_the_folder_runs_in_an_environment_without_torch(exported, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", "numpy", "onnxruntime"], check=True)
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode
    for file in ("policy.onnx", "policy-int8.onnx"):
        ran = subprocess.run([python, exported / "example.py", file], capture_output=True, text=True, check=True)
        assert ran.stdout.endswith("actions are PyTorch's\n")


@pytest.mark.parametrize("sampled", [False, True], ids=["likeliest", "sampled"])
def test_evaluate_scores_it_as_the_run(run, exported, tmp_path, sampled):
    suite = tmp_path / "one.toml"
    suite.write_text(f'description = "one"\n[[tasks]]\nid = "{TASK}"\n')
    scored = []
    for who in (run, exported, exported / "policy-int8.onnx"):
        config = protocol.configure_evaluation(
            str(who), suite=str(suite), to=tmp_path / str(len(scored)), episodes=2, deterministic=not sampled
        )
        scored.append(scoring.evaluate(config, workers=1))
    assert [each["kind"] for each in scored] == ["agent", "onnx", "onnx"]
    assert [each["name"] for each in scored] == ["agent", "agent-policy", "agent-policy-int8"]
    assert scored[0]["tasks"] == scored[1]["tasks"]
    played = json.loads((tmp_path / "1/episodes.json").read_text())["agent"]
    assert played == json.loads((tmp_path / "0/episodes.json").read_text())["agent"]


def test_what_does_not_fit_is_one_clear_line(run, exported, policies, dataset, tmp_path):
    assert "choose a new folder" in refusal(export_onnx, run, exported)
    assert "is not a run folder" in refusal(export_onnx, tmp_path, tmp_path / "out")
    policy = policies[1]
    frame = observations(dataset, 1, 0)["frame"][0]
    with pytest.raises(ValueError, match=r"uint8\[8, 8, 3\]; expected uint8\[56, 56, 3\]"):
        policy.act(frame[:8, :8], "go")
    _, history = policy.act(frame, "go")
    with pytest.raises(ValueError, match="not of this policy"):
        policy.act(frame, "go", replace(history, policy="another"))
    with pytest.raises(ValueError, match="the state is of 1 environments, the observation of 2"):
        policy.predict(observations(dataset, 2, 0), (history,))
    shutil.copytree(exported, tmp_path / "damaged")
    (tmp_path / "damaged/policy.onnx").write_bytes(b"nothing")
    assert "cannot be loaded" in refusal(
        policy_registry.load, policy_registry.resolve_policy(str(tmp_path / "damaged")), sampled=False
    )
    (tmp_path / "damaged/policy.json").write_text('{"format": 2}')
    assert "format 2; this file reads 1" in refusal(
        policy_registry.load, policy_registry.resolve_policy(str(tmp_path / "damaged")), sampled=False
    )


def test_no_matrix_of_the_int8_graph_is_left_in_float32(exported):
    graph = onnx.load(exported / "policy-int8.onnx").graph
    constants = {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    tensors = {**constants, **{each.name: each for each in graph.initializer}}
    matrices = {
        name for name, each in tensors.items() if len(each.dims) == 2 and each.data_type == onnx.TensorProto.FLOAT
    }
    products = [node for node in graph.node if node.op_type in ("MatMul", "Gemm")]
    assert [node.name for node in products if matrices & set(node.input)] == []


def test_a_graph_that_plays_otherwise_is_not_kept(run, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "_agreement", lambda *_: 0)
    assert "nothing was exported" in refusal(export_onnx, run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_of_several_domains_the_runs_own_is_exported_with_the_same_logits(run, dataset, tmp_path, monkeypatch):
    two = tmp_path / "two"
    shutil.copytree(run, two)
    before = AgentPolicy.from_pretrained(run)
    jumping = Domain(SpaceCodec.discrete(("jump", "left", "duck")), (56, 56), M, ("Jump-v0",))
    model, tokenizer = with_domains(before.model, before.tokenizer, [before.domain, jumping])
    model.save_pretrained(two / "model")
    tokenizer.save_pretrained(two / "model")
    export_onnx(two, tmp_path / "out")
    policy, told = OnnxPolicy(tmp_path / "out" / "policy.onnx"), json.loads((tmp_path / "out/policy.json").read_text())
    assert (told["tasks"], len(told["action_names"])) == ([TASK], 7)
    seen = [logits_of(each, monkeypatch) for each in (before, policy)]
    for each in (before, policy):
        each.predict(observations(dataset, 2, 0))
    np.testing.assert_allclose(seen[1][0], seen[0][0], atol=1e-4)


@pytest.mark.parametrize(("side", "completes"), [(40, False), (64, True)])
def test_an_agent_of_another_frame_size_is_exported_with_the_same_logits(
    dataset, tmp_path, monkeypatch, side, completes
):
    torch.manual_seed(0)
    model = model_of(dataset, window=3, frame_side=side, complete_frames=completes)
    torch.nn.init.normal_(model.language_model.embeddings.weight[-7:], std=0.3)
    model.config.domains[0]["frame_shape"] = [56, 56]
    policy = AgentPolicy(model, tokenizer_of(dataset))
    assert (policy.domain.frame_shape, policy.frame_side) == ((56, 56), side)
    onnx_export.write_policy(policy, tmp_path)
    both = policy, OnnxPolicy(tmp_path / "policy.onnx")
    seen = [logits_of(each, monkeypatch) for each in both]
    for each in both:
        state = None
        for step in range(4):
            _, state = each.predict(observations(dataset, 2, step), state)
    np.testing.assert_allclose(seen[1], seen[0], atol=1e-5, rtol=1e-5)
    int8 = OnnxPolicy(tmp_path / "policy-int8.onnx").predict(observations(dataset, 2, 0))[0]
    assert int8.shape == (2,)
