"""One recipe, many worlds: parts of other actions and frames are recorded, trained on, scored and reported at once."""

import json

import pytest
from refusals import refusal

from agentgym import recipes
from agentgym.cli.console import CommandOutput
from agentgym.cli.run_commands import run_experiment
from agentgym.data.store import EpisodeDataset, dataset_folders
from agentgym.evaluation import role_rollouts
from agentgym.evaluation.protocol import check_seed_overlap, configure_evaluation
from agentgym.evaluation.scoring import evaluate
from agentgym.experiments.imitation import train
from agentgym.experts.collection import collect
from agentgym.files import read_json, write_json

QUICK = (
    "training.updates=2",
    "training.batch_size=2",
    "training.warmup_updates=1",
    "training.evaluate_episodes=0",
    'training.precision="float32"',
)

COUNTS = {"babyai-39": 39, "babyai-small": 8, "minigrid-small": 6, "minatar": 5, "generalist": 22}  # of tasks


@pytest.mark.slow
@pytest.mark.parametrize("name", list(COUNTS))
def test_a_shipped_recipe_of_many_worlds_is_recorded_and_trained_for_two_updates(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    many = bool(recipes.load_experiment(name).parts)
    dataset = "parts.*.dataset" if many else "dataset"
    small = ("episodes=2", "keep=all", "held_out=0.0", "suite.tasks.*.limit=12")
    recipe = recipes.load_experiment(name, [*QUICK, *(f"{dataset}.{each}" for each in small)])
    for each in recipe.datasets:
        collect(each, tmp_path / "data" / each.name, workers=1)
    trained = train(recipe)
    assert trained["updates"] == 2
    assert sum(len(suite.tasks) for suite in recipe.suites) == COUNTS[name] == len(tasks(recipe))


def tasks(recipe):
    return {task.id for suite in recipe.suites for task in suite.tasks}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """The folder of a run of two parts: a level of BabyAI that can be solved, and two games of MinAtar that cannot."""
    folder = tmp_path_factory.mktemp("worlds")
    (folder / "games-suite.toml").write_text(
        'description = "two games"\n[[tasks]]\nid = "MinAtar/Breakout-v1"\nlimit = 30\n'
        '[[tasks]]\nid = "MinAtar/Freeway-v1"\nlimit = 300\n'
    )
    (folder / "games.toml").write_text(
        'description = "two games"\nsuite = "games-suite.toml"\nexpert = "trained"\nepisodes = 6\nkeep = "all"\n'
        "held_out = 0.3\n"
    )
    (folder / "worlds.toml").write_text(
        'description = "a level and two games"\n[[parts]]\ndataset = "babyai-goto-redball"\nweight = 2.0\n'
        '[[parts]]\ndataset = "games.toml"\nwindow = 2\n[model]\nframe_side = 56\n[training]\nwindow = 4\nupdates = 2\n'
        "[evaluation]\nepisodes = 3\nvideos = 2\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(role_rollouts, "CHOICE", range(1_900_000_000, 1_900_000_001))
        small = ["parts.0.dataset.episodes=24", "parts.0.dataset.held_out=0.25", *QUICK, "training.evaluate_episodes=2"]
        output = CommandOutput(quiet=True, json=False)
        run_experiment("worlds.toml", set_=small, workers=1, processes=1, output=output)
    return folder


@pytest.fixture
def run(worlds, monkeypatch):
    monkeypatch.chdir(worlds)
    monkeypatch.setattr(role_rollouts, "CHOICE", range(1_900_000_000, 1_900_000_001))
    return worlds / "runs" / "worlds"


def test_tasks_of_other_actions_are_recorded_side_by_side(worlds):
    folders = dataset_folders(worlds / "data" / "games")
    assert [folder.name for folder in folders] == ["minatar-breakout-v1", "minatar-freeway-v1"]
    assert [set(EpisodeDataset(folder).column("task")) for folder in folders] == [
        {"MinAtar/Breakout-v1"},
        {"MinAtar/Freeway-v1"},
    ]


def test_every_suite_of_every_part_is_scored_each_by_its_own_expert(run):
    found = read_json(run / "evaluation.json")
    assert [(task["task"], task["suite"], task["expert"]["name"]) for task in found["tasks"]] == [
        ("BabyAI-GoToRedBall-v0", "babyai-goto-redball", "babyai-bot"),
        ("MinAtar/Breakout-v1", "games-suite", "trained"),
        ("MinAtar/Freeway-v1", "games-suite", "trained"),
    ]
    assert [task["defines_success"] for task in found["tasks"]] == [True, False, False]
    assert set(found["over_suites"]) <= {"babyai-goto-redball", "games-suite"}
    assert "MinAtar" in found["versions"]


def test_four_references_are_beside_the_agent(run):
    freeway = read_json(run / "evaluation.json")["tasks"][2]
    assert {"random", "expert", "constant", "repeat"} <= freeway.keys()
    assert freeway["constant"]["name"] == "up"


def test_what_is_held_out_is_scored_part_by_part_beside_what_needs_no_agent(run):
    parts = {part["part"]: part for part in read_json(run / "evaluation.json")["held_out"]}
    assert set(parts) == {"babyai-goto-redball", "games/minatar-breakout-v1", "games/minatar-freeway-v1"}
    for part in parts.values():
        assert 0 <= part["trivial"]["commonest"] <= 1
        assert part["actions"] > 0


def test_curves_are_written_part_by_part(run):
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert "held_out/accuracy/action/games/minatar-freeway-v1" in last
    assert "held_out/accuracy/action" in last
    assert {"rollout/success_rate", "rollout/return/MinAtar/Breakout-v1"} <= last.keys()


def test_the_report_has_one_table_of_all_tasks(run):
    page = (run / "report.html").read_text()
    for task in ("BabyAI-GoToRedBall-v0", "MinAtar/Breakout-v1", "MinAtar/Freeway-v1"):
        assert task in page


def test_a_run_that_is_complete_does_nothing_again(run):
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*.json")}
    recipe = configure_evaluation(str(run))
    assert evaluate(recipe, workers=1) == read_json(run / "evaluation.json")
    assert {file: file.stat().st_mtime_ns for file in run.rglob("*.json")} == before


def test_with_a_suite_a_run_plays_that_suite_only(run, tmp_path):
    config = configure_evaluation(str(run), suite="babyai-goto-redball", to=tmp_path / "own")
    assert [play.task.id for play in config.plays] == ["BabyAI-GoToRedBall-v0"]


def test_more_episodes_and_an_expert_play_what_is_missing_only(run, tmp_path, monkeypatch):
    played = []
    real = role_rollouts.rollout_expert

    def counted(who, task, *, seeds, **settings):
        played.append((who, list(seeds)))
        return real(who, task, seeds=seeds, **settings)

    def score(**changes):
        played.clear()
        config = configure_evaluation(
            "random", suite="minatar-breakout", to=tmp_path / "scored", **{"expert": "repeat", **changes}
        )
        return evaluate(config, workers=1)

    first = score(episodes=2)
    monkeypatch.setattr(role_rollouts, "rollout_expert", counted)
    more = score(episodes=3)
    assert [seeds for who, seeds in played if who == "random"] == [[2]]
    assert all(seeds == [2] for who, seeds in played)
    assert [task["episodes"] for task in (*first["tasks"], *more["tasks"])] == [2, 3]
    assert score(episodes=3) == more
    assert played == []
    assert ".episodes: 3 -> 2)" in refusal(score, episodes=2)
    assert "another protocol (tasks.MinAtar/Breakout-v1.expert" in refusal(score, episodes=3, expert="trained")


def test_an_expert_that_is_added_plays_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(role_rollouts, "CHOICE", range(1_900_000_000, 1_900_000_001))
    settings = {"suite": "minatar-breakout", "to": tmp_path / "scored", "episodes": 2}
    config = configure_evaluation("random", **settings, expert="repeat")
    evaluate(config, workers=1)
    file = tmp_path / "scored" / "episodes.json"
    stored = read_json(file)
    del stored["expert"]
    for task in stored["protocol"]["tasks"].values():
        task["expert"] = None
    write_json(file, stored)
    (tmp_path / "scored" / "evaluation.json").unlink()
    found = evaluate(configure_evaluation("random", **settings, expert="trained"), workers=1)
    assert found["tasks"][0]["expert"]["name"] == "trained"
    assert read_json(file)["random"] == stored["random"]


@pytest.mark.parametrize("task", ["BabyAI-GoToRedBall-v0", "MinAtar/Breakout-v1"])
def test_seeds_are_checked_against_every_part(run, task):
    config = configure_evaluation(str(run), first_seed=1_000_000)
    assert "overlap the demonstrations' of BabyAI-GoToRedBall-v0" in refusal(check_seed_overlap, config)
    alone = configure_evaluation(str(run), suite="minatar-breakout", first_seed=1_000_004)
    assert "overlap the demonstrations' of MinAtar/Breakout-v1 in 2 seeds" in refusal(check_seed_overlap, alone)


def test_seeds_are_checked_against_what_the_agent_started_from_was_trained_on(run, worlds):
    child = worlds / "runs" / "child"
    child.mkdir(exist_ok=True)
    recipe = recipes.load_experiment(
        "babyai-pickup-loc", ["dataset.episodes=5", f'model.init={{agent="{run}"}}', "model.frame_side=56"]
    )
    write_json(child / "recipe.json", recipe.model_dump(mode="json"))
    (child / "model").mkdir(exist_ok=True)
    config = configure_evaluation(str(child), suite="babyai-goto-redball", first_seed=1_000_020)
    line = refusal(check_seed_overlap, config)
    assert "overlap the demonstrations' of BabyAI-GoToRedBall-v0" in line
    assert "of the agent that it started from" in line
