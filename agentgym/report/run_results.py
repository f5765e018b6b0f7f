"""read_run(folder) -> what a run folder holds, as far as it goes. Nothing is measured or judged here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agentgym.errors import UserError
from agentgym.recipes import ExperimentRecipe, FrameRecipe, TaskRecipe, with_later_keys
from agentgym.report.plots import reconstructions


@dataclass(frozen=True)
class RunFolder:
    """The files of a run, parsed; what is not there yet is None or empty."""

    path: Path
    recipe: Mapping[str, Any]
    training: Mapping[str, Any] | None
    evaluation: Mapping[str, Any] | None
    episodes: Mapping[str, Any] | None
    metrics: tuple[Mapping[str, Any], ...]
    films: tuple[Mapping[str, Any], ...]

    @property
    def experiment(self) -> ExperimentRecipe:
        """The recipe, typed."""
        return ExperimentRecipe.model_validate(with_later_keys(dict(self.recipe)))

    @property
    def frames(self) -> dict[str, FrameRecipe]:
        """How the frames of each task look, by the suites of the recipe."""
        return {task.id: suite.frame for suite in self.experiment.suites for task in suite.tasks}

    @property
    def tasks(self) -> list[TaskRecipe]:
        """The tasks of all suites of the recipe."""
        return [task for suite in self.experiment.suites for task in suite.tasks]

    @property
    def reconstructions(self) -> bytes | None:
        """A PNG of frames, their masked input and the masked autoencoder's reconstruction; None without any."""
        file = self.path / "reconstructions.npz"
        if file.is_file():
            with np.load(file) as rows:
                return reconstructions(rows["frames"], rows["masked"], rows["predicted"], scale=2)
        drawn = self.path / "pictures" / "reconstructions.png"  # what earlier versions saved
        return drawn.read_bytes() if drawn.is_file() else None


def read_run(run: Path) -> RunFolder:
    """The run in that folder. Raises UserError when it is none, or one of its files is damaged."""
    run = Path(run)
    if not (run / "recipe.json").is_file():
        raise UserError(
            f"{run}: no recipe.json; name a run folder, such as the runs/NAME that 'agentgym run NAME' makes"
        )
    return RunFolder(
        path=run,
        recipe=_read_json(run / "recipe.json"),
        training=_read_json(run / "training.json"),
        evaluation=_read_json(run / "evaluation.json"),
        episodes=_read_json(run / "episodes.json"),
        metrics=_read_metrics(run / "metrics.jsonl"),
        films=tuple(_read_json(run / "videos" / "videos.json") or ()),
    )


def _read_json(file: Path) -> Any:
    """What the file holds, or None without the file."""
    return _parse(file.read_text(encoding="utf-8"), str(file)) if file.is_file() else None


def _read_metrics(file: Path) -> tuple[Mapping[str, Any], ...]:
    """The lines of the file, or none without the file."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return tuple(_parse(line, f"{file}, line {number}") for number, line in enumerate(lines, start=1))


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not valid JSON ({error}); remove it, or make the run anew") from None
