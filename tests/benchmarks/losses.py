"""What each setting of the losses does to learning, by short runs: an argument for the defaults.

    python tests/benchmarks/losses.py FOLDER

Trains two recipes with one setting changed at a time, one process and one thread a run, as many runs at once as there
are cores: GoToRedBall from thousands of demonstrations, briefly, and from 30. Levels that no demonstration was of say
what was learnt, held-out windows how well; the processor's time says what an update cost. The data is recorded into
FOLDER where it is not yet there. Writes tests/benchmarks/losses.md. About an hour and a half of one core.
"""

import math
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

import joblib
import torch
from short_runs import train_and_play

from agentgym import recipes
from agentgym.experts.collection import collect

EPISODES = 200  # scored after each run
SETTINGS = (  # what is changed of the shipped recipes, which have language=1, masked_image=0.02, 75 % masked, the mean
    "",
    "masked_image=0",
    "masked_image=1",
    "mask_ratio=0.5",
    "pixel_reduction=sum",
    "masked_frames=targets",
    "masked_frames=one",
    "language=0",
)


class Case(NamedTuple):
    """A recipe that is trained for so many updates, once with each seed."""

    recipe: str
    updates: int
    seeds: tuple[int, ...]


CASES = (Case("babyai-goto-redball", 500, (0, 1)), Case("babyai-goto-redball-few", 200, (0, 1, 2, 3)))


class Found(NamedTuple):
    """How a run ended."""

    success: float
    accuracy: float
    action: float
    masked_image: float
    milliseconds: float


def measure(case: Case, data: Path, setting: str, seed: int) -> Found:
    """Trains once and scores."""
    torch.set_num_threads(1)
    overrides = [f"losses.{setting}"] if setting else []
    played, last, seconds = train_and_play(
        case.recipe, data, overrides, updates=case.updates, seed=seed, levels=EPISODES
    )
    found = Found(
        statistics.mean(float(episode.success) for episode in played),
        last["held_out/accuracy/action"],
        last["held_out/loss/action"],
        last.get("held_out/loss/masked_image", math.nan),
        1000 * seconds / case.updates,
    )
    print(case.recipe, seed, setting or "as shipped", found, flush=True)
    return found


def table(case: Case, found: dict[str, list[Found]]) -> list[str]:
    """As Markdown; each number is the mean over the seeds, of the success the range too."""
    lines = [
        f"`{case.recipe}`, {case.updates} updates, {len(case.seeds)} seeds, {EPISODES} levels each:",
        "",
        "| changed | success (least to most) | accuracy, held out | action loss | masked-image loss | ms an update |",
        "|---|---|---|---|---|---|",
    ]
    for setting, each in found.items():
        successes = [one.success for one in each]
        mean = Found(*map(statistics.mean, zip(*each, strict=True)))
        lines.append(
            f"| {setting or 'nothing'} | {mean.success:.1%} ({min(successes):.1%} to {max(successes):.1%}) "
            f"| {mean.accuracy:.1%} | {mean.action:.3f} | {mean.masked_image:.3f} | {mean.milliseconds:.0f} |"
        )
    return [*lines, ""]


def main() -> None:
    """Measures and writes the table."""
    folder = Path(sys.argv[1])
    jobs = [(case, setting, seed) for case in CASES for setting in SETTINGS for seed in case.seeds]
    for case in CASES:
        recipe = recipes.load_experiment(case.recipe, []).dataset
        collect(recipe, folder / case.recipe)
    done = joblib.Parallel(n_jobs=-1)(
        joblib.delayed(measure)(case, folder / case.recipe, setting, seed) for case, setting, seed in jobs
    )
    lines = [f"torch {torch.__version__}, one thread a run. An update's milliseconds are the processor's.", ""]
    for case in CASES:
        of_case = {
            setting: [found for job, found in zip(jobs, done, strict=True) if job[:2] == (case, setting)]
            for setting in SETTINGS
        }
        lines += table(case, of_case)
    text = "\n".join(lines)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
