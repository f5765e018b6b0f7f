"""What a report says, from a run folder written by hand."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentgym.errors import UserError
from agentgym.pictures import reconstructions
from agentgym.report import write_report
from agentgym.videos import write_video

MARKUP = "<script>document.title = 'owned'</script> & \"go\" to the <b>ball</b>"
RECIPE: dict[str, Any] = {
    "name": "goto",
    "description": "a small run",
    "dataset": {
        "name": "goto-data",
        "suite": {"name": "goto-suite", "frame": {"view": "partial", "tile_size": 8}, "tasks": [{"id": "GoTo-v0"}]},
        "expert": "bot",
        "episodes": 100,
        "first_seed": 1_000_000,
    },
    "model": {"preset": "tiny", "patch_merge": None},
    "training": {"updates": 400, "betas": [0.9, 0.98]},
}
TRAINING = {
    "updates": 400,
    "windows": 6400,
    "targets": 1_234_567,
    "parameters": 987_654,
    "seconds": 131.0,
    "precision": "float32",
    "versions": {"torch": "2.13.0"},
}


def score_values(success_rate: float, low: float, high: float) -> dict[str, Any]:
    return {
        "episodes": 500,
        "success_rate": success_rate,
        "success_ci95": [low, high],
        "return_mean": 0.8765,
        "return_ci95": [0.8612, 0.8923],
        "length_mean": 7.25,
    }


TASK = {
    "task": "GoTo-v0",
    "first_seed": 0,
    **score_values(0.964, 0.9438, 0.9771),
    "random": score_values(0.312, 0.2731, 0.3539),
    "expert": {**score_values(0.998, 0.9888, 0.9996), "name": "bot"},
}
EVALUATION = {
    "format": 1,
    "policy": "runs/goto/model",
    "deterministic": True,
    "versions": {"minigrid": "3.2.0", "torch": "2.13.0"},
    "tasks": [TASK],
}


def an_episode(seed: int, success: bool, length: int) -> dict[str, Any]:
    reward = float(success)
    outcome = {"success": success, "total_reward": reward, "length": length, "actions": [0] * length}
    return {"task": "GoTo-v0", "seed": seed, "instruction": MARKUP, **outcome}


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A run that has been trained and nothing else."""
    run = tmp_path / "goto"
    run.mkdir()
    (run / "recipe.json").write_text(json.dumps(RECIPE))
    (run / "training.json").write_text(json.dumps(TRAINING))
    return run


