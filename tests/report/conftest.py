"""Run folders with everything that a report can show, and a browser to look at pages with."""

import json
from pathlib import Path

import numpy as np
import pytest
from example_run import EVALUATION, RECIPE, TRAINING, an_episode

from agentgym.report.episode_videos import draw_sheet
from agentgym.report.reconstructions import draw_reconstructions


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
    sheet, rows, columns = draw_sheet(frames)
    for view in ("seen", "world"):
        sheet.save(trained / "videos" / f"{view}.png")
    video = {
        **agent[0],
        "file": "success-0.mp4",
        "actions": [0, 1, 0],
        "action_names": ["left", "right"],
        **{view: {"file": f"{view}.png", "rows": rows, "columns": columns} for view in ("seen", "world")},
        "method": "a method",
        "probabilities": [[0.75, 0.25]] * 3,
        "patches": [[0.5, 0.5, 0.0, 0.0]] * 3,
    }
    (trained / "videos" / "videos.json").write_text(json.dumps([video]))
    (trained / "pictures").mkdir()
    (trained / "pictures" / "reconstructions.png").write_bytes(draw_reconstructions(frames, frames, frames, scale=2))
    return trained
