"""Networks of trained experts: what NumPy computes is what torch trained, and no file of theirs can run code."""

import json

import numpy as np
import pytest
import torch
from refusals import refusal
from safetensors.torch import save_file

from agentgym.experts.actor_critic import ActorCritic
from agentgym.experts.networks import Network, NetworkShape, load_network
from agentgym.recipes import load_expert, shipped_expert

GRID = NetworkShape(kind="grid", activation="relu", state=(10, 10, 4), actions=3)
FLAT = NetworkShape(kind="layers", activation="tanh", state=(4,), actions=2)


def written(shape, layers, folder):
    torch.manual_seed(0)
    model = ActorCritic(shape, layers=layers, features=16)
    save_file(model.actor_weights(), folder / "expert.safetensors")
    (folder / "expert.json").write_text(json.dumps({"network": shape.model_dump(mode="json")}))
    return model, folder / "expert.safetensors"


@pytest.mark.parametrize(("shape", "layers"), [(GRID, (32,)), (GRID, ()), (FLAT, (64, 64)), (FLAT, ())])
def test_the_network_that_is_read_is_the_one_that_was_trained(shape, layers, tmp_path):
    model, file = written(shape, layers, tmp_path)
    states = np.random.default_rng(0).random((20, *shape.state)) < 0.3
    network = load_network(file)
    with torch.no_grad():
        expected = model(torch.from_numpy(states))[0].numpy()
    np.testing.assert_allclose([network.scores(state) for state in states], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("task", load_expert("minatar").suite.tasks, ids=lambda task: task.id)
def test_every_expert_that_is_shipped_is_weights_and_json(task):
    file = shipped_expert(task.id)
    assert file.suffix == ".safetensors"
    assert isinstance(load_network(file), Network)
    assert not list(file.parent.glob("*.zip"))


def test_weights_that_do_not_fit_their_shape_are_refused(tmp_path):
    _, file = written(FLAT, (8,), tmp_path)
    made = {"network": {**FLAT.model_dump(mode="json"), "actions": 5}}
    file.with_suffix(".json").write_text(json.dumps(made))
    said = refusal(load_network, file)
    assert said == f"{file}: cannot be read as a trained expert (its last layer is not that of 5 actions)"


def test_a_file_that_is_no_expert_is_refused(tmp_path):
    file = tmp_path / "no.safetensors"
    assert refusal(load_network, file).startswith(f"{file.with_suffix('.json')}: there is no such file")
    file.with_suffix(".json").write_text("{}")
    file.write_bytes(b"no weights")
    assert refusal(load_network, file).startswith(f"{file}: cannot be read as a trained expert (")
