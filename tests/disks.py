"""Small disks to write on, full soon or read-only from the beginning."""

import os
import subprocess
from contextlib import contextmanager

import pytest

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small disk needs root"
)


@contextmanager
def small_disk(folder, kilobytes, *, mode="rw"):
    """A disk of that size, mounted there; `mode` is "ro" for one that takes nothing."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,{mode}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
