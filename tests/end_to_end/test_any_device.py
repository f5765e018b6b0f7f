"""The main job on a device that is not the CPU: a pretended one with CUDA's rules (see tests/pretended_device.py)."""

import subprocess
import sys
from pathlib import Path


def test_everything_that_learns_and_acts_runs_on_another_device(tmp_path):
    job = Path(__file__).parent / "device_job.py"
    done = subprocess.run([sys.executable, str(job), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said = [line.split()[0] for line in done.stdout.splitlines()]
    assert said == ["acted", "acted", "acted", "trained", "evaluated", "explained", "tuned"]
