"""read_run(folder) -> what a run folder holds, as far as it goes. Nothing is measured or judged here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired
from zipfile import BadZipFile

import numpy as np
from pydantic import Field
from typing_extensions import TypedDict

from agentgym.errors import UserError, first_line
from agentgym.evaluation.stored import read_episodes, read_evaluation
from agentgym.files import LARGEST_SETTINGS, read_json
from agentgym.folders import check_inside
from agentgym.recipes import ExperimentRecipe, FrameRecipe, TaskRecipe, with_later_keys
from agentgym.report.reconstructions import draw_reconstructions
from agentgym.shapes import SHAPE, Count, Number, Seed, read_shape
from agentgym.training.run_folder import read_metrics, read_training


class _Sheet(TypedDict):
    __pydantic_config__ = SHAPE  # type: ignore[misc]
    file: str
    rows: Annotated[int, Field(ge=1, le=100_000)]
    columns: Annotated[int, Field(ge=1, le=100_000)]


class _VideoEntry(TypedDict):
    """One of videos.json."""

    __pydantic_config__ = SHAPE  # type: ignore[misc]
    file: str
    task: str
    seed: Seed
    instruction: str
    success: bool
    total_reward: Number
    length: Count
    actions: list[Count]
    action_names: NotRequired[list[str]]
    seen: NotRequired[_Sheet]
    world: NotRequired[_Sheet]
    method: NotRequired[str]
    probabilities: NotRequired[list[list[Number]] | None]
    patches: NotRequired[list[list[Number]] | None]


@dataclass(frozen=True)
class RunFolder:
    """The files of a run, parsed; what is not there yet is None or empty."""

    path: Path
    recipe: Mapping[str, Any]
    training: Mapping[str, Any] | None
    evaluation: Mapping[str, Any] | None
    episodes: Mapping[str, Any] | None
    metrics: tuple[Mapping[str, Any], ...]
    videos: tuple[Mapping[str, Any], ...]

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
        """A PNG of frames, their masked input and the masked autoencoder's reconstruction; None without any.

        Raises UserError when the saved arrays cannot be read.
        """
        file = self.path / "reconstructions.npz"
        if file.is_file():
            try:
                with np.load(check_inside(file, self.path)) as rows:
                    return draw_reconstructions(rows["frames"], rows["masked"], rows["predicted"], scale=2)
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
        training=_read(run / "training.json", read_training),
        evaluation=_read(run / "evaluation.json", read_evaluation),
        episodes=_read(run / "episodes.json", read_episodes),
        metrics=tuple(read_metrics(run)),
        videos=tuple(_read(run / "videos" / "videos.json", read_videos) or ()),
    )


def _read(file: Path, reader: Callable[[Path], Any]) -> Any:
    """What the file holds, or None without the file."""
    return reader(file) if file.is_file() else None


def read_videos(file: Path) -> list[dict[str, Any]]:
    """What videos.json says. Raises UserError when it is not as it was written."""
    found: list[dict[str, Any]] = read_shape(file, list[_VideoEntry])
    return found