@pytest.fixture
def complete(trained: Path) -> Path:
    """A run with everything that a report can show."""
    lines = [
        {"update": n, "loss/action": 1 / n, "learning_rate": 1e-3, "held_out/loss/action": 1 / n} for n in (20, 40)
    ]
    (trained / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (trained / "evaluation.json").write_text(json.dumps(EVALUATION))
    agent = [an_episode(seed=0, success=True, length=3), an_episode(seed=1, success=False, length=64)]
    expert = [an_episode(seed=0, success=True, length=2), an_episode(seed=1, success=True, length=5)]
    (trained / "episodes.json").write_text(json.dumps({"agent": agent, "random": [], "expert": expert}))
    frames = np.zeros((4, 7, 7, 3), np.uint8)
    (trained / "videos").mkdir()
    write_video(
        trained / "videos" / "success-0.mp4",
        frames=frames,
        actions=["left", "right", "forward"],
        instruction=MARKUP,
        outcome="success",
    )
    (trained / "videos" / "videos.json").write_text(json.dumps([{"file": "success-0.mp4", **agent[0]}]))
    (trained / "pictures").mkdir()
    (trained / "pictures" / "reconstructions.png").write_bytes(reconstructions(frames, frames, frames, scale=2))
    return trained


def page(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")


def rows(html: str) -> list[list[str]]:
    """The cells of each table row."""
    return [re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", html, re.S)]


def test_the_numbers_of_the_table_are_those_of_the_evaluation(complete):
    found = rows(page(complete))
    same = ["0.876", "0.861 – 0.892", "7.2", "500", "0 – 499"]  # as Python rounds them
    assert ["GoTo-v0", "agent", "96.4 %", "94.4 % – 97.7 %", *same] in found
    assert ["GoTo-v0", "random", "31.2 %", "27.3 % – 35.4 %", *same] in found
    assert ["GoTo-v0", "bot", "99.8 %", "98.9 % – 100.0 %", *same] in found


def test_the_headline_is_the_share_of_levels_solved_over_all_tasks(complete):
    assert "96.4 % of 500 held-out levels solved" in page(complete)
    other = {**TASK, "task": "Open-v0", "success_rate": 0.5}
    (complete / "evaluation.json").write_text(json.dumps({**EVALUATION, "tasks": [TASK, other]}))
    assert "73.2 % of 1,000 held-out levels of 2 tasks solved" in page(complete)


def test_levels_that_training_has_seen_are_not_called_held_out(complete):
    seen = {**TASK, "first_seed": 1_000_099}
    (complete / "evaluation.json").write_text(json.dumps({**EVALUATION, "tasks": [seen]}))
    assert "96.4 % of 500 levels solved" in page(complete)


def test_the_bars_and_brackets_are_as_wide_as_the_scores(complete):
    bars = re.findall(r'class="bar (\w+)" style="width: ([\d.]+)%"', page(complete))
    assert [(role, round(float(width), 6)) for role, width in bars] == [
        ("agent", 96.4),
        ("random", 31.2),
        ("expert", 99.8),
    ]
    brackets = re.findall(r'class="interval" style="left: ([\d.]+)%; width: ([\d.]+)%"', page(complete))
    assert [round(float(number), 6) for number in brackets[0]] == [94.38, 3.33]


def test_a_report_names_no_resource_outside_itself(complete):
    html = page(complete)
    resources = re.findall(r"""(?:src|href|poster|data)\s*=\s*["']([^"']*)""", html)
    assert resources
    assert all(resource.startswith(("data:", "#")) for resource in resources)
    assert "<link" not in html
    assert "@import" not in html
    assert not re.search(r"url\((?!['\"]?#)", html)


def test_markup_in_an_instruction_is_escaped(complete):
    html = page(complete)
    assert "<script" not in html
    assert "<b>ball</b>" not in html
    assert "&lt;b&gt;ball&lt;/b&gt;" in html


def test_the_failures_are_listed_beside_the_experts_length(complete):
    failures = [cells for cells in rows(page(complete)) if len(cells) == 5]
    assert [(cells[1], cells[3], cells[4]) for cells in failures] == [("1", "64", "5")]


def test_a_run_without_evaluation_says_which_commands_to_run(trained):
    html = page(trained)
    assert "Trained, not evaluated yet" in html
    assert html.count(f"<code>agentgym evaluate {trained}</code>") == 2  # scores, videos
    assert html.count("<code>agentgym run goto</code>") == 2  # learning curves, reconstructions


def test_a_run_that_is_still_in_training_has_a_report(trained):
    (trained / "training.json").unlink()
    assert "Not trained to the end yet" in page(trained)


def test_the_recipe_is_on_the_page_as_toml(complete):
    text = re.findall(r"<pre>(.*?)</pre>", page(complete), re.S)[0].replace("&#34;", '"')
    unset = {**RECIPE, "model": {"preset": "tiny"}}  # TOML has no word for what is not set
    assert tomllib.loads(text) == unset


def test_the_versions_of_training_and_evaluation_stand_side_by_side(complete):
    assert ["minigrid", "–", "3.2.0"] in rows(page(complete))
    assert ["torch", "2.13.0", "2.13.0"] in rows(page(complete))


def test_the_report_is_the_same_each_time_and_leaves_nothing_else(complete):
    before = {file.name for file in complete.iterdir()}
    assert page(complete) == page(complete)
    assert {file.name for file in complete.iterdir()} == before | {"report.html"}


def test_a_folder_without_a_recipe_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"no recipe\.json; name a run folder, .*agentgym run NAME"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_line_of_metrics_is_named(complete):
    with (complete / "metrics.jsonl").open("a") as stream:
        stream.write('{"update": 60, "loss')
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 3: not valid JSON"):
        write_report(complete)


def test_a_missing_video_is_named(complete):
    (complete / "videos" / "success-0.mp4").unlink()
    with pytest.raises(UserError, match=r"videos\.json: names success-0\.mp4, which is missing"):
        write_report(complete)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the chromium browser on PATH")
def test_a_browser_opens_the_report_and_finds_its_video(complete, tmp_path):
    report = write_report(complete)
    flags = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
        *("--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--dump-dom"),
    )
    shown = subprocess.run(
        ["chromium", *flags, f"--user-data-dir={tmp_path / 'profile'}", report.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert shown.stdout.count("<video") == 1
    assert "<title>goto · agentgym report</title>" in shown.stdout  # an executed instruction would have changed it
    assert "CONSOLE" not in shown.stderr
