"""Curves, groups of failures and the page that compares runs, on worlds whose answer is known."""

import json

import pytest
from example_run import EVALUATION, RECIPE, TRAINING, an_episode
from tiny import TASK

from agentgym.errors import UserError
from agentgym.recipes import FrameRecipe, TaskRecipe
from agentgym.report import write_comparison
from agentgym.report.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, draw, learning_curves, ticks
from agentgym.report.failures import find_failures

TASKS = [TaskRecipe(id="GoTo-v0"), TaskRecipe(id=TASK)]
FRAMES = {task.id: FrameRecipe(view="partial", tile_size=8) for task in TASKS}


def test_ticks_are_round_and_end_below_the_highest_value():
    assert ticks(1.0) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(1200) == [0, 250, 500, 750, 1000]
    assert ticks(0.0043) == pytest.approx([0, 0.001, 0.002, 0.003, 0.004])


def test_a_line_runs_from_the_left_edge_to_the_highest_point():
    curve = draw("share", [("train", 0, [(0, 0.0), (10, 1.0)])], percent=True)
    assert curve.lines[0].path == f"M{LEFT}.0,{HEIGHT - BOTTOM}.0L{WIDTH - RIGHT}.0,{TOP}.0"
    assert curve.lines[0].points == ((0, 0.0, "0 %"), (10, 1.0, "100 %"))


def test_a_panel_is_there_for_each_metric_that_a_run_has():
    first = [{"update": 1, "loss/action": 2.0}, {"update": 2, "loss/action": 1.0, "held_out/loss/action": 1.5}]
    second = [{"update": 2, "loss/action": 0.5, "gradient_norm": 1.0}]
    curves = learning_curves([first, second])
    assert [curve.title for curve in curves] == ["action loss", "gradient norm"]
    assert [(line.label, line.run) for line in curves[0].lines] == [("train", 0), ("held out", 0), ("train", 1)]


def test_success_of_a_task_that_never_says_it_has_no_curve():
    def titles(*success):
        lines = [{"update": n, "rollout/return": 1.0, "rollout/success_rate": rate} for n, rate in enumerate(success)]
        return [curve.title for curve in learning_curves([lines])]

    assert titles(0.0, 0.0) == ["return"]
    assert titles(0.0, 0.5) == ["levels solved", "return"]
    (curve,) = learning_curves([[{"update": 0, "rollout/success_rate": 0.0}]])
    assert curve.title == "levels solved"


def test_failures_are_counted_by_the_words_of_the_instruction():
    def episodes(instruction, outcomes):
        return [{**an_episode(i, solved, 3), "instruction": instruction} for i, solved in enumerate(outcomes)]

    played = [
        *episodes("open the red door", [True] * 6),
        *episodes("open the blue box", [True] * 3 + [False] * 3),
        *episodes("fetch the blue box", [False] * 6),
    ]
    groups = {(group.by, group.name): (group.solved, group.episodes) for group in find_failures(played, TASKS, FRAMES)}
    assert groups == {
        ("colour", "red"): (6, 6),
        ("colour", "blue"): (3, 12),
        ("object", "door"): (6, 6),
        ("object", "box"): (3, 12),
        ("word", "open"): (9, 12),
        ("word", "fetch"): (0, 6),
    }


def test_the_start_of_a_babyai_level_says_how_far_its_object_is_and_whether_it_is_seen():
    played = [{**an_episode(seed, True, 3), "task": TASK, "instruction": "go"} for seed in range(40)]
    groups = find_failures(played, TASKS, FRAMES)
    assert {group.by for group in groups} == {"distance", "first view"}
    assert sum(group.episodes for group in groups if group.by == "first view") == 40


def test_failures_are_counted_by_the_plan_and_the_parts_of_the_instruction():
    def episodes(instruction, length, outcomes, first):
        played = [an_episode(first + i, solved, 99) for i, solved in enumerate(outcomes)]
        return [{**episode, "instruction": instruction} for episode in played], [
            {**episode, "success": True, "length": length} for episode in played
        ]

    short, their_short = episodes("go to a ball", 16, [True] * 5, 0)
    long, their_long = episodes("go to a ball and open a door, then go to a box", 17, [True] * 2 + [False] * 4, 5)
    unknown, _ = episodes("go to a ball after you go to a box", 0, [False] * 5, 11)
    groups = find_failures([*short, *long, *unknown], TASKS, FRAMES, [*their_short, *their_long])
    counted = {(group.by, group.name.strip()): (group.solved, group.episodes) for group in groups}
    assert {key: value for key, value in counted.items() if key[0] in ("plan", "parts")} == {
        ("plan", "1 to 16 steps"): (5, 5),
        ("plan", "17 to 32 steps"): (2, 6),
        ("parts", "1 part"): (5, 5),
        ("parts", "2 parts"): (0, 5),
        ("parts", "3 parts"): (2, 6),
    }


@pytest.fixture
def two_runs(tmp_path):
    """Two runs on the same ten levels, of which the first solves all and the second half."""
    for name, solved in (("a", lambda seed: True), ("<b>", lambda seed: seed % 2 == 0)):
        run = tmp_path / name
        run.mkdir()
        for file, values in {
            "recipe": {**RECIPE, "description": name},
            "training": TRAINING,
            "evaluation": EVALUATION,
            "episodes": {"agent": [an_episode(seed, solved(seed), 3) for seed in range(10)], "random": []},
        }.items():
            (run / f"{file}.json").write_text(json.dumps(values))
        (run / "metrics.jsonl").write_text('{"update": 1, "loss/action": 1.0}\n')
    return tmp_path / "a", tmp_path / "<b>"


def test_two_runs_are_compared_on_one_page(two_runs, tmp_path):
    html = write_comparison(two_runs, tmp_path / "pages" / "both.html").read_text()
    assert "a is better than &lt;b&gt; on 1 of 1 task; overall +0.50" in html
    assert html.count('data-run="0"') + html.count('data-run="1"') == 4  # two curves, of two runs each
    assert "description: &#39;a&#39; -&gt; &#39;&lt;b&gt;&#39;" in html
    assert "<b>" not in html


def test_a_run_that_is_not_scored_is_not_compared(two_runs, tmp_path):
    (two_runs[1] / "evaluation.json").unlink()
    with pytest.raises(UserError, match="holds no whole evaluation"):
        write_comparison(two_runs, tmp_path / "both.html")
    assert not (tmp_path / "both.html").exists()
