"""DAgger in rounds: each round's agent acts in the next one, and is trained on what all of them recorded."""

import json

import pytest
from refusals import refusal
from tiny import TASK, write_run

from agentgym import recipes
from agentgym.data.store import EpisodeDataset
from agentgym.evaluation.measures import RETURN, SUCCESS
from agentgym.experiments.dagger import dataset_of, experiment_of, measure, read_points, run_rounds
from agentgym.recipes import RoundsRecipe
from agentgym.report.dagger_page import verdict, write_results

SMALL = (
    "rounds=2",
    "experiment.dataset.episodes=6",
    "experiment.dataset.suite.tasks.0.limit=6",
    "experiment.training.updates=2",
    "experiment.training.warmup_updates=1",
    "experiment.evaluation.episodes=4",
)


def rounds_recipe(*overrides: str) -> RoundsRecipe:
    return recipes.load_rounds("babyai-goto-local-dagger", [*SMALL, *overrides])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    run = tmp_path_factory.mktemp("rounds") / "run"
    return run, run_rounds(rounds_recipe(), run, workers=1)


def test_a_point_for_each_round_says_what_it_took_and_what_it_reached(done):
    run, points = done
    recorded = [EpisodeDataset(run / f"data-{number}") for number in range(2)]
    assert [point["episodes"] for point in points] == [6, 12]
    assert [point["updates"] for point in points] == [2, 4]
    assert points[1]["labels"] == sum(int(dataset.lengths.sum()) for dataset in recorded)
    assert all(0 <= point["success_rate"] <= 1 and point["levels"] == 4 for point in points)


def test_the_expert_acts_first_and_labels_the_agents_steps_then(done):
    run, _ = done
    first, second = (EpisodeDataset(run / f"data-{number}") for number in range(2))
    assert first[0].labels is None
    assert any((episode.labels != episode.actions).any() for episode in second)
    assert first.seeds("BabyAI-GoToLocal-v0").isdisjoint(second.seeds("BabyAI-GoToLocal-v0"))


def test_rounds_that_are_done_are_not_done_again(done):
    run, points = done
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*") if file.is_file()}
    assert run_rounds(rounds_recipe(), run) == points == read_points(run)
    assert {file: file.stat().st_mtime_ns for file in run.rglob("*") if file.is_file()} == before


def test_another_recipe_in_the_same_folder_is_refused(done):
    assert "holds rounds of another recipe (probability" in refusal(run_rounds, rounds_recipe("probability=0"), done[0])


def test_a_round_starts_from_the_last_agent_on_all_that_was_recorded(tmp_path):
    recipe = rounds_recipe()
    second = experiment_of(recipe, tmp_path, 1)
    assert second.model.init.agent == str(tmp_path / "round-0") == second.dataset.dagger.agent
    assert [part.data for part in second.parts] == [str(tmp_path / "data-0"), str(tmp_path / "data-1")]
    assert experiment_of(recipe, tmp_path, 0).model.init is None


def test_without_probability_the_rounds_are_plain_imitation(tmp_path):
    recipe = rounds_recipe("probability=0")
    assert [dataset_of(recipe, tmp_path, number).dagger for number in range(2)] == [None, None]


def test_levels_that_are_recorded_are_not_played_for_the_score(tmp_path):
    recipe = rounds_recipe("experiment.evaluation.first_seed=1000011")
    assert "seeds 1000000 to 1000011 are recorded, 1000011 to 1000014 are played" in refusal(
        run_rounds, recipe, tmp_path / "run"
    )
    assert not (tmp_path / "run").exists()


def test_levels_that_the_first_agent_was_trained_on_are_not_played_for_the_score(demonstrations, tmp_path):
    agent = write_run(tmp_path / "agent", demonstrations)
    init = f'experiment.model.init={{agent = "{agent}"}}'
    levels = ("experiment.evaluation.first_seed=1000020", "experiment.dataset.first_seed=5")
    recipe = rounds_recipe(init, *levels, f"experiment.dataset.suite.tasks.0.id={TASK}")
    assert "was trained on 4 of the levels" in refusal(run_rounds, recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def point(number, success):
    interval = [success - 0.1, success + 0.1]
    counts = {"episodes": 100 * (number + 1), "labels": 10, "updates": 5, "levels": 4}
    return {"round": number, **counts, "success_rate": success, "success_ci95": interval, "cpu_seconds": 1.0}


def test_the_page_says_with_how_many_episodes_another_runs_best_is_reached(tmp_path):
    curves = {"mine": [point(0, 0.2), point(1, 0.6)], "theirs": [point(0, 0.2), point(1, 0.3), point(2, 0.5)]}
    (line,) = verdict(curves, SUCCESS)
    assert line == "`theirs` solves 50.0% with 300 episodes of the expert; `mine` reaches that with 200."
    assert "not with 300" in verdict(dict(reversed(curves.items())), SUCCESS)[0]
    page = write_results(rounds_recipe(), curves, SUCCESS, tmp_path)
    assert "--run runs/mine --compare-with runs/theirs" in page.read_text()
    assert json.loads(page.with_suffix(".json").read_text())["curves"] == curves
    assert page.with_suffix(".svg").read_text().startswith("<svg")


def test_rounds_of_a_game_speak_of_its_return(tmp_path):
    recipe = rounds_recipe("experiment.dataset.suite.tasks.0.id=MinAtar/Breakout-v1")
    curves = {
        "mine": [{**point(0, 0.0), "mean_return": 12.5, "return_ci95": [11.0, 14.0]}],
        "theirs": [{**point(0, 0.0), "mean_return": 3.25}],
    }
    assert measure(recipe, curves["mine"]) is RETURN
    text = write_results(recipe, curves, RETURN, tmp_path).read_text()
    assert "`theirs` returns 3.250 with 100 episodes of the expert; `mine` reaches that with 100." in text
    assert "| return [95 %] |" in text
    assert "| 12.50 [11.00, 14.00] |" in text
    assert "success" not in text.lower()
    assert "success" not in (tmp_path / f"{recipe.name}.svg").read_text()
