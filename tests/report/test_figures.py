"""What the pictures of a report and the published figures show."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from example_scores import evaluation_of, score_of, task_of
from PIL import Image

from agentgym.evaluation.measures import SUCCESS
from agentgym.evaluation.score_rows import read_scores
from agentgym.report.figures import normalised_figure, score_figure, training_figure
from agentgym.report.reconstructions import GAP, LABEL_HEIGHT, draw_reconstructions

TRAINED = [{"update": 20 * n, "loss/action": 2.0 / n, "accuracy/action": 1 - 1 / n} for n in range(1, 50)]
HELD_OUT = [{"update": 400, "held_out/loss/action": 0.2, "rollout/success_rate": 0.5}]


def texts(svg: str) -> set[str]:
    return {
        (element.text or "").strip() for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")
    }


def test_each_frame_is_above_its_masked_input_and_its_reconstruction():
    rows = [np.random.default_rng(seed).integers(0, 256, (4, 14, 14, 3), dtype=np.uint8) for seed in range(3)]
    picture = np.asarray(Image.open(io.BytesIO(draw_reconstructions(*rows, scale=2))))
    for number, row in enumerate(rows):
        top = number * (LABEL_HEIGHT + 28 + 2 * GAP) + LABEL_HEIGHT
        for column, frame in enumerate(row):
            left = column * (28 + GAP)
            shown = picture[top : top + 28, left : left + 28, :3]
            np.testing.assert_array_equal(shown, frame.repeat(2, axis=0).repeat(2, axis=1))


def test_reconstructions_are_the_same_bytes_each_time():
    frames = np.zeros((2, 7, 7, 3), np.uint8)
    assert draw_reconstructions(frames, frames, frames, scale=3) == draw_reconstructions(
        frames, frames, frames, scale=3
    )


def test_rows_of_different_shapes_are_refused():
    frames = np.zeros((2, 7, 7, 3), np.uint8)
    with pytest.raises(ValueError, match=r"one shape.*reconstruction \(1, 7, 7, 3\)"):
        draw_reconstructions(frames, frames, frames[:1], scale=3)


def test_learning_curves_have_a_panel_for_each_metric_with_data():
    shown = texts(training_figure([*TRAINED, *HELD_OUT]))
    assert {"action loss", "action accuracy", "levels solved"} <= shown
    assert not shown & {"language loss", "masked-image loss", "learning rate"}


def test_learning_curves_are_the_same_bytes_each_time():
    assert training_figure([*TRAINED, *HELD_OUT]) == training_figure([*TRAINED, *HELD_OUT])


def test_learning_curves_take_the_text_color_of_the_page_and_name_no_other_resource():
    svg = training_figure([*TRAINED, *HELD_OUT])
    assert svg.startswith("<svg")
    assert "currentColor" in svg
    assert 'href="http' not in svg
    assert "@import" not in svg


def test_a_diverged_run_still_has_its_curves():
    assert "action loss" in texts(training_figure([*TRAINED, {"update": 1000, "loss/action": float("nan")}]))


def test_no_metrics_are_refused():
    with pytest.raises(ValueError, match="no metrics"):
        training_figure([{"update": 20, "targets_per_second": 3.0}])


def test_each_curve_of_a_figure_has_its_line_its_name_and_what_it_is_by():
    svg = score_figure({"agent": [(0, 0.5), (100, 1.0)], "<scratch>": [(0, 0.0), (100, 0.25)]}, SUCCESS, by="steps")
    assert {"agent", "<scratch>", "steps", "levels solved", "100 %"} <= texts(svg)
    lines = [each for each in ElementTree.fromstring(svg).iter() if each.get("class", "").strip() == "line"]
    assert len([each for each in lines if each.get("d", "").count("L") == 1]) == 4  # two lines, and two in the legend


def test_a_bar_for_each_normalised_score_ends_where_it_is_between_random_and_expert():
    known = {"random": score_of(return_mean=0.0), "expert": {"name": "bot", **score_of(return_mean=1.0)}}
    tasks = [
        {
            **task_of(score_of(return_mean=at), **known),
            "task": name,
            "normalised": at,
            "normalised_ci95": [at - 0.1, at + 0.1],
        }
        for name, at in (("half", 0.5), ("beyond", 8.0), ("below", -0.05))
    ]
    unscaled = {**task_of(score_of()), "task": "no scale", "normalised": None, "normalised_ci95": None}
    evaluation = evaluation_of(tasks[0])
    svg = normalised_figure(list(read_scores({**evaluation, "tasks": [*tasks, unscaled]})), "expert")
    assert {"half", "beyond", "below", "random", "expert", "0.50 [0.40, 0.60]", "8.00 [7.90, 8.10]"} <= texts(svg)
    assert "no scale" not in texts(svg)
    bars = [element.attrib for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("rect")]
    zero, unit = float(bars[0]["x"]), 2 * float(bars[0]["width"])
    assert [float(bar["width"]) / unit for bar in bars] == pytest.approx([0.5, 1.25, 0.05], abs=0.01)
    assert float(bars[2]["x"]) < zero
