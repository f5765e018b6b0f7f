"""The files of a dataset folder: their names, and changes that happen whole or not at all.

A folder to read from may be anywhere that fsspec reaches; only a folder on this machine's disks is written to.
"""

import os
import re
from pathlib import Path
from typing import cast

from agentgym.errors import UserError


def locate(path: str | Path) -> Path:
    """The folder as a path: of this disk, or (`zip://...`, `s3://...`) of a file system of fsspec.

    Raises UserError when there is no such file system, or what it needs is not installed.
    """
    if not isinstance(path, str):
        return path
    if "://" not in path:
        return Path(path)
    from upath import UPath  # here alone: most folders are on a disk

    try:
        found = UPath(path)
        found.fs  # noqa: B018  (made when it is asked for)
    except (ValueError, ImportError, OSError) as error:
        raise UserError(f"{path}: is no folder that fsspec reaches ({error})") from None
    return Path(found.path) if found.protocol in ("file", "local") else cast(Path, found)  # does what a Path does


def require_local(path: Path, remedy: str) -> Path:
    """The path when it is on this machine's disks, which alone are written to. Raises UserError with the remedy."""
    if not isinstance(path, Path):
        raise UserError(f"{path}: only folders on this machine's disks are written to; {remedy}")
    return path


def shard_file(path: Path, number: int) -> Path:
    """Where a dataset's shard of that number is."""
    return path / f"shard-{number:06d}.arrow"


def shard_files(path: Path) -> list[Path]:
    """The shards that are there, in order."""
    found = [file for file in path.glob("shard-*.arrow") if re.fullmatch(r"shard-\d{6,}\.arrow", file.name)]
    return sorted(found, key=lambda file: (len(file.name), file.name))


def replace_file(file: Path, text: str) -> None:
    """The file holds the text, or what it held before, whatever happens. Raises OSError."""
    replace_bytes(file, text.encode())


def replace_bytes(file: Path, content: bytes) -> None:
    """The file holds these bytes, or what it held before, whatever happens. Raises OSError."""
    temporary = file.with_name(file.name + ".tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except OSError:
        temporary.unlink(missing_ok=True)  # on a full disk its room is needed
        raise
    sync_folder(file.parent)


def sync_folder(path: Path) -> None:
    """What was renamed or removed in the folder stays so after a crash."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
