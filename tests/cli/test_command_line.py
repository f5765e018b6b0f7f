"""The command line as a person meets it: the whole job, its interruptions, and bad input in one line."""

import html
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import ONE_THREAD, SMALL, agentgym, command, settings

from agentgym import recipes
from agentgym.cli import main

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A folder in which `agentgym run` has done its work, small, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    result = agentgym("run", "babyai-goto-redball", *settings(*SMALL), cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder, result


def test_the_version_is_printed_and_nothing_else(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["agentgym", "--version"])
    assert main._run() == 0
    assert re.fullmatch(r"agentgym \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_one_command_records_trains_scores_and_reports(finished):
    folder, result = finished
    run = folder / "runs/babyai-goto-redball"
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["format"] == 2
    assert evaluation["deterministic"] is True
    task = evaluation["tasks"][0]
    assert task["task"] == "BabyAI-GoToRedBall-v0"
    keys = {"episodes", "success_rate", "success_ci95", "return_mean", "return_ci95", "length_mean"}
    assert keys <= task.keys() & task["random"].keys() & task["expert"].keys()
    assert task["first_seed"] == 0
    assert task["expert"]["success_rate"] == 1.0
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= {file.name for file in (run / "model").iterdir()}
    assert len(list((run / "videos").glob("*.mp4"))) == 2
    assert (run / "reconstructions.npz").stat().st_size > 0
    assert (run / "report.html").stat().st_size > 10_000
    assert "agent" in result.stdout
    assert "runs/babyai-goto-redball/report.html" in result.stdout
    assert "solved 40" in result.stdout


def test_a_finished_run_has_its_videos_made_again_and_is_compared(finished, monkeypatch, capsys):
    folder, _ = finished
    run, other = Path("runs/babyai-goto-redball"), Path("other")
    shutil.copytree(folder / run, folder / other)
    monkeypatch.chdir(folder)
    main.app(["report", "other", "--videos", "1", "--json"], standalone_mode=False)
    told = capsys.readouterr()
    assert json.loads(told.out) == {"report": "other/report.html"}
    assert "rendering" in told.err
    assert len(list(Path("other/videos").glob("*.mp4"))) == 1
    assert Path("other/report.html").read_text().count('<article class="video"') == 1
    main.app(["report", str(run), "other", "--to", "both.html", "--quiet"], standalone_mode=False)
    assert "babyai-goto-redball is better than other on 0 of 1 task" in Path("both.html").read_text()


def test_the_command_of_a_report_makes_the_run_again(finished):
    folder, _ = finished
    page = (folder / "runs/babyai-goto-redball/report.html").read_text()
    words = shlex.split(html.unescape(re.findall(r'<pre class="command">(.*?)</pre>', page)[0]))
    assert words[:3] == ["agentgym", "run", "babyai-goto-redball"]
    resolved = recipes.load_experiment(words[2], words[4::2])
    assert resolved.model_dump(mode="json") == json.loads((folder / "runs/babyai-goto-redball/recipe.json").read_text())


def test_what_the_playground_and_the_window_cannot_do_is_one_line(refuses, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    refuses("nowhere: there is no such folder", "playground", "nowhere")
    refuses("random: the playground shows a run", "playground", "random")
    refuses("exists and is not a dataset", "playground", "--record", ".")
    refuses("exists and is not a dataset", "play", "BabyAI-GoToRedBall-v0", "--record", ".")
    refuses("unknown environment id 'BabyAI-GoToRedBal-v0'; did you mean", "play", "BabyAI-GoToRedBal-v0")
    refuses("--videos: is for the report of one run", "report", "a", "b", "--videos", 2)
    refuses("is for the page that compares runs", "report", "a", "--to", "b.html")
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]


def test_the_resolved_recipe_is_stored_in_what_it_made(finished):
    folder, _ = finished
    recipe = json.loads((folder / "runs/babyai-goto-redball/recipe.json").read_text())
    assert recipe["training"]["updates"] == 4
    assert recipe["dataset"]["suite"]["tasks"] == [{"id": "BabyAI-GoToRedBall-v0"}]
    manifest = json.loads((folder / "data/babyai-goto-redball/manifest.json").read_text())
    assert manifest["recipe"] == recipe["dataset"]
    assert manifest["outcomes"] == {"solved": 40, "failed": 0, "error": 0, "timeout": 0}


def test_a_complete_run_says_so_and_does_nothing_twice(finished):
    folder, _ = finished
    files = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file() and file.name != ".lock"}
    result = agentgym("run", "babyai-goto-redball", *settings(*SMALL), cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "is complete; nothing was done again" in result.stdout
    assert files == {file: file.stat().st_mtime_ns for file in files}


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(finished, tmp_path):
    folder, _ = finished
    arguments = ["run", "babyai-goto-redball", *settings(*SMALL)]
    for marker in (
        "data/babyai-goto-redball/.lock",
        "runs/babyai-goto-redball/checkpoints/0000002",
        "runs/*/episodes.json",
    ):
        process = subprocess.Popen(
            command(*arguments), cwd=tmp_path, env=ONE_THREAD, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(marker)) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    result = agentgym(*arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    run = "runs/babyai-goto-redball"
    for file in ("model/model.safetensors", "episodes.json"):
        assert (tmp_path / run / file).read_bytes() == (folder / run / file).read_bytes(), file
    shards = [sorted((each / "data/babyai-goto-redball").glob("*.arrow")) for each in (tmp_path, folder)]
    assert [file.read_bytes() for file in shards[0]] == [file.read_bytes() for file in shards[1]]


def test_ctrl_c_ends_with_one_line_that_says_how_to_resume(tmp_path):
    arguments = ["collect", "babyai-goto-redball", "--set", "episodes=5000"]
    process = subprocess.Popen(
        command(*arguments), cwd=tmp_path, env=ONE_THREAD, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not list(tmp_path.glob("data/*/shard-*.arrow")):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; the same command resumes from here" in stderr
    assert "Traceback" not in stderr
    assert agentgym("check", "data/babyai-goto-redball", cwd=tmp_path).returncode == 0


def test_list_shows_every_recipe_with_one_line(tmp_path):
    result = agentgym("list", cwd=tmp_path)
    shipped = [path.stem for folder in ("envs", "datasets", "experiments") for path in (ROOT / folder).glob("*.toml")]
    assert result.returncode == 0
    for name in shipped:
        assert re.search(rf"^ *{name} ", result.stdout, re.MULTILINE), name


def test_check_says_that_a_dataset_is_whole_or_what_is_damaged(finished, tmp_path):
    folder, _ = finished
    assert "whole; 40 episodes" in agentgym("check", folder / "data/babyai-goto-redball", cwd=tmp_path).stdout
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in (folder / "data/babyai-goto-redball").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    shard = copy / "shard-000000.arrow"
    shard.write_bytes(shard.read_bytes()[:-100])
    result = agentgym("check", copy, cwd=tmp_path)
    assert result.returncode == 1
    assert "shard-000000.arrow" in result.stdout


def test_evaluate_gives_the_same_result_for_any_number_of_environments(finished):
    folder, _ = finished
    run = folder / "runs/babyai-goto-redball"
    before = json.loads((run / "evaluation.json").read_text())
    result = agentgym("evaluate", run, "--environments", 3, "--overwrite", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert json.loads((run / "evaluation.json").read_text())["tasks"] == before["tasks"]


@pytest.mark.parametrize(
    ("pattern", "override"),
    [
        (r"--set: key 'training.learning_rte': unknown key .* did you mean 'learning_rate'", "training.learning_rte=1"),
        (r"--set: key 'training.updates': found 'many'", "training.updates=many"),
        (r"key 'tasks.0.id': unknown environment id 'BabyAI-GoToRedBal-v0'; did you mean 'BabyAI-GoToRedBall-v0'",
         "dataset.suite.tasks.0.id=BabyAI-GoToRedBal-v0"),
        (r"no expert is named 'babyai-bott'; did you mean 'babyai-bot'", "dataset.expert=babyai-bott"),
        (r"no dataset recipe is named 'babyai-goto'; did you mean", "dataset=babyai-goto"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_one_line(refuses, pattern, override):
    refuses(pattern, "run", "babyai-goto-redball", "--set", override)


def test_a_recipe_with_a_typo_is_one_line_that_names_the_file(refuses, tmp_path):
    (tmp_path / "mine.toml").write_text(
        'description = "x"\nsuite = "babyai-goto-redball"\nexpertt = "babyai-bot"\nepisodes = 3\n'
    )
    refuses(r"mine.toml: key 'expertt': unknown key .*did you mean 'expert'", "collect", "mine.toml")


def test_a_dataset_folder_that_is_missing_empty_or_cut_short_is_one_line(refuses, finished, tmp_path):
    refuses("there is no such dataset folder", "check", "data/nothing")
    (tmp_path / "empty").mkdir()
    refuses("holds no episodes", "train", "babyai-goto-redball", "--data", "empty", "--run", "runs/a")
    cut = tmp_path / "cut"
    cut.mkdir()
    whole = finished[0] / "data/babyai-goto-redball/shard-000000.arrow"
    (cut / whole.name).write_bytes(whole.read_bytes()[:1000])
    refuses("shard-000000.arrow: not a whole shard", "train", "babyai-goto-redball", "--data", "cut", "--run", "runs/b")


def test_a_run_without_weights_is_one_line(refuses, finished, tmp_path):
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    source = finished[0] / "runs/babyai-goto-redball"
    (run / "recipe.json").write_bytes((source / "recipe.json").read_bytes())
    (run / "model/config.json").write_bytes((source / "model/config.json").read_bytes())
    refuses("has no model.safetensors", "evaluate", "run")


def test_an_agent_is_not_evaluated_on_frames_of_another_size(refuses, finished, tmp_path):
    source = finished[0] / "runs/babyai-goto-redball"
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    for file in (source / "model").iterdir():
        (run / "model" / file.name).write_bytes(file.read_bytes())
    recipe = json.loads((source / "recipe.json").read_text())
    recipe["dataset"]["suite"]["frame"]["tile_size"] = 4
    (run / "recipe.json").write_text(json.dumps(recipe))
    refuses(r"its frames are \[28, 28, 3\]; the agent was trained on \[56, 56, 3\]", "evaluate", "run")


def test_zero_episodes_are_one_line(refuses, finished):
    refuses(
        "--episodes 0: expected at least 1", "evaluate", "runs/babyai-goto-redball", "--episodes", "0", cwd=finished[0]
    )


def test_seeds_of_demonstrations_are_refused(refuses, finished):
    refuses(
        "overlap the demonstrations'", "evaluate", "runs/babyai-goto-redball", "--first-seed", "1000010", "--overwrite",
        cwd=finished[0],
    )  # fmt: skip


def test_what_exists_is_never_overwritten_unasked(refuses, finished, tmp_path):
    folder = finished[0]
    other = settings(*SMALL, "training.updates=5")
    refuses("holds a run of another recipe", "train", "babyai-goto-redball", *other, cwd=folder)
    refuses("holds a dataset of another recipe", "collect", "babyai-goto-redball", "--set", "episodes=5", cwd=folder)
    refuses("evaluation by another protocol", "evaluate", "runs/babyai-goto-redball", "--episodes", "3", cwd=folder)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/thesis.txt").write_text("x")
    refuses("exists and is not a dataset", "collect", "babyai-goto-redball", "--to", "precious")
    refuses("does not delete it", "collect", "babyai-goto-redball", "--to", "precious", "--overwrite")
    assert (tmp_path / "precious/thesis.txt").exists()


def test_an_unknown_option_is_one_line(refuses):
    refuses("No such option", "collect", "babyai-goto-redball", "--bogus")


def test_references_that_are_not_there_are_said_before_anything_is_recorded(refuses, tmp_path):
    refuses("--references nothing: holds no evaluation", "run", "babyai-goto-redball", "--references", "nothing")
    assert not list(tmp_path.iterdir())
