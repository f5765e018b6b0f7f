"""Checkpoints of a training, which an interrupted one resumes from; each is written whole or not at all."""

import re
import shutil
from pathlib import Path

from accelerate import Accelerator

from agentgym.errors import UserError, first_line
from agentgym.files import read_json, sync_folder, sync_tree, understanding, write_json, writing

SECONDS = "seconds.json"


def save_checkpoint(accelerator: Accelerator, path: Path, update: int, seconds: float) -> None:
    """Writes a checkpoint, whole or not at all, and then deletes older ones. `seconds` were spent up to it."""
    folder = path / "checkpoints" / f"{update:07d}"
    temporary = folder.with_suffix(".tmp")
    with writing(folder):
        if accelerator.is_main_process:
            shutil.rmtree(temporary, ignore_errors=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(temporary))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            write_json(temporary / SECONDS, {"seconds": round(seconds, 1)})
            sync_tree(temporary)
            shutil.rmtree(folder, ignore_errors=True)  # one that could not be read
            temporary.rename(folder)
            sync_folder(folder.parent)
            for other in _checkpoints(path):
                if other != folder:
                    shutil.rmtree(other)
    accelerator.wait_for_everyone()


def resume(accelerator: Accelerator, path: Path) -> int:
    """Loads the last whole checkpoint and returns its update, 0 when there is none.

    Raises UserError when it cannot be read.
    """
    whole = _whole_ones(path)
    if not whole:
        return 0
    try:
        accelerator.load_state(str(whole[-1]))
    except Exception as error:  # a damaged file raises whatever its reader raises
        raise UserError(
            f"{whole[-1]}: the checkpoint cannot be read ({first_line(error)}); delete this folder, and training "
            "begins again"
        ) from error
    return int(whole[-1].name)


def seconds_spent(path: Path) -> float:
    """What a run's training took up to its last whole checkpoint, in seconds; 0 where none says so.

    Raises UserError when that cannot be read.
    """
    noted = [folder / SECONDS for folder in _whole_ones(path)[-1:] if (folder / SECONDS).is_file()]
    if not noted:
        return 0.0
    with understanding(noted[0]):
        return float(read_json(noted[0], dict)["seconds"])


def _whole_ones(path: Path) -> list[Path]:
    return [folder for folder in _checkpoints(path) if folder.suffix != ".tmp"]


def _checkpoints(path: Path) -> list[Path]:
    """The checkpoints of a run, whole and begun ones; other files there are ignored."""
    found = (path / "checkpoints").glob("*")
    return sorted(each for each in found if each.is_dir() and re.fullmatch(r"\d{7,}(\.tmp)?", each.name))
