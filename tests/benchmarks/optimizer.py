"""What Muon and AdamW make of the same updates, by rate and schedule: an argument for the defaults.

    python tests/benchmarks/optimizer.py FOLDER [SEED ...]

Trains two recipes briefly with each setting and seed (0, 1 and 2 where none is named), one after the other with one
thread, and scores each agent on levels that no demonstration was of. The data is recorded into FOLDER where it is not
yet there, and every result is a line of FOLDER/optimizer.jsonl: what is there is not measured again. Writes
tests/benchmarks/optimizer.md. The runs are far shorter than the recipes' own, so that a seed takes about twenty
minutes of a core: they tell settings apart, and not what an agent reaches.
"""

import json
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from short_runs import train_and_play

from agentgym import recipes
from agentgym.experts.collection import collect

ADAMW = "optimizer=adamw learning_rate=1e-3"
MUON = "optimizer=muon learning_rate="


@dataclass(frozen=True)
class Case:
    """A recipe that is trained for so many updates with each of some settings of `training` (or another table)."""

    recipe: str
    overrides: tuple[str, ...]
    updates: int
    levels: int
    settings: tuple[str, ...]
    returns: bool = False  # scored by returns, not by success


CASES = (
    Case(
        "babyai-goto-local",
        ("dataset.episodes=2000", "training.warmup_updates=20"),
        200,
        100,
        (
            ADAMW,
            "optimizer=adamw learning_rate=3e-3",
            f"{MUON}2e-3",
            f"{MUON}4e-3",
            f"{MUON}8e-3",
            f"{MUON}4e-3 final_learning_rate=4e-3",
            f"{MUON}4e-3 warmup_updates=1",
            f"{MUON}4e-3 batch_size=8",
            f"{MUON}4e-3 batch_size=32",
        ),
    ),
    Case(
        "minatar-breakout",
        ("dataset.episodes=60", "dataset.held_out=0.1", "training.warmup_updates=20", "training.batch_size=128"),
        240,
        20,
        (ADAMW, "optimizer=adamw learning_rate=3e-3", f"{MUON}4e-3", f"{MUON}8e-3"),
        returns=True,
    ),
)


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    recipe: str
    updates: int
    setting: str
    seed: int
    score: float
    held_out_loss: float
    held_out_accuracy: float
    seconds: float  # of the processor, in training


def measure(case: Case, data: Path, setting: str, seed: int) -> Result:
    """Trains once and scores."""
    words = [word if "." in word.partition("=")[0] else f"training.{word}" for word in setting.split()]
    overrides = [*case.overrides, "losses.masked_frames=targets", *words]
    played, last, seconds = train_and_play(
        case.recipe, data, overrides, updates=case.updates, seed=seed, levels=case.levels
    )
    return Result(
        case.recipe,
        case.updates,
        setting,
        seed,
        statistics.mean(each.total_reward if case.returns else float(each.success) for each in played),
        last["held_out/loss/action"],
        last["held_out/accuracy/action"],
        round(seconds, 1),
    )


def table(case: Case, results: list[Result]) -> list[str]:
    """As Markdown; each number is the mean over the seeds, of the score the range too."""
    lines = [
        f"`{case.recipe}`, {', '.join((*case.overrides, f'{case.updates} updates'))}, {case.levels} levels:",
        "",
        f"| `training` | seeds | {'mean return' if case.returns else 'success'} (least to most) "
        "| action loss, held out | accuracy, held out | seconds of a core |",
        "|---|---|---|---|---|---|",
    ]
    for setting in case.settings:
        found = [
            each
            for each in results
            if (each.recipe, each.updates, each.setting) == (case.recipe, case.updates, setting)
        ]
        if not found:
            continue
        scores = [each.score for each in found]
        shown = "{:.2f} ({:.2f} to {:.2f})" if case.returns else "{:.1%} ({:.1%} to {:.1%})"
        loss, accuracy, seconds = (
            statistics.mean(getattr(each, name) for each in found)
            for name in ("held_out_loss", "held_out_accuracy", "seconds")
        )
        lines.append(
            f"| `{setting}` | {len(found)} | {shown.format(statistics.mean(scores), min(scores), max(scores))} "
            f"| {loss:.3f} | {accuracy:.1%} | {seconds:.0f} |"
        )
    return [*lines, ""]


def main() -> None:
    """Measures what is missing and writes the table."""
    folder = Path(sys.argv[1])
    seeds = [int(word) for word in sys.argv[2:]] or [0, 1, 2]
    file = folder / "optimizer.jsonl"
    torch.set_num_threads(1)
    for case in CASES:
        data = folder / case.recipe
        collect(recipes.load_experiment(case.recipe, list(case.overrides)).dataset, data)
    for seed in seeds:
        for case in CASES:
            for setting in case.settings:
                results = read(file)
                if (case.recipe, case.updates, setting, seed) in {
                    (each.recipe, each.updates, each.setting, each.seed) for each in results
                }:
                    continue
                result = measure(case, folder / case.recipe, setting, seed)
                print(result, flush=True)
                with file.open("a") as stream:
                    stream.write(json.dumps(asdict(result)) + "\n")
                write(read(file))
    write(read(file))


def read(file: Path) -> list[Result]:
    """What was measured."""
    return [Result(**json.loads(line)) for line in file.read_text().splitlines()] if file.is_file() else []


def write(results: list[Result]) -> None:
    """The tables, as they now are."""
    measured = [case for case in CASES if any(each.recipe == case.recipe for each in results)]
    lines = [
        f"torch {torch.__version__}, one thread. Short runs, which tell settings apart and not what an agent reaches. "
        "Warm-up over 20 updates, then a cosine to 0, where nothing else is said.",
        "",
        *(line for case in CASES if case in measured for line in table(case, results)),
        *(f"`{case.recipe}` was not measured this time." for case in CASES if case not in measured),
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
