"""Folders of other formats: there whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentgym.errors import UserError

ROOM = 1.7  # bytes on disk for each byte of frames: Minari's lossless HDF5 compresses nothing, and pads


@contextmanager
def new_folder(to: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `to` when the block ends well, and is gone when it does not.

    Raises UserError when `to` holds something, and when the disk does not take what is written.
    """
    to = to.resolve()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"{to}: is there already; choose a new folder")
    making = to.with_name(f".{to.name}.{os.getpid()}.unfinished")
    try:
        making.mkdir(parents=True)
        yield making
        if to.is_dir():
            to.rmdir()
        making.replace(to)
    except OSError as error:
        raise UserError(f"{to}: {error.strerror or error}; nothing is left there") from None
    finally:
        shutil.rmtree(making, ignore_errors=True)


def refuse_small_disk(folder: Path, frame_bytes: int) -> None:
    """Raises UserError when a disk cannot hold that many bytes of frames: HDF5 does not survive a full one."""
    needed, free = int(frame_bytes * ROOM), shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder.parent}: has {free / 1e9:,.1f} GB left, the export needs about {needed / 1e9:,.1f} GB; make "
            "room, or export a part of it ('agentgym select')"
        )
