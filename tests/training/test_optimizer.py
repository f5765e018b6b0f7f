"""Muon: what it computes, which weights it moves, and which recipes take it."""

import json

import pytest
import torch
from accelerate.utils import DistributedType
from refusals import refusal
from tiny import experiment_recipe, model_of
from torch import nn

from agentgym import recipes
from agentgym.recipes import PartRates
from agentgym.training import loop as training_loop
from agentgym.training.optimizer import Muon, optimizers_of, orthogonalize
from agentgym.training.run_folder import open_run, read_recipe

MUON = experiment_recipe("training.optimizer=muon").training
SHAPES = [(64, 64), (64, 64), (32, 128), (128, 32)]


def weights():
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape) / 10) for shape in SHAPES]


def stepped(parameters, optimizer, steps=4):
    """The parameters after some steps on gradients that are the same every time."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


@pytest.mark.parametrize("bfloat16", [False, True])
def test_muon_is_torchs_muon_with_matrices_of_one_shape_together(bfloat16):
    ours, theirs = weights(), weights()
    group = {"params": ours, "weight_decay": 0.1, "lr": 0.01}
    reference = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    moved = zip(stepped(ours, Muon([group], bfloat16=bfloat16)), stepped(theirs, reference), weights(), strict=True)
    for one, other, start in moved:
        assert (one - other).norm() < 0.05 * (other - start).norm()  # torch's products are in bfloat16


def test_matrices_that_lie_in_one_weight_move_as_if_each_were_separate():
    torch.manual_seed(0)
    stacked = nn.Parameter(torch.randn(3 * 64, 64) / 10)
    alone = [nn.Parameter(piece.clone()) for piece in stacked.detach().chunk(3)]
    stacked.grad = torch.randn(3 * 64, 64)
    for parameter, gradient in zip(alone, stacked.grad.chunk(3), strict=True):
        parameter.grad = gradient.clone()
    Muon([{"params": [stacked], "lr": 0.01, "weight_decay": 0.1, "pieces": 3}]).step()
    Muon([{"params": alone, "lr": 0.01, "weight_decay": 0.1}]).step()
    assert torch.allclose(stacked, torch.cat(alone), atol=1e-6)


@pytest.mark.parametrize("rows", [16, 48])
def test_singular_values_become_about_one_and_singular_vectors_stay(rows):
    torch.manual_seed(0)
    matrix = torch.randn(1, rows, 48)
    left, _, right = torch.linalg.svd(matrix[0], full_matrices=False)
    values = left.mT @ orthogonalize(matrix)[0] @ right.mT
    assert torch.allclose(values, torch.diag(values.diagonal()), atol=1e-3)
    assert values.diagonal().median() == pytest.approx(1, abs=0.3)
    assert values.diagonal().max() < 1.25


def test_a_gradient_of_zero_moves_nothing():
    parameter = nn.Parameter(torch.ones(32, 32))
    parameter.grad = torch.zeros(32, 32)
    Muon([{"params": [parameter], "lr": 0.1}]).step()
    assert torch.equal(parameter, torch.ones(32, 32))


def test_an_update_is_as_large_as_one_of_adamw():
    parameter = nn.Parameter(torch.zeros(64, 256))
    parameter.grad = torch.randn(64, 256)
    Muon([{"params": [parameter], "lr": 1.0}]).step()
    assert parameter.detach().square().mean().sqrt().item() == pytest.approx(0.2, rel=0.25)


@pytest.fixture(scope="module")
def model(demonstrations):
    return model_of(demonstrations)


def names_of(optimizer, model):
    moved = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return {name for name, parameter in model.named_parameters() if id(parameter) in moved}


def test_muon_moves_the_matrices_of_layers_and_adamw_moves_the_rest(model):
    muon, adamw = optimizers_of(model, MUON, bfloat16=False)
    matrices, others = names_of(muon, model), names_of(adamw, model)
    assert matrices | others == {name for name, p in model.named_parameters() if p.requires_grad}
    assert not matrices & others
    assert "projector.weight" in matrices
    assert all(name.endswith(".weight") for name in matrices)
    assert {"mae_decoder.to_pixels.weight", "mae_decoder.mask_token", "projector.bias"} <= others
    assert {"vision_encoder.patch_embedding.weight", "language_model.embeddings.weight"} <= others
    assert not any("positions" in name or "norm" in name for name in matrices)


def test_adamw_moves_all(model):
    (adamw,) = optimizers_of(model, experiment_recipe("training.optimizer=adamw").training, bfloat16=False)
    assert names_of(adamw, model) == {name for name, p in model.named_parameters() if p.requires_grad}


def test_parts_keep_their_rates(model):
    recipe = MUON.model_copy(update={"part_rates": PartRates(language=0.5)})
    for optimizer in optimizers_of(model, recipe, bfloat16=False):
        assert {group["rate"] for group in optimizer.param_groups} == {0.5, 1.0}


def experiment(tmp_path, model=""):
    path = tmp_path / "mine.toml"
    path.write_text(
        f'description = "mine"\ndataset = "babyai-goto-redball"\n[model]\n{model}\n[training]\nupdates = 1\n'
    )
    return str(path)


def test_muon_is_the_default_from_scratch_and_adamw_beside_weights_that_were_trained(tmp_path):
    scratch = recipes.load_experiment(experiment(tmp_path)).training
    assert (scratch.optimizer, scratch.learning_rate) == ("muon", 4e-3)
    tuned = recipes.load_experiment(experiment(tmp_path, 'init = { agent = "runs/a" }')).training
    assert (tuned.optimizer, tuned.learning_rate) == ("adamw", 1e-3)
    chosen = recipes.load_experiment(experiment(tmp_path), ["training.optimizer=adamw"]).training
    assert (chosen.optimizer, chosen.learning_rate) == ("adamw", 1e-3)


def test_a_run_of_an_older_version_resumes_as_it_began(tmp_path):
    recipe = experiment_recipe("training.optimizer=adamw", "losses.masked_frames=all")
    values = recipe.model_dump(mode="json")
    del values["training"]["optimizer"], values["losses"]["masked_frames"]
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    assert read_recipe(tmp_path).training.optimizer == "adamw"
    assert read_recipe(tmp_path).losses.masked_frames == "all"
    assert recipes.load_experiment(str(tmp_path / "recipe.json")).training.optimizer == "adamw"
    open_run(tmp_path, recipe)
    assert "training.optimizer" in refusal(
        open_run, tmp_path, experiment_recipe("training.optimizer=muon", "losses.masked_frames=all")
    )


def test_muon_is_refused_where_fsdp_cuts_matrices(monkeypatch, tmp_path):
    recipe = experiment_recipe("training.optimizer=muon")
    monkeypatch.setattr(training_loop.Accelerator, "distributed_type", DistributedType.FSDP)
    loop = training_loop.Loop(recipe.training, recipe.losses, None, None, tmp_path)
    assert "set training.optimizer to 'adamw'" in refusal(training_loop._accelerator, loop, False)
