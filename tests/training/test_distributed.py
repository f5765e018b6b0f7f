"""Processes that train together: they share each batch, so that their number changes nothing but the time."""

import signal
import subprocess
import sys

import pytest
import torch
from accelerate import Accelerator, PartialState
from safetensors.torch import load_file
from tiny import experiment_recipe

from agentgym.errors import UserError
from agentgym.experiments import imitation
from agentgym.training import distributed
from agentgym.training.metrics import read_metrics
from agentgym.training.run_folder import open_run

TIMES = ("targets_per_second", "time/")


def trained(run, data, processes, *overrides):
    """A run by that many processes: its weights and curves."""
    recipe = experiment_recipe("training.evaluate_episodes=3", *overrides)
    open_run(run, recipe)
    with distributed.other_processes(processes, imitation.train_run, recipe, data, run):
        imitation.train_run(recipe, data, run)
    curves = [{name: value for name, value in line.items() if not name.startswith(TIMES)} for line in read_metrics(run)]
    return load_file(run / "model" / "model.safetensors"), curves


@pytest.mark.parametrize(
    ("overrides", "precision"),
    [
        (("losses.masked_image=0", "training.accumulation=2"), 1e-4),  # the optimizers take directions of almost no
        (("training.optimizer=muon",), 1e-3),  # gradient for as good as others
    ],
)
def test_two_processes_give_the_weights_and_the_curves_of_one(data, tmp_path, overrides, precision):
    alone, curve = trained(tmp_path / "one", data, 1, *overrides)
    shared, curve_of_two = trained(tmp_path / "two", data, 2, *overrides)
    for name, tensor in alone.items():
        assert torch.allclose(tensor, shared[name], atol=precision), name
    assert len(curve) == len(curve_of_two)
    for one, two in zip(curve, curve_of_two, strict=True):
        assert one == pytest.approx(two, abs=10 * precision)


def test_a_run_of_two_processes_continues_as_one(data, tmp_path, monkeypatch):
    whole, _ = trained(tmp_path / "whole", data, 1)
    recipe = experiment_recipe("training.evaluate_episodes=3")
    run = tmp_path / "halves"
    open_run(run, recipe)

    def stop_at_four(count, note):
        nonlocal done
        done += count
        if done == 4:
            raise KeyboardInterrupt

    done = 0
    with pytest.raises(KeyboardInterrupt), distributed.other_processes(2, imitation.train_run, recipe, data, run):
        imitation.train_run(recipe, data, run, on_progress=stop_at_four)
    assert [folder.name for folder in (run / "checkpoints").iterdir()] == ["0000003"]
    resumed, _ = trained(run, data, 1)
    for name, tensor in whole.items():
        assert torch.allclose(tensor, resumed[name], atol=1e-5), name


def test_an_error_that_all_processes_share_is_raised_once(data, tmp_path):
    recipe = experiment_recipe("training.learning_rate=1e30", "training.updates=3")
    run = tmp_path / "run"
    open_run(run, recipe)
    with (
        pytest.raises(UserError, match=r"update \d: the \w+ is not finite"),
        distributed.other_processes(2, imitation.train_run, recipe, data, run),
    ):
        imitation.train_run(recipe, data, run)


KILLED = """
import os, signal, torch
from agentgym.training import distributed

def work():
    torch.distributed.init_process_group("gloo")
    torch.distributed.barrier()
    torch.distributed.barrier()

if __name__ == "__main__":
    with distributed.other_processes(2, work):
        torch.distributed.init_process_group("gloo")
        torch.distributed.barrier()
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_when_the_first_process_is_killed_the_others_end_without_a_traceback(tmp_path):
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert "Traceback" not in ended.stderr


def test_as_many_processes_as_a_batch_is_worth(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert [distributed.choose(None, size) for size in (4, 8, 16, 24, 64, 1000)] == [1, 1, 2, 3, 8, 8]
    assert distributed.choose(4, 16) == 4
    with pytest.raises(UserError, match=r"--processes 3: training.batch_size 16 must be a multiple of it"):
        distributed.choose(3, 16)


def test_none_are_started_where_accelerate_has_launched_several(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert distributed.choose(None, 64) == distributed.choose(2, 64) == 1


def test_what_accelerate_remembers_of_a_process_can_be_forgotten():
    distributed.forget_accelerator()
    assert Accelerator(cpu=True, mixed_precision="no").mixed_precision == "no"
    distributed.forget_accelerator()
    assert Accelerator(cpu=True, mixed_precision="bf16").mixed_precision == "bf16"
    distributed.forget_accelerator(processes=True)
    assert PartialState._shared_state == {}
