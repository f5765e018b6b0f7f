"""Folders that are written whole or not at all, by one process at a time."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from agentgym.errors import UserError, first_line
from agentgym.files import sync_folder, sync_tree, writing

LOCK = ".lock"


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which is moved to `path` after the block, whole and synced; after a failure nothing is left.

    Raises UserError when something is at `path`, and when the disk does not take what is written.
    """
    check_output_is_free(path)
    target = path.absolute()
    making = target.with_name(f".{target.name}.{os.getpid()}.unfinished")
    made: list[Path] = []
    try:
        with writing(path):
            made = make_folder(making)
            yield making
            sync_tree(making)
            if target.is_dir():
                shutil.rmtree(target)  # a lock of nobody, at most
            making.rename(target)
            sync_folder(target.parent)
    except BaseException as error:
        shutil.rmtree(making, ignore_errors=True)
        remove_made(made)
        if isinstance(error, OSError):
            raise UserError(
                f"{path}: {error.strerror or first_line(error)}; nothing is left there; make room, or choose another "
                "folder, and run the same command again"
            ) from None
        raise


def check_output_is_free(path: Path) -> None:
    """Raises UserError when something is in the way of an output folder."""
    if path.is_symlink() and not path.exists():
        raise UserError(f"{path}: is a link to nothing; choose a new folder")
    if path.exists() and not (path.is_dir() and is_vacant(path)):
        raise UserError(f"{path}: is there already; choose a new folder")


def is_vacant(path: Path, *, set_aside: str | None = None) -> bool:
    """Whether a folder is empty, but for the files of a writer that stopped before it wrote anything.

    With `set_aside`, files with that suffix do not count either, nor folders that hold nothing else.
    """
    suffixes = {".tmp", set_aside}
    return all(
        (each.name == LOCK or each.suffix in suffixes)
        if each.is_file()
        else set_aside is not None and each.is_dir() and is_vacant(each, set_aside=set_aside)
        for each in path.iterdir()
    )


def make_folder(path: Path) -> list[Path]:
    """Makes the folder; returns the folders that had to be made, the outermost first. Raises OSError."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def remove_made(folders: list[Path]) -> None:
    """Removes those of the folders that are empty, the innermost first."""
    for folder in reversed(folders):
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return


def lock_folder(path: Path, busy: str) -> FileLock:
    """The lock of the process that writes in a folder. Raises UserError with what `busy` says while another has it."""
    return _lock(path / LOCK, path, busy)


def lock_file(file: Path, busy: str) -> FileLock:
    """The lock of the process that makes a file, in a folder where others make others: NAME.lock next to it.

    Raises UserError with what `busy` says while another has it.
    """
    return _lock(file.with_suffix(LOCK), file, busy)


def _lock(lock_path: Path, what: Path, busy: str) -> FileLock:
    lock = FileLock(lock_path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{what}: {busy}") from None
    return lock


@contextmanager
def claimed(path: Path, busy: str) -> Iterator[None]:
    """The folder is there, and this process's own while the block runs; it is gone again where nothing was put into it.

    Raises UserError with what `busy` says while another process has it.
    """
    made = make_folder(path)
    lock = lock_folder(path, busy)
    try:
        yield
    finally:
        lock.release()
        if made and is_vacant(path):
            for each in path.iterdir():
                each.unlink()
            remove_made(made)


def check_inside(file: Path, folder: Path) -> Path:
    """The file, if it is in the folder after every link is followed. Raises UserError."""
    if not file.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{file}: is outside of {folder}; nothing from there is shown")
    return file


def check_no_link(path: Path) -> None:
    """Raises UserError for a link, through which nothing is ever deleted."""
    if path.is_symlink():
        raise UserError(f"{path}: is a link to {path.resolve()}; nothing is deleted through it: name that folder")
