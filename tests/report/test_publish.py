"""Results live with the recipe, written by one command."""

import json
import shlex
from pathlib import Path

import pytest
from example_scores import episode_of, evaluation_of, score_of, task_of
from refusals import refusal
from tiny import experiment_recipe

from agentgym.errors import UserError
from agentgym.report.marked_tables import update_results, update_scores
from agentgym.report.publish import publish, results_table, summary
from agentgym.report.reproduction import settings

ROOT = Path(__file__).parent.parent.parent
SCORE = score_of()
TASK = task_of(
    SCORE,
    first_seed=5,
    random=score_of(return_mean=0.5),
    expert={"name": "bot", **score_of(errors=2, return_mean=0.9)},
    normalised=0.875,
)
EVALUATION = evaluation_of(TASK)


def reproducing_flags(recipe):
    return shlex.join([recipe["name"], *(word for flag in settings(recipe) for word in ("--set", flag))])


def test_a_game_without_success_is_scored_by_its_return_beside_all_references():
    constant = {"name": "up", **score_of(return_mean=0.6)}
    game = {**TASK, "defines_success": False, "constant": constant, "repeat": SCORE}
    table = results_table({**EVALUATION, "tasks": [game]}).splitlines()
    assert table[0] == "| T-v0, seeds 5 to 14 | mean return [95 %] | normalised | mean length |"
    assert [line.split(" | ")[0] for line in table[2:]] == [
        *("| agent", "| random", "| bot", "| always up", "| the last action again"),
    ]
    assert table[5] == "| always up | 0.600 [0.800, 0.900] | 0.250 | 6.2 |"
    assert "success" not in "".join(table)


def test_what_is_beside_the_table_is_said_too():
    assert summary(EVALUATION).splitlines() == [
        "* Over 1 task, random = 0 and expert = 1: interquartile mean 0.900 [0.800, 0.950], mean 0.875 [0.750, 0.900], "
        "optimality gap 0.125 [0.100, 0.250].",
        "* Next action on 1,088 held-out recorded steps: accuracy 98.0%, perplexity 1.071, BLEU-4 0.948 "
        "(0.985 with the paper's constant start and end tokens).",
        "* T-v0: the expert failed by an error in 2 episodes.",
    ]
    assert summary({**EVALUATION, "over_tasks": None, "next_action": None, "tasks": []}) == ""


def test_a_task_without_an_expert_has_no_scale():
    task = {key: value for key, value in TASK.items() if key != "expert"}
    table = results_table({**EVALUATION, "tasks": [{**task, "normalised": None}]})
    assert "| random | 90.0% [59.6%, 98.2%] | 0.500 [0.800, 0.900] | – | 6.2 |" in table
    assert "bot" not in table


def test_where_a_humans_return_is_published_that_is_the_scale():
    published = {"random": 0.0, "human": 1.7, "source": "a paper"}
    evaluation = {**EVALUATION, "tasks": [{**TASK, "normalised": 0.5, "published": published}]}
    table = results_table(evaluation)
    assert "0.850 [0.800, 0.900] | 0.500 |" in table
    assert "* T-v0, published returns: random 0.000, human 1.700 (a paper)." in summary(evaluation)
    assert "* Over 1 task, random = 0 and human = 1: " in summary(evaluation)


@pytest.mark.parametrize("stored", sorted((ROOT / "experiments").glob("*.json")), ids=lambda path: path.stem)
def test_what_is_published_comes_from_the_stored_numbers(stored):
    evaluation = json.loads(stored.read_text())
    text = stored.with_suffix(".md").read_text()
    assert results_table(evaluation) in text
    assert summary(evaluation) in text


def test_a_table_holds_the_numbers_of_the_evaluation():
    table = results_table(EVALUATION)
    assert "T-v0, seeds 5 to 14" in table
    assert "| agent | 90.0% [59.6%, 98.2%] | 0.850 [0.800, 0.900] | 0.875 | 6.2 |" in table
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
    assert summary(EVALUATION) in page.read_text()
    assert f"Made by `agentgym run {reproducing_flags(recipe)}`" in page.read_text()
    assert json.loads(page.with_suffix(".json").read_text())["tasks"] == EVALUATION["tasks"]
    assert "<svg" in page.with_suffix(".svg").read_text()


def test_a_page_says_where_the_agent_fails(tmp_path):
    run = run_of(tmp_path / "run", 0, 0.8)
    task = experiment_recipe().suites[0].tasks[0].id
    evaluation = {**EVALUATION, "tasks": [{**TASK, "task": task}]}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    played = [
        episode_of(seed=seed, success=seed < 6, task=task, instruction="go to it" if seed < 5 else "go to it and stop")
        for seed in range(10)
    ]
    assert "Levels solved" not in publish(run, tmp_path / "before").read_text()
    (run / "episodes.json").write_text(json.dumps({"agent": played, "expert": []}))
    text = publish(run, tmp_path / "after").read_text()
    assert f"| {task} | parts | 1 part 100% of 5; 2 parts 20% of 5 |" in text


def test_trainings_of_other_seeds_stand_beside_it(tmp_path):
    runs = [run_of(tmp_path / f"run-{seed}", seed, normalised) for seed, normalised in ((0, 0.8), (2, 1.0), (1, 0.9))]
    page = publish(runs[0], tmp_path, runs[1:])
    name = "babyai-goto-redball"
    text = page.read_text()
    assert "| normalised | training seed 0 | training seed 1 | training seed 2 | mean [95 %] |" in text
    assert "| T-v0 | 0.800 | 0.900 | 1.000 | 0.900 [0.652, 1.148] |" in text  # 0.9 ± 4.303 · 0.1 / √3
    assert f"`agentgym publish runs/{name} runs/{name}-1 runs/{name}-2`" in text
    document = tmp_path / "results.md"
    document.write_text(f"<!-- scores:{name} -->\n<!-- /scores -->\n")
    update_scores(document, tmp_path)
    assert document.read_text().splitlines()[3].endswith("| 0.900 [0.652, 1.148] of 3 |")


