"""Results live with the recipe, written by one command."""

import json

import pytest
from worlds import experiment_recipe

from agentgym.errors import UserError
from agentgym.publish import publish, results_table, update_results

SCORE = {
    "episodes": 10,
    "success_rate": 0.9,
    "success_ci95": [0.5958, 0.9821],
    "return_mean": 0.85,
    "return_ci95": [0.8, 0.9],
    "length_mean": 6.25,
}
EVALUATION = {
    "format": 1,
    "versions": {"torch": "2"},
    "tasks": [{"task": "T-v0", "first_seed": 5, **SCORE, "random": SCORE, "expert": {"name": "bot", **SCORE}}],
}


def test_a_table_holds_the_numbers_of_the_evaluation():
    table = results_table(EVALUATION)
    assert "T-v0, seeds 5 to 14" in table
    assert "| agent | 90.0% [59.6%, 98.2%] | 0.850 [0.800, 0.900] | 6.2 |" in table
    assert "| bot |" in table


def test_a_document_is_changed_between_its_marks_only(tmp_path):
    document = tmp_path / "README.md"
    document.write_text("before\n<!-- results:a -->\nold\n<!-- /results -->\nafter\n")
    assert update_results(document, "a", EVALUATION)
    assert not update_results(document, "b", EVALUATION)
    text = document.read_text()
    assert text.startswith("before\n<!-- results:a -->\n| T-v0")
    assert text.endswith("<!-- /results -->\nafter\n")
    assert "old" not in text


def test_a_run_is_published_as_numbers_figure_and_page(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    training = {"updates": 6, "targets": 100, "parameters": 5, "seconds": 1.5, "precision": "float32"}
    recipe = experiment_recipe().model_dump(mode="json")
    for name, values in (("recipe", recipe), ("training", training), ("evaluation", EVALUATION)):
        (run / f"{name}.json").write_text(json.dumps(values))
    (run / "metrics.jsonl").write_text('{"update": 1, "loss/action": 1.0}\n{"update": 2, "loss/action": 0.5}\n')
    page = publish(run, tmp_path / "experiments")
    assert page.name == "babyai-goto-redball.md"
    assert results_table(EVALUATION) in page.read_text()
    assert json.loads(page.with_suffix(".json").read_text())["tasks"] == EVALUATION["tasks"]
    assert "<svg" in page.with_suffix(".svg").read_text()


def test_a_run_that_is_not_scored_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"recipe.json: is missing; publish a run that is trained"):
        publish(tmp_path, tmp_path / "experiments")
