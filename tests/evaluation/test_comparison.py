"""Comparisons of evaluations, against differences worked out by hand."""

import json
import math

import pytest
from refusals import refusal

from agentgym.evaluation.comparison import compare, compare_episodes
from agentgym.evaluation.paired_test import MIN_PAIRS


def episodes(task, returns, first_seed=0):
    rest = {"task": task, "instruction": "go", "length": 1, "actions": [0]}
    return [
        {**rest, "seed": first_seed + i, "success": each > 0, "total_reward": each} for i, each in enumerate(returns)
    ]


def evaluation(agent, random=0.2, expert=0.7):
    """Tasks by the agent's returns; the references get the same return on every level."""
    tasks = {task: len(returns) for task, returns in agent.items()}
    return {
        "agent": [each for task, returns in agent.items() for each in episodes(task, returns)],
        "random": [each for task, count in tasks.items() for each in episodes(task, [random] * count)],
        "expert": [each for task, count in tasks.items() for each in episodes(task, [expert] * count)],
    }


def test_differences_are_paired_by_seed_and_normalised():
    a = evaluation({"x": [0.9, 0.0, 0.6, 0.5], "y": [0.3, 0.3]})
    b = evaluation({"x": [0.4, 0.0, 0.7, 0.0], "y": [0.3, 0.3]})
    found = compare_episodes(a, b, "A", "B")
    x, y = found.tasks
    # the expert is 0.5 above the random policy: (0.5 + 0 − 0.1 + 0.5) / 4 / 0.5
    assert x.difference == pytest.approx(0.45)
    assert x.success == (0.75, 0.5)
    assert x.scores == ("75.0%", "50.0%")
    assert x.better == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert (y.difference, y.difference_ci95, y.better) == (0.0, None, 0.5)
    assert found.difference == pytest.approx(0.225)
    assert found.probability_of_improvement == pytest.approx((0.625 + 0.5) / 2)
    assert found.scale == "normalised"


def test_where_neither_ever_succeeds_returns_are_shown():
    a, b = evaluation({"game": [12.0, 8.0]}), evaluation({"game": [3.0, 6.0]})
    for played in (*a["agent"], *b["agent"]):
        played["success"] = False
    [game] = compare_episodes(a, b, "A", "B").tasks
    assert game.success is None
    assert game.scores == ("10.00", "4.50")


def test_the_sentence_says_on_how_many_tasks_by_how_much_and_how_sure():
    a, b = evaluation({"x": [0.7] * 9, "y": [0.2] * 9}), evaluation({"x": [0.45] * 9, "y": [0.2] * 9})
    sure = compare_episodes(a, b, "A", "B")
    assert sure.sentence.startswith("A is better than B on 1 of 2 tasks; overall +0.25 [")
    assert sure.sentence.endswith("] on 18 levels")
    assert sure.beyond_chance
    unsure = compare_episodes(evaluation({"x": [0.2, 0.7] * 6}), evaluation({"x": [0.7, 0.2] * 6}), "A", "B")
    assert unsure.sentence.startswith("A is better than B on 0 of 1 task; overall +0.00 [-0.")
    assert unsure.sentence.endswith("on 12 levels, which may be chance")


@pytest.mark.parametrize("pairs", range(1, MIN_PAIRS))
def test_too_few_pairs_have_no_verdict_and_the_sentence_says_so(pairs):
    found = compare_episodes(evaluation({"x": [0.7] * pairs}), evaluation({"x": [0.2] * pairs}), "A", "B")
    assert (found.beyond_chance, found.tasks[0].beyond_chance, found.difference_ci95) == (None, None, None)
    assert found.sentence.endswith(": too few to rule out chance, which takes 10")
    values = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert values["beyond_chance"] is None
    assert values["unit"].startswith("episodes of two trained agents")


