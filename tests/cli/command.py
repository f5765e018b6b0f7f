"""The command line in a process of its own, and a job that takes seconds."""

import os
import subprocess
import sys

SMALL = [
    "dataset.episodes=40",
    "dataset.held_out=0.2",
    "training.updates=4",
    "training.batch_size=4",
    "training.checkpoint_every=2",
    "training.evaluate_every=4",
    "training.evaluate_episodes=2",
    "evaluation.episodes=8",
    "evaluation.videos=2",
]


ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def command(*arguments):
    return [sys.executable, "-m", "agentgym", *map(str, arguments)]


def agentgym(*arguments, cwd):
    return subprocess.run(
        command(*arguments), cwd=cwd, capture_output=True, text=True, env=ONE_THREAD, timeout=300, check=False
    )


def settings(*overrides):
    return [part for override in overrides for part in ("--set", override)]
