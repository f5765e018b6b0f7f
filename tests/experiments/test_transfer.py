"""A comparison of starts: every start has the same data and updates, nothing is done twice, intervals are over runs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from refusals import refusal
from tiny import experiment_recipe
from typer.testing import CliRunner

from agentgym import recipes
from agentgym.cli.main import app
from agentgym.data.store import EpisodeDataset
from agentgym.evaluation.statistics import t_interval
from agentgym.experiments import transfer
from agentgym.experiments.imitation import train_run
from agentgym.experiments.transfer import Point, Trial, run_transfer, trials_of
from agentgym.report.transfer_page import cells_of, verdict, write_results
from agentgym.training.run_folder import open_run, read_recipe

TASK = "BabyAI-GoToRedBall-v0"

RECIPE = """
description = "Few demonstrations of the red ball"
sizes = [2, 4]
seeds = 2

[starts]
before = "{agent}"

[[tasks]]
dataset = "babyai-goto-redball"

[training]
updates = 2
batch_size = 4
window = 4
warmup_updates = 1
optimizer = "adamw"
precision = "float32"

[evaluation]
episodes = 3
videos = 0
"""


@pytest.fixture(scope="module")
def agent(demonstrations, tmp_path_factory):
    """A run of two updates."""
    folder = tmp_path_factory.mktemp("agent")
    recipe = experiment_recipe("training.updates=2")
    open_run(folder / "run", recipe)
    train_run(recipe, demonstrations.path, folder / "run")
    return folder / "run"


@pytest.fixture
def recipe(agent, tmp_path):
    file = tmp_path / "few.toml"
    file.write_text(RECIPE.format(agent=agent))
    return recipes.load_transfer(str(file))


def test_every_start_has_the_same_trials(recipe):
    trials = trials_of(recipe)
    by_start = {
        start: [(t.task, t.size, t.seed) for t in trials if t.start == start] for start in ("before", "scratch")
    }
    assert by_start["before"] == by_start["scratch"] == [(TASK, size, seed) for size in (2, 4) for seed in (0, 1)]


def test_a_smaller_size_has_the_first_demonstrations_of_a_larger_one(recipe):
    few, more = (transfer._dataset_of(recipe, Trial("scratch", TASK, size, 0)) for size in (2, 4))
    assert (few.first_seed, few.episodes) == (more.first_seed, 2)
    assert {**few.model_dump(), "name": "", "episodes": 0} == {**more.model_dump(), "name": "", "episodes": 0}


def test_demonstrations_of_a_smaller_size_are_not_recorded_again(recipe, tmp_path):
    few, more = (Trial("scratch", TASK, size, 0) for size in (2, 4))
    for run in ("in_turn", "at_once"):
        for trial in (few, more) if run == "in_turn" else (more,):
            transfer._record(recipe, tmp_path / run, trial)
    folders = [transfer._data_of(recipe, tmp_path / run, more) for run in ("in_turn", "at_once")]
    in_turn, at_once = map(EpisodeDataset, folders)
    assert in_turn.header.recipe == at_once.header.recipe
    assert [episode.actions.tolist() for episode in in_turn] == [episode.actions.tolist() for episode in at_once]
    assert len(list(folders[0].glob("*.arrow"))) == 2  # the shard of the first two, and that of the others


def test_a_comparison_that_was_cut_does_the_missing_trials_only(recipe, tmp_path, monkeypatch):
    done = []

    def do(recipe, run, trial, reference):
        if len(done) == 3 and not (tmp_path / "again").exists():
            raise KeyboardInterrupt
        done.append(trial)
        return Point(trial.start, trial.task, trial.size, trial.seed, 0.5, 0.4, 0.3, 1.0)

    monkeypatch.setattr(transfer, "_do", do)
    with pytest.raises(KeyboardInterrupt):
        run_transfer(recipe, tmp_path / "run")
    (tmp_path / "again").touch()
    points = run_transfer(recipe, tmp_path / "run")
    assert done == trials_of(recipe)
    assert len(points) == 8


def test_a_recipe_that_grew_keeps_what_was_done(recipe, tmp_path, monkeypatch):
    done = []

    def do(recipe, run, trial, reference):
        done.append(trial)
        return Point(trial.start, trial.task, trial.size, trial.seed, 0.5, 0.4, 0.3, 1.0)

    monkeypatch.setattr(transfer, "_do", do)
    smaller = recipe.model_copy(update={"starts": {}, "sizes": [2], "seeds": 1})
    run_transfer(smaller, tmp_path / "run")
    points = run_transfer(recipe, tmp_path / "run")
    assert len(done) == len(set(done)) == len(points) == 8
    assert [point.trial for point in points] == trials_of(recipe)
    assert [point.trial for point in run_transfer(smaller, tmp_path / "run")] == trials_of(smaller)
    other = recipe.model_copy(update={"starts": {"before": "generalist"}})
    assert "starts.before" in refusal(run_transfer, other, tmp_path / "run")
    longer = recipe.model_copy(update={"training": recipe.training.model_copy(update={"updates": 3})})
    assert "training.updates: 2 -> 3" in refusal(run_transfer, longer, tmp_path / "run")


def test_a_task_may_have_sizes_and_episodes_of_its_own(recipe):
    [task] = recipe.tasks
    one = recipe.model_copy(update={"tasks": [task.model_copy(update={"sizes": [1], "episodes": 2})]})
    assert {trial.size for trial in trials_of(one)} == {1}
    assert transfer._experiment_of(one, trials_of(one)[0]).evaluation.episodes == 2


def test_a_task_may_have_updates_and_a_window_of_its_own(recipe):
    [task] = recipe.tasks
    one = recipe.model_copy(update={"tasks": [task.model_copy(update={"updates": 7, "window": 5})]})
    loop = transfer._experiment_of(one, trials_of(one)[0]).training
    assert (loop.updates, loop.window, loop.batch_size) == (7, 5, recipe.training.batch_size)


def test_a_task_may_be_one_of_a_datasets(agent, tmp_path):
    (tmp_path / "few.toml").write_text(
        RECIPE.format(agent=agent).replace('"babyai-goto-redball"', f'"babyai-small"\ntask = "{TASK}"')
    )
    recipe = recipes.load_transfer(str(tmp_path / "few.toml"))
    dataset = transfer._dataset_of(recipe, trials_of(recipe)[0])
    assert [task.id for task in dataset.suite.tasks] == [TASK]
    assert dataset.name == f"babyai-small-{TASK}-2"


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("", "the dataset has 8 tasks: say which one is learnt by 'task'"),
        ('task = "BabyAI-GoToRedBell-v0"', f"has no task BabyAI-GoToRedBell-v0; did you mean '{TASK}'?"),
    ],
)
def test_which_task_of_a_dataset_is_said_by_its_id(agent, tmp_path, task, said):
    (tmp_path / "few.toml").write_text(
        RECIPE.format(agent=agent).replace('"babyai-goto-redball"', f'"babyai-small"\n{task}')
    )
    assert said in refusal(recipes.load_transfer, str(tmp_path / "few.toml"))


@pytest.mark.parametrize(
    ("old", "new", "key"), [("seeds = 2", "seeds = 1_000_000_000", "seeds"), ("[2, 4]", "[2, 10_000_001]", "sizes")]
)
def test_more_than_anyone_can_train_is_refused(recipe, agent, tmp_path, old, new, key):
    (tmp_path / "few.toml").write_text(RECIPE.format(agent=agent).replace(old, new))
    assert key in refusal(recipes.load_transfer, str(tmp_path / "few.toml"))


@pytest.mark.slow
def test_trials_at_once_reach_what_they_reach_one_by_one(recipe, tmp_path):
    few = recipe.model_copy(update={"sizes": [2], "seeds": 1})
    one, two = (run_transfer(few, tmp_path / f"{workers}", workers=workers) for workers in (1, 2))
    assert [replace(point, seconds=0) for point in one] == [replace(point, seconds=0) for point in two]


def test_one_command_trains_scores_and_writes_the_table(recipe, agent, tmp_path):
    (tmp_path / "few.toml").write_text(
        RECIPE.format(agent=agent).replace("[2, 4]", "[2]").replace("seeds = 2", "seeds = 1")
    )
    result = CliRunner().invoke(
        app, ["transfer", str(tmp_path / "few.toml"), "--run", str(tmp_path / "run"), "--quiet"]
    )
    assert result.exit_code == 0, result.output
    values = json.loads((tmp_path / "run/few.json").read_text())
    assert {point["start"] for point in values["points"]} == {"before", "scratch"}
    assert "| BabyAI-GoToRedBall-v0 | 2 |" in (tmp_path / "run/few.md").read_text()
    assert (tmp_path / "run/few.svg").read_text().startswith("<svg")
    assert not list((tmp_path / "run/trials").iterdir())


def test_without_starts_it_is_what_demonstrations_are_worth(recipe, tmp_path):
    alone = recipe.model_copy(update={"starts": {}})
    assert {trial.start for trial in trials_of(alone)} == {"scratch"}
    assert [trial.size for trial in trials_of(alone)] == [2, 2, 4, 4]
    page = write_results(alone, [Point("scratch", TASK, 2, seed, 0.75, 0.6, 0.7, 1.0) for seed in range(2)], tmp_path)
    assert "Each is trained from scratch by 2 updates of 4 windows of 4 steps." in page.read_text()


def test_levels_solved_are_shown_where_a_task_says_so(recipe, tmp_path):
    points = [Point("scratch", TASK, 2, seed, 0.75, 0.6, 0.7, 1.0) for seed in range(2)]
    page = write_results(recipe, points, tmp_path).read_text()
    assert f"| {TASK} | 2 | 75.0% [75.0%, 75.0%] |" in page
    assert f"| {TASK} | 2 | 0.70 [0.70, 0.70] |" in page
    assert cells_of(points)[0].success is None


def test_levels_that_are_recorded_are_not_played(recipe, tmp_path):
    first = recipe.tasks[0].dataset.first_seed
    overlapping = recipe.model_copy(
        update={"evaluation": recipe.evaluation.model_copy(update={"first_seed": first + 3})}
    )
    assert "set another first_seed" in refusal(run_transfer, overlapping, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_levels_that_a_start_was_trained_on_are_not_played(recipe, tmp_path):
    first = read_recipe(Path(recipe.init_of("before").agent)).dataset.first_seed
    [task] = recipe.tasks
    elsewhere = task.model_copy(update={"dataset": task.dataset.model_copy(update={"first_seed": 7_000_000})})
    known = recipe.evaluation.model_copy(update={"first_seed": first + 23})
    changed = recipe.model_copy(update={"tasks": [elsewhere], "evaluation": known})
    assert (
        f"was trained on 1 of the levels of {TASK} that are played for the score, from seed {first + 23} on"
        in refusal(run_transfer, changed, tmp_path / "run")
    )
    assert not (tmp_path / "run").exists()


def test_a_start_that_is_not_there_is_refused_before_anything_is_made(recipe, tmp_path):
    missing = recipe.model_copy(update={"starts": {"before": str(tmp_path / "none")}})
    assert "there is no such folder" in refusal(run_transfer, missing, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_intervals_are_over_training_runs():
    points = [Point("scratch", TASK, 20, seed, 0.0, 0.0, score, 1.0) for seed, score in enumerate((0.1, 0.2, 0.6))]
    [cell] = cells_of(points)
    assert cell.mean == pytest.approx(0.3)
    assert (cell.low, cell.high) == pytest.approx(t_interval([0.1, 0.2, 0.6]))
    assert cell.low == pytest.approx(0.3 - 4.302653 * np.std([0.1, 0.2, 0.6], ddof=1) / np.sqrt(3))


def test_a_start_is_better_where_its_interval_lies_above_that_of_scratch():
    scores = {"before": (0.8, 0.9, 0.85), "scratch": (0.1, 0.2, 0.15)}
    points = [
        Point(start, TASK, 20, seed, 0.0, 0.0, score, 1.0)
        for start, values in scores.items()
        for seed, score in enumerate(values)
    ]
    [line] = verdict(cells_of(points))
    assert line.startswith(f"before against scratch, intervals apart: better on {TASK} (20); worse on none")