@pytest.mark.parametrize(
    ("seed", "changes", "fault"),
    [
        (0, {}, "training.seed=0: two of the runs have it"),
        (1, {"updates": 7}, "its recipe differs from"),
        (1, {"first_seed": 6}, "was not evaluated on the tasks and seeds of"),
    ],
)
def test_only_the_training_seed_may_differ(tmp_path, seed, changes, fault):
    runs = [run_of(tmp_path / "run", 0, 0.8), run_of(tmp_path / "other", seed, 0.9, **changes)]
    assert fault in refusal(publish, runs[0], tmp_path / "experiments", runs[1:])
    assert not (tmp_path / "experiments").exists()


def test_a_recipe_that_is_none_is_one_clear_line(tmp_path):
    runs = [run_of(tmp_path / "run", 0, 0.8), run_of(tmp_path / "other", 1, 0.9)]
    (runs[1] / "recipe.json").write_text("{}")
    assert str(runs[1]) in refusal(publish, runs[0], tmp_path / "experiments", runs[1:])


def run_of(run, seed, normalised, *, first_seed=5, updates=6):
    """The folder of a run with that training seed and score."""
    run.mkdir()
    recipe = experiment_recipe(f"training.seed={seed}", f"training.updates={updates}").model_dump(mode="json")
    task = {**TASK, "normalised": normalised, "first_seed": first_seed}
    training = {"updates": 6, "targets": 100, "parameters": 5, "seconds": 1.5, "precision": "float32"}
    for name, values in (("recipe", recipe), ("training", training), ("evaluation", {**EVALUATION, "tasks": [task]})):
        (run / f"{name}.json").write_text(json.dumps(values))
    (run / "metrics.jsonl").write_text('{"update": 1, "loss/action": 1.0}\n{"update": 2, "loss/action": 0.5}\n')
    return run


def test_a_table_of_scores_is_made_of_what_is_published(tmp_path):
    folder = tmp_path / "experiments"
    folder.mkdir()
    training = {"targets": 1200, "seconds": 240.0}
    (folder / "a.json").write_text(json.dumps({**EVALUATION, "training": training}))
    document = tmp_path / "README.md"
    document.write_text("before\n<!-- scores:a,b -->\nold\n<!-- /scores -->\nafter\n")
    update_scores(document, folder)
    task = TASK
    low, high = task["success_ci95"]
    row = (
        f"| [{task['task']}](experiments/a.md) | {task['success_rate']:.1%} [{low:.1%}, {high:.1%}] "
        f"| {task['random']['success_rate']:.1%} | {task['expert']['success_rate']:.1%} | 1,200 actions in 4 min |"
    )
    before, *table, after = document.read_text().splitlines()
    assert (before, after) == ("before", "after")
    assert row in table
    assert "old" not in table


def test_an_agent_of_many_tasks_stands_beside_its_specialists(tmp_path):
    folder = tmp_path / "experiments"
    folder.mkdir()
    task = TASK
    (folder / "many.json").write_text(json.dumps({**EVALUATION, "tasks": [task, {**task, "task": "other-v0"}]}))
    better = {**EVALUATION, "tasks": [{**task, "success_rate": 1.0, "return_mean": 0.9}]}
    (folder / "one.json").write_text(json.dumps(better))
    document = tmp_path / "results.md"
    document.write_text("<!-- specialists:many:missing,one -->\n<!-- /specialists -->\n")
    update_scores(document, folder)
    own = " | ".join(f"{each['success_rate']:.1%}" for each in (task["random"], task["expert"], task)) + " | 0.875"
    _, _, _, first, second, _ = document.read_text().splitlines()
    assert first == f"| {task['task']} | {own} | [100.0%](experiments/one.md) | 1.000 |"
    assert second == f"| other-v0 | {own} | – | – |"


def test_an_agent_stands_beside_a_peer_where_that_published_on_the_same_scale(tmp_path):
    folder = tmp_path / "experiments"
    folder.mkdir()
    tasks = [
        {**TASK, "task": task}
        for task in ("BabyAI-BossLevel-v0", "BabyAI-ActionObjDoor-v0", "BabyAI-GoToObj-v0", "T-v0")
    ]
    tasks[1]["expert"] = {**TASK["expert"], "return_mean": 0.898}
    (folder / "ours.json").write_text(json.dumps({**EVALUATION, "tasks": tasks}))
    document = tmp_path / "results.md"
    document.write_text("<!-- peers:ours:JAT -->\n<!-- /peers -->\n")
    update_scores(document, folder)
    _, _, _, boss, door, obj, other, _, told, _ = document.read_text().splitlines()
    assert boss.endswith(" | 0.875 | 0.54 | ahead |")
    assert door.endswith(" | 0.879 | 0.88 | level |")
    assert obj.endswith(" | 0.875 | 1.01 | behind |")
    assert other.endswith(" | 0.875 | – |  |")
    assert told == (
        "Of 3 tasks, at two digits: ahead in 1, level in 1, behind in 1; means over these: 0.876, and 0.810 of JAT."
    )


def test_a_run_that_is_not_scored_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"recipe.json: is missing; publish a run that is trained"):
        publish(tmp_path, tmp_path / "experiments")
