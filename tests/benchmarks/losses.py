"""What each setting of the losses does to learning, by short runs: an argument for the defaults.

    python tests/benchmarks/losses.py data/babyai-goto-local

Trains the recipe `babyai-goto-local` for UPDATES updates with one setting changed, one process and one thread a run, as
many runs at once as there are cores. Held-out windows say what was learnt; the processor's time says what it cost.
Writes tests/benchmarks/losses.md. About ten minutes of one core.
"""

import math
import sys
import tempfile
import time
from pathlib import Path

import joblib
import torch

from agentgym import recipes, runs
from agentgym.journal import read_metrics

UPDATES = 300
SETTINGS = (  # what is changed; the second is what the recipes have
    "masked_image=0",
    "masked_image=0.02",
    "masked_image=1.0",
    "masked_image=0.02 masked_frames=one",
    "masked_image=0.02 mask_ratio=0.5",
    "masked_image=0.02 pixel_reduction=sum",
)


def measure(data, setting):
    """The last held-out numbers of a run, and its time."""
    torch.set_num_threads(1)
    recipe = recipes.load_experiment(
        "babyai-goto-local",
        [
            *(f"losses.{each}" for each in setting.split()),
            f"training.updates={UPDATES}",
            f"training.evaluate_every={UPDATES}",
            "training.evaluate_episodes=0",
            f"training.checkpoint_every={UPDATES}",
        ],
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        runs.open_run(run, recipe)
        started = time.process_time()
        runs.train_run(recipe, data, run)
        seconds = time.process_time() - started
        last = [line for line in read_metrics(run) if "held_out/accuracy/action" in line][-1]
    found = {**last, "milliseconds": 1000 * seconds / UPDATES}
    print(row(setting, found), flush=True)
    return found


def row(setting, found):
    """A line of the table."""
    return (
        f"| {setting.replace(' ', ', ')} | {found['held_out/accuracy/action']:.1%} "
        f"| {found['held_out/loss/action']:.3f} | {found.get('held_out/loss/masked_image', math.nan):.3f} "
        f"| {found['milliseconds']:.0f} |"
    )


def main():
    data = Path(sys.argv[1])
    found = joblib.Parallel(n_jobs=-1)(joblib.delayed(measure)(data, setting) for setting in SETTINGS)
    lines = [
        f"GoToLocal, {UPDATES} updates of 16 windows, seed 0; torch {torch.__version__}, one thread.",
        "",
        "| losses | accuracy, held out | action loss | masked-image loss | ms of a core an update |",
        "|---|---|---|---|---|",
        *map(row, SETTINGS, found),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    (Path(__file__).with_suffix(".md")).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
