"""Deleting a dataset: its files go, every other file in its folder stays."""

from pathlib import Path

from agentgym.data.store.files import dataset_folders, shard_files
from agentgym.data.store.writer import lock_folder
from agentgym.errors import UserError
from agentgym.files import LARGEST_SETTINGS, read_json, sync_folder
from agentgym.folders import LOCK, check_no_link

SIGN = b"agentgym.crc32"  # in the header of every shard
HEADER = 2**20  # bytes of a shard in which its header is looked for


def clear_dataset(path: Path) -> None:
    """Deletes what was recorded there, of one kind of actions and frames or of several; other files stay.

    Raises UserError when agentgym recorded none there, while a writer is at work, and for a link. Raises OSError.
    """
    check_no_link(path)
    if not path.exists():
        return
    if not path.is_dir():
        raise UserError(f"{path}: is a file; choose a folder")
    folders = dataset_folders(path)
    if folders and folders != [path]:
        for folder in folders:
            clear_dataset(folder)
        return
    parts = [path / "manifest.json", *reversed(shard_files(path)), *path.glob("shard-*.parity")]
    there = [part for part in parts if part.exists() or part.is_symlink()]
    if not there and all(each.name == LOCK or each.suffix in (".tmp", ".lost") for each in path.iterdir()):
        return
    if not there or not _is_dataset(path):
        raise UserError(f"{path}: is not agentgym's dataset, so --overwrite does not delete it; choose another folder")
    lock = lock_folder(path)
    try:
        for part in there:
            part.unlink(missing_ok=True)
        sync_folder(path)
    finally:
        lock.release()


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
