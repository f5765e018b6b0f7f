"""Training on existing datasets: one by its folder, whatever made it, or several with weights."""

import numpy as np
import pytest
from worlds import experiment_recipe, record, refusal

from agentgym import plans, runs
from agentgym.store import DatasetWriter, Header, SampleDataset, select


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Twenty-four episodes, and the better half of them."""
    path = tmp_path_factory.mktemp("mixture")
    dataset = record(path / "all")
    median = float(np.median(dataset.column("total_reward")))
    select(path / "all", path / "good", min_return=median)
    return path / "all", path / "good"


def mixture_of(folders, weights=(1.0, 3.0)):
    parts = ", ".join(f'{{data="{folder}", weight={weight}}}' for folder, weight in zip(folders, weights, strict=True))
    return experiment_recipe("training.updates=2", f"mixture=[{parts}]")


def test_a_mixture_is_trained_on_and_its_evaluation_knows_every_part(folders, tmp_path):
    recipe, run = mixture_of(folders), tmp_path / "run"
    runs.open_run(run, recipe)
    runs.train_run(recipe, tmp_path / "not-recorded", run)
    assert (run / "model" / "model.safetensors").is_file()
    plan = plans.make_plan(str(run))
    assert plans.refuse_overlap(plan) == ", ".join(map(str, folders))
    seed = SampleDataset(folders[1]).column("seed")[0]
    overlapping = plans.make_plan(str(run), first_seed=seed)
    assert "overlap the demonstrations'" in refusal(plans.refuse_overlap, overlapping)


def test_a_recipe_without_a_mixture_says_nothing_of_one():
    assert "mixture" not in experiment_recipe().model_dump(mode="json")


def test_a_selected_dataset_is_trained_on_once_it_is_named(folders):
    recipe = experiment_recipe()
    assert "was recorded by another recipe" in refusal(runs.open_dataset, folders[1], recipe)
    adopted = runs.adopt_dataset(recipe, folders[1])
    assert adopted.dataset.name == "good"
    assert len(runs.open_dataset(folders[1], adopted)) == len(SampleDataset(folders[1]))


def test_parts_that_are_unlike_are_refused(folders, tmp_path):
    header = SampleDataset(folders[0]).header
    with DatasetWriter(tmp_path / "other", Header(header.space, (4, 4, 3), header.recipe)) as writer:
        writer.append(SampleDataset(folders[0])[0])
    assert "only like datasets go together" in refusal(
        runs.open_dataset, tmp_path, mixture_of((folders[0], tmp_path / "other"))
    )
    assert "there is no such dataset folder" in refusal(
        runs.open_dataset, tmp_path, mixture_of((folders[0], tmp_path / "none"))
    )
