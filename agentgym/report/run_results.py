"""read_run(folder) -> what a run folder holds, as far as it goes. Nothing is measured or judged here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from agentgym.errors import UserError, first_line
from agentgym.files import LARGEST_SETTINGS, read_json
from agentgym.folders import check_inside
from agentgym.recipes import ExperimentRecipe, FrameRecipe, TaskRecipe, with_later_keys
from agentgym.report.plots import reconstructions
from agentgym.training.run_folder import read_metrics


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
            try:
                with np.load(check_inside(file, self.path)) as rows:
                    return reconstructions(rows["frames"], rows["masked"], rows["predicted"], scale=2)
            except (OSError, KeyError, ValueError, TypeError, BadZipFile) as error:
                raise UserError(f"{file}: cannot be read ({first_line(error)}); delete it") from None
        drawn = self.path / "pictures" / "reconstructions.png"  # what earlier versions saved
        return check_inside(drawn, self.path).read_bytes() if drawn.is_file() else None


def read_run(run: Path) -> RunFolder:
    """The run in that folder. Raises UserError when it is none, or one of its files is damaged."""
    run = Path(run)
    if not (run / "recipe.json").is_file():
        raise UserError(
            f"{run}: no recipe.json; name a run folder, such as the runs/NAME that 'agentgym run NAME' makes"
        )
    return RunFolder(
        path=run,
        recipe=read_json(run / "recipe.json", dict, most=LARGEST_SETTINGS),
        training=_read(run / "training.json", dict),
        evaluation=_read(run / "evaluation.json", dict),
        episodes=_read(run / "episodes.json", dict),
        metrics=tuple(read_metrics(run)),
        films=tuple(_read(run / "videos" / "videos.json", list) or ()),
    )


def _read(file: Path, kind: type[dict[str, Any]] | type[list[Any]]) -> Any:
    """What the file holds, or None without the file."""
    return read_json(file, kind) if file.is_file() else None
