"""The files of a dataset folder: their names, and where it may be.

A folder to read from may be anywhere that fsspec reaches; only a folder on this machine's disks is written to.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from agentgym.errors import UserError, first_line

LOST = ".lost"  # how the names of files end that a repair has set aside


def locate(path: str | Path) -> Path:
    """The folder as a path: of this disk, or (`hf://...`, `s3://...`, `zip://...`) of a file system of fsspec.

    Raises UserError when there is no such file system, or what it needs is not installed.
    """
    if not isinstance(path, str):
        return path
    if "://" not in path:
        return Path(path)
    from upath import UPath  # only here: most folders are on a disk

    try:
        endpoint = os.environ.get("HF_ENDPOINT") if path.startswith("hf://") else None
        found = UPath(path, **({"endpoint": endpoint} if endpoint else {}))
        found.fs  # noqa: B018  (made when it is asked for)
    except (ValueError, ImportError, OSError) as error:
        raise UserError(f"{path}: is not a folder that fsspec reaches ({error})") from None
    return Path(found.path) if found.protocol in ("file", "local") else cast(Path, found)  # does what a Path does


def require_local(path: Path, remedy: str) -> Path:
    """The path when it is on this machine's disks; nothing is written elsewhere. Raises UserError with the remedy."""
    if not isinstance(path, Path):
        raise UserError(f"{path}: only folders on this machine's disks are written to; {remedy}")
    return path


@contextmanager
def reaching(path: Path) -> Iterator[None]:
    """What a file system elsewhere raises without a network, an account or a right, as one line.

    Raises UserError.
    """
    if isinstance(path, Path):
        yield
        return
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: cannot be reached ({first_line(error)})") from error


def is_folder(path: Path) -> bool:
    """Whether there is a folder. Raises UserError when the file system cannot be reached."""
    with reaching(path):
        return path.is_dir()


def dataset_folders(path: Path) -> list[Path]:
    """The folders of what was recorded there: itself, or one for each kind of actions and frames; none without.

    Raises UserError when the file system cannot be reached.
    """
    if shard_files(path):
        return [path]
    with reaching(path):
        return sorted(folder for folder in path.glob("*") if shard_files(folder)) if path.is_dir() else []


def shard_file(path: Path, number: int) -> Path:
    """Where a dataset's shard of that number is."""
    return path / f"shard-{number:06d}.arrow"


def shard_number(file: Path) -> int:
    """The number in a shard's name."""
    return int(file.name.partition("-")[2].partition(".")[0])


def shard_files(path: Path) -> list[Path]:
    """The shards that are there, in order. Raises UserError when the file system cannot be reached."""
    with reaching(path):
        found = [file for file in path.glob("shard-*.arrow") if re.fullmatch(r"shard-\d{6,}\.arrow", file.name)]
    return sorted(found, key=lambda file: (len(file.name), file.name))
