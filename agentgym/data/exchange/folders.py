"""Whether a disk has room for another format."""

import shutil
from pathlib import Path

from agentgym.errors import UserError

ROOM = 1.7  # bytes on disk for each byte of frames: Minari's lossless HDF5 compresses nothing, and pads


def check_disk_space(folder: Path, frame_bytes: int) -> None:
    """Raises UserError when a disk cannot hold that many bytes of frames: HDF5 does not survive a full one."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    needed, free = int(frame_bytes * ROOM), shutil.disk_usage(there).free
    if needed > free:
        raise UserError(
            f"{folder}: its disk has {free / 1e9:,.1f} GB left, the export needs about {needed / 1e9:,.1f} GB; make "
            "room, or export a part of it ('agentgym select')"
        )
