"""What the pictures of a report show."""

import io
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from agentgym.report.plots import GAP, LABEL_HEIGHT, learning_curves, reconstructions

TRAINED = [{"update": 20 * n, "loss/action": 2.0 / n, "accuracy/action": 1 - 1 / n} for n in range(1, 50)]
HELD_OUT = [{"update": 400, "held_out/loss/action": 0.2, "rollout/success_rate": 0.5}]


def texts(svg: str) -> set[str]:
    return {
        (element.text or "").strip() for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")
    }


def test_each_frame_stands_above_its_masked_input_and_its_reconstruction():
    rows = [np.random.default_rng(seed).integers(0, 256, (4, 14, 14, 3), dtype=np.uint8) for seed in range(3)]
    picture = np.asarray(Image.open(io.BytesIO(reconstructions(*rows, scale=2))))
    for number, row in enumerate(rows):
        top = number * (LABEL_HEIGHT + 28 + 2 * GAP) + LABEL_HEIGHT
        for column, frame in enumerate(row):
            left = column * (28 + GAP)
            shown = picture[top : top + 28, left : left + 28, :3]
            np.testing.assert_array_equal(shown, frame.repeat(2, axis=0).repeat(2, axis=1))


def test_reconstructions_are_the_same_bytes_each_time():
    frames = np.zeros((2, 7, 7, 3), np.uint8)
    assert reconstructions(frames, frames, frames, scale=3) == reconstructions(frames, frames, frames, scale=3)


def test_rows_of_different_shapes_are_refused():
    frames = np.zeros((2, 7, 7, 3), np.uint8)
    with pytest.raises(ValueError, match=r"one shape.*reconstruction \(1, 7, 7, 3\)"):
        reconstructions(frames, frames, frames[:1], scale=3)


def test_learning_curves_have_a_panel_for_each_metric_with_data():
    shown = texts(learning_curves([*TRAINED, *HELD_OUT]))
    assert {"action loss", "action accuracy", "levels solved"} <= shown
    assert not shown & {"language loss", "masked-image loss", "learning rate"}


def test_learning_curves_are_the_same_bytes_each_time():
    assert learning_curves([*TRAINED, *HELD_OUT]) == learning_curves([*TRAINED, *HELD_OUT])


def test_learning_curves_take_the_text_color_of_the_page_and_name_no_other_resource():
    svg = learning_curves([*TRAINED, *HELD_OUT])
    assert svg.startswith("<svg")
    assert "currentColor" in svg
    assert "#010203" not in svg
    assert 'href="http' not in svg
    assert "@import" not in svg


def test_a_diverged_run_still_has_its_curves():
    assert "action loss" in texts(learning_curves([*TRAINED, {"update": 1000, "loss/action": float("nan")}]))


def test_no_metrics_are_refused():
    with pytest.raises(ValueError, match="no metrics"):
        learning_curves([{"update": 20, "targets_per_second": 3.0}])


def test_importing_pictures_does_not_import_matplotlib():
    check = "import sys, agentgym.report.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def test_learning_curves_leave_matplotlibs_settings_as_they_were():
    import matplotlib

    before = dict(matplotlib.rcParams)
    learning_curves(TRAINED)
    assert dict(matplotlib.rcParams) == before
