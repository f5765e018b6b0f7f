"""Checkpoints: the same when loaded, older formats too, and whatever is wrong with a folder is named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refusal
from safetensors.torch import load_file, save_file
from small_agent import inputs_of, run
from transformers import AutoConfig, AutoModel

from agentgym.model.agent import AgentModel
from agentgym.model.loading import load_agent

FORMAT_2 = Path(__file__).parent / "format_2"


@pytest.fixture
def saved(model, tmp_path):
    model.save_pretrained(tmp_path)
    return tmp_path


def test_a_saved_model_is_the_same_when_loaded_bit_for_bit(model, saved):
    loaded = load_agent(saved)
    state, expected = loaded.state_dict(), model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert torch.equal(run(loaded, inputs_of()).action_logits, run(model, inputs_of()).action_logits)
    assert not loaded.training
    for name in ("action_tokens", "domains", "num_text_tokens", "window", "patch_merge", "checkpoint_format"):
        assert getattr(loaded.config, name) == getattr(model.config, name)


def change_config(path, **changes):
    file = path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def change_tensors(path, change):
    file = path / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def test_a_folder_without_a_model_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        assert refusal(load_agent, path) == f"{path}: no config.json; name a checkpoint folder, such as runs/NAME/model"


def test_a_folder_without_weights_is_refused(saved):
    (saved / "model.safetensors").unlink()
    assert refusal(load_agent, saved) == f"{saved}: has no model.safetensors; the weights are missing"


def test_a_tensor_too_many_is_refused_by_name(saved):
    change_tensors(saved, lambda tensors: tensors.update(extra=torch.zeros(2)))
    assert refusal(load_agent, saved) == f"{saved}: tensor extra is left over (1 in all)"


def test_a_missing_tensor_is_refused_by_name(saved):
    change_tensors(saved, lambda tensors: tensors.pop("projector.bias"))
    assert refusal(load_agent, saved) == f"{saved}: tensor projector.bias is missing (1 in all)"


def test_a_tensor_of_another_shape_is_refused_by_name(saved):
    change_tensors(saved, lambda tensors: tensors.update({"projector.bias": torch.zeros(5)}))
    line = refusal(load_agent, saved)
    assert line.startswith(f"{saved}: tensor ")
    assert "projector.bias" in line
    assert "of another shape" in line


@pytest.mark.parametrize("left", [0, 10, 5000])
def test_weights_that_are_cut_short_are_refused(saved, left):
    file = saved / "model.safetensors"
    file.write_bytes(file.read_bytes()[:left])
    assert refusal(load_agent, saved).startswith(f"{saved / 'model.safetensors'}: the weights cannot be read")


def test_another_kind_of_model_is_refused(saved):
    change_config(saved, model_type="llama")
    expected = f"{saved / 'config.json'}: model_type is 'llama', not 'agentgym': another kind of model"
    assert refusal(load_agent, saved) == expected


@pytest.mark.parametrize("kind", ["grounded", "clips"])
def test_a_checkpoint_of_format_2_gives_the_numbers_that_it_gave(kind, tmp_path):
    """The folders were written by an agentgym that had transformers' modules, and so were the numbers beside them."""
    folder = FORMAT_2 / kind
    told = {name: torch.from_numpy(value) for name, value in np.load(folder / "expected.npz").items()}
    loaded = load_agent(folder)
    loaded.save_pretrained(tmp_path)
    for model in (loaded, load_agent(tmp_path), AgentModel.from_pretrained(folder).eval()):
        assert model.config.checkpoint_format == 3
        with torch.no_grad():
            output = model(
                told["words"],
                told["mask"],
                told["frames"],
                told["actions"],
                torch.ones(2, 4, dtype=torch.bool),
                mask_noise=told["noise"],
                mask_ratio=0.5,
            )
        torch.testing.assert_close(output.action_logits, told["action_logits"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(output.reconstruction.predicted, told["predicted"], atol=1e-5, rtol=1e-5)


def test_a_checkpoint_of_format_1_is_the_same_agent(tmp_path):
    shutil.copytree(FORMAT_2 / "grounded", tmp_path / "old")
    file = tmp_path / "old" / "config.json"
    values = json.loads(file.read_text())
    del values["action_tokens"], values["domains"]
    named = {"action_names": ["left", "right", "wait"], "action_start": 0, "action_length": 1}
    file.write_text(json.dumps({**values, **named, "tasks": ["T"], "checkpoint_format": 1}))
    old, new = load_agent(tmp_path / "old"), load_agent(FORMAT_2 / "grounded")
    assert old.config.all_domains() == new.config.all_domains()
    assert all(torch.equal(tensor, new.state_dict()[name]) for name, tensor in old.state_dict().items())


def test_another_checkpoint_format_is_refused(saved):
    change_config(saved, checkpoint_format=4)
    file = saved / "config.json"
    assert refusal(load_agent, saved) == f"{file}: checkpoint format 4; this agentgym reads formats 1 to 3"


def test_a_config_that_is_no_json_is_refused(saved):
    (saved / "config.json").write_text('{"model_type": ')
    assert refusal(load_agent, saved).startswith(f"{saved / 'config.json'}: ")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(saved, value):
    change_tensors(saved, lambda tensors: tensors["projector.weight"].view(-1)[3:4].fill_(value))
    assert refusal(load_agent, saved).startswith(f"{saved}: tensor projector.weight has numbers that are not finite")


def test_transformers_own_loaders_know_the_agent(model, saved):
    assert AutoConfig.from_pretrained(saved).num_text_tokens == model.config.num_text_tokens
    loaded = AutoModel.from_pretrained(saved)
    assert isinstance(loaded, AgentModel)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
