"""Experiment trackers: a run's curves, scores and videos in TensorBoard, Trackio, Weights & Biases or MLflow.

They are Accelerate's trackers, named in a recipe by `training.trackers`. Each keeps its data where its own environment
variables say (WANDB_MODE, TRACKIO_DIR, MLFLOW_TRACKING_URI). trackers.json in the run folder holds what a run is called
there, so that a resumed training and a later evaluation continue it.
"""

import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentgym import files
from agentgym.errors import UserError, first_line
from agentgym.extras import needs
from agentgym.files import read_json, write_json, writing

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

PROJECT = "agentgym"
NAMES = "trackers.json"  # {"wandb": id, "trackio": name, "mlflow": id}
PACKAGES = {"tensorboard": "tensorboard", "trackio": "trackio", "wandb": "wandb", "mlflow": "mlflow"}
REMEDIES = {
    "tensorboard": "see the package's own message",
    "trackio": "TRACKIO_DIR says where it keeps its data",
    "wandb": "WANDB_MODE=offline keeps the run in its folder until `wandb sync`",
    "mlflow": "MLFLOW_TRACKING_URI says where it keeps its data, such as sqlite:///mlflow.db",
}


def chosen_trackers(names: Sequence[str] | None) -> tuple[str, ...]:
    """The trackers that a recipe names; where it names none, TensorBoard if it is installed.

    Raises UserError naming the extra when the package of one is missing.
    """
    if names is None:
        return ("tensorboard",) if find_spec("tensorboard") else ()
    for name in names:
        with needs(name, what=f"training.trackers '{name}'"):
            if find_spec(PACKAGES[name]) is None:
                raise ModuleNotFoundError(name=PACKAGES[name])
    return tuple(dict.fromkeys(names))


def make_trackers(names: Sequence[str] | None, run: Path) -> "list[GeneralTracker]":
    """Accelerate's trackers of a run, not started yet; those that know the run continue it. Raises UserError."""
    from accelerate import tracking

    file = run / NAMES
    known = read_json(file, dict) if file.is_file() else {}
    token = secrets.token_hex(4)
    config = read_json(run / "recipe.json", dict) if (run / "recipe.json").is_file() else {}
    made: dict[str, Callable[[], GeneralTracker]] = {
        "tensorboard": lambda: tracking.TensorBoardTracker("tensorboard", run),
        "trackio": lambda: tracking.TrackioTracker(
            PROJECT, name=known.get("trackio", f"{run.name}-{token}"), resume="allow", config=config, embed=False
        ),
        "wandb": lambda: tracking.WandBTracker(
            PROJECT, name=run.name, id=known.get("wandb", token), resume="allow", config=config, dir=str(run)
        ),
        "mlflow": lambda: tracking.MLflowTracker(PROJECT, run_name=run.name, run_id=known.get("mlflow")),
    }
    return [made[name]() for name in chosen_trackers(names)]


@contextmanager
def starting(trackers: "Sequence[GeneralTracker]", run: Path) -> Iterator[None]:
    """A block that starts them; trackers.json is written after it.

    Raises UserError when a package refuses, and OSError naming the run when its disk takes nothing.
    """
    os.environ.setdefault("WANDB_SILENT", "true")  # the progress of the command is all that is printed
    threading.excepthook = _Excepthook(threading.excepthook)
    try:
        with writing(run):
            yield
    except Exception as error:  # whatever a package raises without its account, server or disk
        if isinstance(error, OSError) and error.errno in files.REMEDIES:
            raise
        failed = next((each for each in trackers if not _is_started(each)), trackers[-1])
        raise UserError(
            f"training.trackers '{failed.name}' did not start: {first_line(error)}; {REMEDIES[failed.name]}"
        ) from error
    names = {each.name: _name_of(each) for each in trackers if each.name != "tensorboard"}
    if names:
        known = read_json(run / NAMES, dict) if (run / NAMES).is_file() else {}
        write_json(run / NAMES, {**known, **names})


class _Excepthook:
    """Prints nothing for TensorBoard's thread: what its disk refuses, the next call from here says in one line."""

    def __init__(self, other: Callable[[threading.ExceptHookArgs], Any]) -> None:
        self._other: Any = other._other if isinstance(other, _Excepthook) else other

    def __call__(self, raised: threading.ExceptHookArgs) -> None:
        if not type(raised.thread).__module__.startswith("tensorboard."):
            self._other(raised)


def finish(trackers: "Sequence[GeneralTracker]") -> None:
    """Flushes and closes the trackers."""
    for tracker in trackers:
        tracker.finish()


def _is_started(tracker: "GeneralTracker") -> bool:
    return any(hasattr(tracker, name) for name in ("writer", "run", "active_run"))


def _name_of(tracker: Any) -> str:
    """What the run is called there, to continue it."""
    if tracker.name == "mlflow":
        return str(tracker.tracker.info.run_id)
    return str(tracker.tracker.id if tracker.name == "wandb" else tracker.tracker.name)
