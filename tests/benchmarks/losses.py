"""What each setting of the losses does to learning, by short runs: an argument for the defaults.

    python tests/benchmarks/losses.py data/babyai-goto-local

Trains the recipe `babyai-goto-local` for UPDATES updates with one setting changed, one process and one thread a run, as
many runs at once as there are cores. Held-out windows say what was learnt; the processor's time says what it cost.
Writes tests/benchmarks/losses.md. About half an hour of one core.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import joblib
import torch

from agentgym import recipes, runs
from agentgym.journal import read_metrics

UPDATES = 400
SEEDS = (0, 1)
SHIPPED = "masked_image=0.02"
SETTINGS = {  # what is changed, and how many seeds it is worth
    "masked_image=0": 2,
    SHIPPED: 2,
    "masked_image=0.1": 1,
    "masked_image=1.0": 1,
    "masked_image=0.02 pixel_reduction=sum": 1,
    "masked_image=0.02 mask_ratio=0.5": 1,
    "masked_image=0.02 masked_frames=one": 1,
    "masked_image=0.02 language=0": 1,
}


def measure(data, setting, seed):
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
            f"training.seed={seed}",
        ],
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        runs.open_run(run, recipe)
        started = time.process_time()
        runs.train_run(recipe, data, run)
        seconds = time.process_time() - started
        last = [line for line in read_metrics(run) if "held_out/accuracy/action" in line][-1]
    return {**last, "milliseconds": 1000 * seconds / UPDATES}


def row(setting, found):
    """A line of the table: means over seeds, and the accuracy of each."""
    mean = {name: statistics.mean(each[name] for each in found) for name in found[0]}
    accuracies = ", ".join(f"{each['held_out/accuracy/action']:.1%}" for each in found)
    return (
        f"| {setting.replace(' ', ', ')} | {accuracies} | {mean['held_out/loss/action']:.3f} "
        f"| {mean['held_out/loss/masked_image']:.3f} | {mean['milliseconds']:.0f} |"
    )


def main():
    data = Path(sys.argv[1])
    jobs = [(setting, seed) for setting, seeds in SETTINGS.items() for seed in SEEDS[:seeds]]
    found = joblib.Parallel(n_jobs=-1, verbose=10)(joblib.delayed(measure)(data, *job) for job in jobs)
    lines = [
        f"GoToLocal, {UPDATES} updates of 16 windows, seeds {SEEDS[0]} and {SEEDS[1]} or the first alone; "
        f"torch {torch.__version__}, one thread.",
        "",
        "| losses | accuracy, held out, by seed | action loss | masked-image loss | ms of a core an update |",
        "|---|---|---|---|---|",
        *(row(each, [f for f, job in zip(found, jobs, strict=True) if job[0] == each]) for each in SETTINGS),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    (Path(__file__).with_suffix(".md")).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
