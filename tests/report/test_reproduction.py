"""The command on a report makes the very run."""

import shlex

import pytest

from agentgym.recipes import load_experiment
from agentgym.report.reproduction import command
from agentgym.training.run_folder import open_run

CHANGES = [
    ["training.updates=7"],
    ["training.betas=[0.8, 0.9]", "dataset.suite.frame.tile_size=4", "description=\"a 'quoted' one\""],
    ["evaluation.deterministic=false", "model.patch_merge=2"],
    [],
]


@pytest.mark.parametrize("changes", CHANGES, ids=" ".join)
def test_a_shipped_recipe_is_named_with_what_was_set(changes, tmp_path):
    recipe = load_experiment("babyai-goto-redball", changes).model_dump(mode="json")
    words = shlex.split(command(recipe, tmp_path))
    assert words[:3] == ["agentgym", "run", "babyai-goto-redball"]
    assert words[3::2] == ["--set"] * len(changes)
    assert load_experiment(words[2], words[4::2]).model_dump(mode="json") == recipe


def test_any_other_run_is_made_again_from_its_own_recipe(tmp_path):
    recipe = load_experiment("babyai-goto-redball", ["training.updates=7"]).model_copy(update={"name": "mine"})
    open_run(tmp_path / "a run", recipe)
    words = shlex.split(command(recipe.model_dump(mode="json"), tmp_path / "a run"))
    assert words == ["agentgym", "run", f"{tmp_path}/a run/recipe.json", "--run", f"{tmp_path}/a run-again"]
    assert load_experiment(words[2]) == recipe
    assert load_experiment(words[2], ["training.updates=8"]).training.updates == 8
