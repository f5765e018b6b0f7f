"""A recorder that is killed loses nothing that it had committed."""

import os
import random
import subprocess
import sys
import time

import pytest

from agentgym.data.store import EpisodeDataset, check

# Says after each episode how many are committed, and when the last one was appended.
RECORD = """
import sys
sys.path.insert(0, sys.argv[2])
import time
from counted import counted_episode, counted_header
from agentgym.data.store import DatasetWriter
writer = DatasetWriter(sys.argv[1], counted_header(), commit_seconds=float(sys.argv[3]))
first = len(writer.attempts())
for seed in range(first, first + 100000):
    writer.append(counted_episode(seed % 20, steps=3))
    print(len(writer.attempts()), seed + 1, time.monotonic(), flush=True)
    time.sleep(0.002)
"""


def kill_a_recorder(path, moment):
    """Records into the folder, kills the recorder at that moment after its first word, and compares with its words."""
    command = [sys.executable, "-c", RECORD, str(path), os.path.dirname(os.path.dirname(__file__)), "0.05"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    time.sleep(moment)
    process.kill()
    killed = time.monotonic()
    said = [line.split() for line in process.communicate()[0].splitlines(keepends=True) if line.endswith("\n")]
    there = 0
    if list(path.glob("shard-*.arrow")):
        assert check(path) == []
        there = len(EpisodeDataset(path))
    for committed, appended, when in said:
        assert there >= int(committed)
        assert there >= int(appended) or killed - float(when) < 2  # at most two seconds are lost


def test_a_recorder_killed_at_random_moments_loses_no_committed_episode(tmp_path):
    generator = random.Random(0)
    for _ in range(8):  # into the same folder: recording goes on after each
        kill_a_recorder(tmp_path / "data", generator.uniform(0, 0.3))


@pytest.mark.slow
def test_a_recorder_killed_a_hundred_times_loses_no_committed_episode(tmp_path):
    generator = random.Random(1)
    for number in range(100):
        kill_a_recorder(tmp_path / f"data-{number // 10}", generator.uniform(0, 0.6))
