"""The run folder: its files, which folders are one, and the lock of the process that writes in it.

runs/NAME/recipe.json        the resolved recipe            runs/NAME/model/          the checkpoint
runs/NAME/metrics.jsonl      the curves                     runs/NAME/training.json   what the training was
runs/NAME/evaluation.json    the scores                     runs/NAME/episodes.json   the episodes that were scored
runs/NAME/videos/            videos of some of them         runs/NAME/report.html     all of it as a page
runs/NAME/reconstructions.npz   frames, as they are, masked, and as the masked autoencoder predicts them
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict

from agentgym.errors import UserError
from agentgym.files import LARGEST_SETTINGS, read_json, read_json_lines, write_json
from agentgym.folders import LOCK, check_no_link, claimed, is_vacant, remove_made
from agentgym.recipes import ExperimentRecipe, Recipe, check_resolved, differences, with_later_keys
from agentgym.shapes import SHAPE, Count, Number, read_shape

RECIPE = "recipe.json"
MADE = (  # by training, evaluation and report; --overwrite deletes these and nothing else
    "model",
    "model.tmp",
    "checkpoints",
    "tensorboard",
    "wandb",
    "trackers.json",
    "metrics.jsonl",
    "training.json",
    "reconstructions.npz",
    "pictures",  # what older runs had instead
    "evaluation.json",
    "episodes.json",
    "videos",
    "videos.tmp",
    "report.html",
)
BUSY = "another process is at work on this run; wait for it to end, or choose another folder"


def open_run(run: Path, recipe: ExperimentRecipe, *, overwrite: bool = False) -> None:
    """The run folder with its recipe; with `overwrite` in place of another run, whose every part is gone then.

    Raises UserError when it holds another recipe's run, something else, or another process is at work on it.
    """
    check_same_run(run, recipe, overwrite=overwrite)
    with claimed(run, BUSY):
        if overwrite:
            _clear(run)
        if overwrite or not (run / RECIPE).is_file():
            write_json(run / RECIPE, recipe.model_dump(mode="json"))


@contextmanager
def begun(run: Path, recipe: ExperimentRecipe, *, overwrite: bool = False) -> Iterator[None]:
    """As `open_run`; where the block refuses before anything was learnt, nothing is left of what was made here."""
    fresh = overwrite or not (run / RECIPE).is_file()
    made = [each for each in (run, *run.parents) if not each.exists()][::-1]
    open_run(run, recipe, overwrite=overwrite)
    try:
        yield
    except (UserError, OSError):
        if fresh and not any((run / "checkpoints").glob("*")):
            _clear(run)
            for name in (RECIPE, LOCK):
                (run / name).unlink(missing_ok=True)
            remove_made(made)
        raise


def check_is_vacant_or(run: Path, what: str, *, file: str, recipe: Recipe) -> None:
    """Raises UserError unless the folder is vacant or holds that, as its file of the recipe says, by this recipe."""
    if (run / file).is_file():
        changed = differences(read_json(run / file, dict), recipe.model_dump(mode="json"))
        if changed:
            raise UserError(f"{run}: holds {what} of another recipe ({changed[0]}); choose another folder")
    elif run.exists() and not (run.is_dir() and is_vacant(run)):
        raise UserError(f"{run}: exists and holds no {what}; choose another folder")


def check_is_run(run: Path, *, overwrite: bool = False) -> None:
    """Raises UserError when the folder holds what is not a run, or is a link and would be overwritten."""
    if overwrite:
        check_no_link(run)
    if not run.exists() or (run.is_dir() and is_vacant(run)):
        return
    if not (run / RECIPE).is_file():
        raise UserError(f"{run}: exists and is not a run; choose another folder")
    if "training" not in read_json(run / RECIPE, dict, most=LARGEST_SETTINGS):
        raise UserError(f"{run}: its {RECIPE} is not of a training; choose another folder")


def check_same_run(run: Path, recipe: ExperimentRecipe, *, overwrite: bool = False) -> None:
    """Raises UserError when the folder holds what is not a run, or, unless overwriting, a run of another recipe."""
    check_is_run(run, overwrite=overwrite)
    if overwrite or not (run / RECIPE).is_file():
        return
    changed = differences(read_recipe(run).model_dump(mode="json"), recipe.model_dump(mode="json"))
    if changed:
        raise UserError(
            f"{run}: holds a run of another recipe ({changed[0]}); choose another folder, or --overwrite, which "
            "deletes the run that is there, its scores too, and no dataset"
        )


def _clear(run: Path) -> None:
    """Deletes all that training, evaluation and report write; the recipe and other files stay."""
    for name in MADE:
        part = run / name
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)  # a link goes, what it leads to stays


def read_recipe(run: Path) -> ExperimentRecipe:
    """The recipe of a run folder. Raises UserError when it is not a run, or of a version that has other keys."""
    if not (run / RECIPE).is_file():
        raise UserError(f"{run}: is not a run folder (no recipe.json); 'agentgym train EXPERIMENT' makes runs/NAME")
    values = with_later_keys(read_json(run / RECIPE, dict, most=LARGEST_SETTINGS))
    return check_resolved(ExperimentRecipe, values, run / RECIPE)


class _TrainingFile(TypedDict):
    __pydantic_config__ = SHAPE  # type: ignore[misc]
    updates: NotRequired[Count]
    windows: NotRequired[Count]
    targets: NotRequired[Count]
    parameters: NotRequired[Count]
    seconds: NotRequired[Number]
    frames: NotRequired[str]
    precision: NotRequired[str]
    data: NotRequired[str | None]
    device: NotRequired[str]
    versions: NotRequired[dict[str, str]]


def read_training(file: Path) -> dict[str, Any]:
    """What training.json says. Raises UserError when it is not as it was written."""
    found: dict[str, Any] = read_shape(file, _TrainingFile)
    return found


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, each of an update; a last line that was cut short is left out.

    Raises UserError naming another line that is none.
    """
    file = path / "metrics.jsonl"
    found = read_json_lines(file)
    for number, line in enumerate(found, start=1):
        named = type(line.get("update")) is int and all(_is_value(value) for value in line.values())
        if not named:
            raise UserError(f"{file}, line {number}: expected an update and numbers; remove the line")
    return found


def _is_value(value: Any) -> bool:
    """Whether it is a number, or null where that was not finite."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
