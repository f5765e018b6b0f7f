"""Deleting a dataset: its files go, every other file in its folder stays."""

from contextlib import ExitStack
from pathlib import Path

from agentgym.data.store.files import LOST, dataset_folders, shard_files
from agentgym.data.store.writer import lock_folder
from agentgym.errors import UserError
from agentgym.files import LARGEST_SETTINGS, read_json, sync_folder
from agentgym.folders import check_no_link, is_vacant

SIGN = b"agentgym.crc32"  # in the header of every shard
HEADER = 2**20  # bytes of a shard in which its header is looked for


def clear_dataset(path: Path) -> None:
    """What was recorded there is gone, of one kind of actions and frames or of several; whatever else is there stays.

    Raises UserError, before anything is deleted, when agentgym recorded none there or several datasets are below it,
    while a writer is at work, and for a link. Raises OSError.
    """
    check_no_link(path)
    if not path.exists():
        return
    if not path.is_dir():
        raise UserError(f"{path}: is a file; choose a folder")
    folders = dataset_folders(path) or [path]
    names = {name for folder in folders if (name := _name_of(folder)) is not None}
    if len(names) > 1:
        raise UserError(
            f"{path}: holds several datasets ({', '.join(folder.name for folder in folders)}), which --overwrite does "
            "not delete; choose another folder"
        )
    parts = {folder: _parts_of(folder) for folder in folders}
    with ExitStack() as held:
        for folder in (folder for folder in folders if parts[folder]):
            held.callback(lock_folder(folder).release)
        for folder, there in parts.items():
            for part in there:
                part.unlink(missing_ok=True)
            sync_folder(folder)


def _parts_of(path: Path) -> list[Path]:
    """The files of a dataset. Raises UserError for a link, and for a folder that holds something else."""
    check_no_link(path)
    parts = [path / "manifest.json", *reversed(shard_files(path)), *path.glob("shard-*.parity")]
    there = [part for part in parts if part.exists() or part.is_symlink()]
    if not there and is_vacant(path, set_aside=LOST):
        return []
    if not there or not _is_dataset(path):
        raise UserError(f"{path}: is not agentgym's dataset, so --overwrite does not delete it; choose another folder")
    return there


def _name_of(path: Path) -> str | None:
    """The name in a dataset's recipe, by its manifest; None when it has none, or cannot be read."""
    try:
        recipe = read_json(path / "manifest.json", dict, most=LARGEST_SETTINGS).get("recipe")
    except UserError:
        return None
    return str(recipe["name"]) if isinstance(recipe, dict) and "name" in recipe else None


def _is_dataset(path: Path) -> bool:
    """Whether agentgym wrote it, by what is in the files, damaged ones too."""
    for shard in shard_files(path):
        if shard.is_file():
            with shard.open("rb") as stream:
                if SIGN in stream.read(HEADER):
                    return True
    try:
        found = read_json(path / "manifest.json", dict, most=LARGEST_SETTINGS)
    except UserError:
        return False
    return {"format", "episodes", "outcomes", "shards"} <= found.keys()
