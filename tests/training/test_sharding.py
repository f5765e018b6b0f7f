"""Weights that FSDP shards: the run of two processes that hold half of the weights each is the run of one.

Accelerate shards on accelerators alone. Torch can on a CPU too; `sharded` tells Accelerate so, and nothing else of the
way is changed: its FSDP2 wraps, clips, saves and loads.
"""

import os

import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from safetensors.torch import load_file
from tiny import experiment_recipe

from agentgym.experiments import imitation
from agentgym.model.agent import AgentModel
from agentgym.training import distributed, loop
from agentgym.training.metrics import read_metrics
from agentgym.training.run_folder import open_run

SETTINGS = {  # what `accelerate launch --use_fsdp` puts there, with its configuration of docs/training.md
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
}


def sharded(recipe, data, run, updates=None):
    """`train_run` with sharded weights, interrupted after so many updates; the most numbers that this process held."""
    os.environ.update(SETTINGS)
    made, prepared, held = AcceleratorState.__init__, loop.Accelerator.prepare, []

    def make(self, *arguments, fsdp_plugin=None, **others):
        made(self, *arguments, fsdp_plugin=fsdp_plugin, **others)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    def prepare(self, model, optimizer):
        model, optimizer = prepared(self, model, optimizer)
        held.append(sum(p.to_local().numel() for p in model.parameters()))
        return model, optimizer

    done = 0

    def on_progress(count, note):
        nonlocal done
        done += count
        if done == updates:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AcceleratorState, "__init__", make)
        patch.setattr(loop.Accelerator, "prepare", prepare)
        imitation.train_run(recipe, data, run, on_progress=on_progress)
    return held[0]


@pytest.fixture(scope="module")
def recipe():
    return experiment_recipe("training.evaluate_episodes=3", "training.optimizer=adamw")


@pytest.fixture(scope="module")
def alone(data, recipe, tmp_path_factory):
    """The weights and the curves of one process."""
    run = tmp_path_factory.mktemp("runs") / "alone"
    open_run(run, recipe)
    imitation.train_run(recipe, data, run)
    return load_file(run / "model" / "model.safetensors"), read_metrics(run)


def close(run, alone):
    weights, _ = alone
    found = load_file(run / "model" / "model.safetensors")
    assert found.keys() == weights.keys()
    for name, tensor in weights.items():
        assert torch.allclose(tensor, found[name], atol=1e-5), name


@pytest.mark.slow
def test_two_processes_that_share_the_weights_give_those_of_one(data, recipe, alone, tmp_path):
    run = tmp_path / "run"
    open_run(run, recipe)
    with distributed.other_processes(2, sharded, recipe, data, run):
        held = sharded(recipe, data, run)
    close(run, alone)
    for one, two in zip(alone[1], read_metrics(run), strict=True):
        for name in ("loss/action", "gradient_norm", "held_out/accuracy/action", "rollout/success_rate"):
            assert one.get(name) == pytest.approx(two.get(name), abs=1e-4)
    every = sum(p.numel() for p in AgentModel.from_pretrained(run / "model").parameters())
    assert held == pytest.approx(every / 2, rel=0.02)


@pytest.mark.slow
def test_a_sharded_run_that_was_cut_continues(data, recipe, alone, tmp_path):
    run = tmp_path / "run"
    open_run(run, recipe)
    with pytest.raises(KeyboardInterrupt), distributed.other_processes(2, sharded, recipe, data, run):
        sharded(recipe, data, run, updates=4)
    assert [folder.name for folder in (run / "checkpoints").iterdir()] == ["0000003"]
    with distributed.other_processes(2, sharded, recipe, data, run):
        sharded(recipe, data, run)
    close(run, alone)
