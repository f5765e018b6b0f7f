"""What a report says, from a run folder written by hand."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
from browser import shown_by_a_browser
from example_run import EVALUATION, RECIPE, TASK, an_episode

from agentgym.errors import UserError
from agentgym.report import write_report


def page(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")


def rows(html: str) -> list[list[str]]:
    """The cells of each table row."""
    return [re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", html, re.S)]


def test_the_numbers_of_the_table_are_those_of_the_evaluation(complete):
    found = rows(page(complete))
    same = ["0.861 – 0.892", "7.2", "500", "0 – 499"]  # as Python rounds them
    assert ["GoTo-v0", "agent", "96.4 %", "94.4 % – 97.7 %", "0.750", "0.876", *same] in found
    assert ["GoTo-v0", "random", "31.2 %", "27.3 % – 35.4 %", "0.000", "0.127", *same] in found
    assert ["GoTo-v0", "bot", "99.8 %", "98.9 % – 100.0 %", "1.000", "1.127", *same] in found


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
    resources = [resource for resource in resources if resource not in ("seen", "world")]
    assert all(resource.startswith(("data:", "#")) for resource in resources)
    assert "<link" not in html
    assert "@import" not in html
    assert not re.search(r"url\((?!['\"]?#)", html)


def test_markup_in_an_instruction_is_escaped(complete):
    html = page(complete)
    assert "<script>document" not in html
    assert "<b>ball</b>" not in html
    assert "&lt;b&gt;ball&lt;/b&gt;" in html


def test_the_failures_are_listed_beside_the_experts_length(complete):
    failures = [cells for cells in rows(page(complete)) if len(cells) == 5]
    assert [(cells[1], cells[3], cells[4]) for cells in failures] == [("1", "64", "5")]


def test_a_run_without_evaluation_says_which_commands_to_run(trained):
    html = page(trained)
    assert "Trained, not evaluated yet" in html
    assert html.count(f"<code>agentgym evaluate {trained}</code>") == 3  # scores, videos, failures
    again = f"agentgym run {trained}/recipe.json --run {trained}-again"
    assert html.count(f"<code>{again}</code>") == 2  # learning curves, reconstructions
    assert f'<pre class="command">{again}</pre>' in html


def test_a_run_that_is_still_in_training_has_a_report(trained):
    (trained / "training.json").unlink()
    assert "Not trained to the end yet" in page(trained)


def test_the_recipe_is_on_the_page_as_toml(complete):
    text = re.findall(r"<pre>(.*?)</pre>", page(complete), re.S)[0].replace("&#34;", '"')
    unset = {**RECIPE, "model": {"preset": "tiny"}}  # TOML has no word for what is not set
    assert tomllib.loads(text) == unset


def test_the_versions_of_training_and_evaluation_are_side_by_side(complete):
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


def test_a_damaged_line_of_metrics_is_named_and_a_last_one_that_was_cut_short_left_out(complete):
    with (complete / "metrics.jsonl").open("a") as stream:
        stream.write('{"update": 60, "loss')
    write_report(complete)
    with (complete / "metrics.jsonl").open("a") as stream:
        stream.write('\n{"update": 80}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 3"):
        write_report(complete)


def test_a_missing_picture_is_named(complete):
    (complete / "videos" / "world.png").unlink()
    with pytest.raises(UserError, match=r"videos\.json: names world\.png, which is missing"):
        write_report(complete)


def test_what_the_evaluation_says_beside_its_table_is_on_the_page(complete):
    html = page(complete)
    found = rows(html)
    assert ["interquartile mean", "0.961", "0.940 – 0.970"] in found
    assert ["optimality gap (lower is better)", "0.049", "0.040 – 0.070"] in found
    assert ["accuracy", "98.0 %"] in found
    assert ["perplexity", "1.071"] in found
    assert ["BLEU-4 with constant start and end tokens", "0.985"] in found
    assert "GoTo-v0: bot raised in 3 episodes" in html
    assert ["mean return", "GoTo-v0", "random 0.1, expert 0.93", "–", "–", "a paper"] in found


def test_a_video_has_all_probabilities_of_each_step_and_names_its_method(complete):
    html = page(complete)
    data = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', html, re.S)]
    (steps,) = [each for each in data if "probabilities" in each]
    assert steps == {
        "actions": [0, 1, 0],
        "probabilities": [[0.75, 0.25]] * 3,
        "patches": [[0.5, 0.5, 0.0, 0.0]] * 3,
    }
    assert "a method, the attention over the patches" in html
    assert html.count("<rect") == 4


def test_a_run_whose_videos_have_no_pictures_says_which_command_makes_them(complete):
    (complete / "videos" / "videos.json").write_text(json.dumps([{"file": "a.mp4", **an_episode(0, True, 3)}]))
    assert f"<code>agentgym report {complete} --videos 12</code>" in page(complete)


def test_what_others_published_names_its_input_data_and_source(complete):
    recipe = {**RECIPE, "dataset": {**RECIPE["dataset"]}}
    recipe["dataset"]["suite"] = {**RECIPE["dataset"]["suite"], "tasks": [{"id": "BabyAI-GoToLocal-v0"}]}
    (complete / "recipe.json").write_text(json.dumps(recipe))
    found = rows(page(complete))
    million, source = "1M bot demonstrations of this level", "arXiv 2007.12770 (1810.08272)"
    assert ["BabyAI 1.1 (1.0)", "GoToLocal", "100 % (99.8 %) solved", "symbolic grid", million, source] in found
    assert [cells[0] for cells in found if len(cells) == 6][:3] == ["BabyAI 1.1 (1.0)", "JAT", "Gato"]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the chromium browser on PATH")
def test_a_browser_opens_the_report_and_shows_the_first_step_of_its_video(complete, tmp_path):
    shown = shown_by_a_browser(write_report(complete), tmp_path / "profile")
    assert "<title>goto · agentgym report</title>" in shown  # an executed instruction would have changed it
    chances = re.findall(r'class="(\w*)"><span>(\w+)</span>.*?class="value">([^<]*)<', shown)
    assert chances == [("taken", "left", "75.0 %"), ("", "right", "25.0 %")]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the chromium browser on PATH")
def test_the_page_is_no_wider_than_a_phone(complete, tmp_path):
    report = write_report(complete)
    measured = "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth</script></body>"
    report.write_text(report.read_text(encoding="utf-8").replace("</body>", measured))
    shown = shown_by_a_browser(report, tmp_path / "profile", "--window-size=500,800")  # Chromium is no narrower
    width, window = re.findall(r"<title>(\d+) of (\d+)</title>", shown)[0]
    assert int(width) <= int(window)  # a scroll bar may take some of the window