def test_swapping_the_two_turns_the_sign():
    a, b = evaluation({"x": [0.9, 0.1, 0.4]}), evaluation({"x": [0.2, 0.3, 0.4]})
    forth, back = compare_episodes(a, b, "A", "B"), compare_episodes(b, a, "B", "A")
    assert forth.difference == pytest.approx(-back.difference)
    assert forth.probability_of_improvement == pytest.approx(1 - back.probability_of_improvement)


def test_the_interval_covers_a_known_difference_and_is_seeded():
    levels = [0.1 * (i % 7) for i in range(70)]
    a, b = evaluation({"x": [each + 0.05 * (i % 2) for i, each in enumerate(levels)]}), evaluation({"x": levels})
    found = compare_episodes(a, b, "A", "B")
    assert found.difference == pytest.approx(0.05)
    low, high = found.difference_ci95
    half = 1.99 * 0.05 / 70**0.5  # differences of 0 and 0.1, half and half: the hardness of the levels is gone
    assert (low, high) == pytest.approx((0.05 - half, 0.05 + half), abs=0.003)
    assert found == compare_episodes(a, b, "A", "B")


def test_without_an_expert_returns_are_compared_as_they_are():
    a, b = evaluation({"x": [3.0, 5.0]}), evaluation({"x": [1.0, 1.0]})
    del a["expert"], b["expert"]
    found = compare_episodes(a, b, "A", "B")
    assert (found.scale, found.difference) == ("return", 3.0)
    assert "in return" in found.sentence


def test_what_only_one_of_them_played_is_named_and_left_out():
    found = compare_episodes(evaluation({"x": [1.0], "z": [1.0]}), evaluation({"x": [1.0, 1.0], "y": [0.0]}), "A", "B")
    assert [(task.task, task.pairs) for task in found.tasks] == [("x", 1)]
    assert found.left_out == ("y", "z")


def test_evaluations_without_a_common_level_are_refused(tmp_path):
    a, b = evaluation({"x": [1.0]}), evaluation({"y": [1.0]})
    assert "share no task" in refusal(compare_episodes, a, b, "A", "B")
    b["agent"] = episodes("x", [1.0], first_seed=9)
    assert "share no seed of x" in refusal(compare_episodes, a, b, "A", "B")
    assert "holds no whole evaluation" in refusal(compare, tmp_path, tmp_path)


def test_folders_are_compared_by_the_episodes_in_them(tmp_path):
    for name, values in {"a": [0.7, 0.7], "b": [0.2, 0.2]}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "episodes.json").write_text(json.dumps(evaluation({"x": values})))
        (tmp_path / name / "evaluation.json").write_text("{}")
    found = compare(tmp_path / "a", tmp_path / "b")
    assert found.difference == pytest.approx(1.0)
    assert json.loads(json.dumps(found.to_json()))["tasks"][0]["pairs"] == 2


def test_an_evaluation_is_no_better_than_itself():
    a = evaluation({"x": [0.5] * 12})
    assert compare_episodes(a, a, "A", "A").difference_ci95 == (0.0, 0.0)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_return_that_is_not_finite_is_not_compared(wrong):
    a, b = evaluation({"x": [0.5, wrong]}), evaluation({"x": [0.5, 0.5]})
    assert f"B: the return of seed 1 of x is {wrong}, which" in refusal(compare_episodes, b, a, "A", "B")


def test_a_task_that_was_played_otherwise_is_not_compared():
    a, b = evaluation({"x": [0.5]}), evaluation({"x": [0.5]})
    a["protocol"] = {"tasks": {"x": {"limit": 10, "frame": {"view": "whole"}, "expert": None}}}
    b["protocol"] = {"tasks": [{"id": "x", "limit": 10}]}  # as older evaluations have it
    assert compare_episodes(a, b, "A", "B").pairs == 1
    b["protocol"] = {"tasks": {"x": {"limit": 10, "arguments": {"repeat_action_probability": 0.25}}}}
    assert "A and B played x otherwise (arguments" in refusal(compare_episodes, a, b, "A", "B")
