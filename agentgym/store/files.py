"""The files of a dataset folder: their names, and changes that happen whole or not at all.

A folder to read from may be anywhere that fsspec reaches; only a folder on this machine's disks is written to.
"""

import os
import re
from pathlib import Path
from typing import cast


def locate(path: str | Path) -> Path:
    """The folder as a path: of this disk, or (`memory://...`, `s3://...`) of a file system of fsspec."""
    if "://" not in str(path):
        return Path(path)
    from upath import UPath  # here alone: most folders are on a disk

    return cast(Path, UPath(path))  # does what a Path does


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
