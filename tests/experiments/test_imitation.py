"""Imitation: a run is trained on what was recorded, wherever that was."""

import sys

from tiny import experiment_recipe

from agentgym import environments, experts
from agentgym.experiments import imitation
from agentgym.training.run_folder import read_recipe


def test_a_recorded_dataset_is_trained_where_its_environment_is_not_installed(demonstrations, tmp_path, monkeypatch):
    def refuse(*arguments, **keywords):
        raise AssertionError("training asks the dataset's header, and no environment or expert")

    monkeypatch.setattr(environments, "make", refuse)
    monkeypatch.setattr(experts, "make", refuse)
    monkeypatch.setitem(sys.modules, "minigrid", None)  # as if it were not installed
    recipe = experiment_recipe("training.updates=1", "training.warmup_updates=0")
    assert imitation.train(recipe, demonstrations.path, tmp_path / "run")["updates"] == 1
    assert (tmp_path / "run/model/model.safetensors").is_file()


def test_a_folder_that_another_recipe_made_takes_the_place_of_the_dataset(demonstrations, tmp_path):
    recipe = experiment_recipe("dataset.episodes=4000", "training.updates=1", "training.warmup_updates=0")
    for _ in range(2):  # the second finds it done
        imitation.train(recipe, str(demonstrations.path), tmp_path / "run")
    assert read_recipe(tmp_path / "run").dataset.episodes == 24


def test_a_share_that_holds_nothing_out_is_said_before_training(demonstrations):
    [line] = imitation.warnings_about(experiment_recipe("dataset.held_out=0.001"), demonstrations.path)
    assert "a share of 0.001 of its 24 episodes is none, so nothing is held out" in line
    assert imitation.warnings_about(experiment_recipe(), demonstrations.path) == []
