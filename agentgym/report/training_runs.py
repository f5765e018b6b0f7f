"""Several trainings of one recipe, a seed each: what another training would score."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentgym import recipes
from agentgym.errors import UserError
from agentgym.evaluation.statistics import t_interval
from agentgym.evaluation.stored import read_evaluation
from agentgym.files import read_json, understanding
from agentgym.training.run_folder import read_training

Scored = dict[str, Any]  # the seed and seconds of a training, and the normalised score of each task


def compare_runs(run: Path, others: Sequence[Path]) -> list[Scored]:
    """The trainings in those run folders by seed, [] of one alone.

    Raises UserError when one is not evaluated, when recipes differ in more than the seed, or two have the same one.
    """
    if not others:
        return []
    first, found = _recipe(run), [_scored(each) for each in (run, *others)]
    for other, scored in zip(others, found[1:], strict=True):
        if differing := recipes.differences(first, _recipe(other)):
            raise UserError(f"{other}: its recipe differs from {run}'s in {differing[0]}; only training.seed may")
        if scored["normalised"].keys() != found[0]["normalised"].keys():
            raise UserError(f"{other}: was not evaluated on the tasks and seeds of {run}; evaluate both in one way")
    seeds = [each["seed"] for each in found]
    if twice := [seed for seed in seeds if seeds.count(seed) > 1]:
        raise UserError(f"training.seed={twice[0]}: two of the runs have it; train each with its own")
    return [
        {**each, "normalised": {task: score for (task, *_), score in each["normalised"].items()}}
        for each in sorted(found, key=lambda each: int(each["seed"]))
    ]


def runs_table(runs: Sequence[Scored]) -> str:
    """One line for each task as Markdown: each training's normalised score, and the interval."""
    seeds = " | ".join(f"training seed {run['seed']}" for run in runs)
    lines = [f"| normalised | {seeds} | mean [95 %] |", "|---" * (len(runs) + 2) + "|"]
    for task in runs[0]["normalised"]:
        scores = " | ".join(f"{run['normalised'][task]:.3f}" for run in runs)
        lines.append(f"| {task} | {scores} | {mean_of(runs, task)} |")
    return "\n".join(lines) + "\n\nThese intervals are t intervals over training runs.\n"


def mean_of(runs: Sequence[Scored], task: str) -> str:
    """The mean of a task's normalised score over trainings, with its interval."""
    scores = [float(run["normalised"][task]) for run in runs]
    low, high = t_interval(scores)
    return f"{sum(scores) / len(scores):.3f} [{low:.3f}, {high:.3f}]"


def _recipe(run: Path) -> dict[str, Any]:
    """As it was, with no training seed in it."""
    recipe = read_json(run / "recipe.json", dict)
    with understanding(run):
        return {**recipe, "training": {key: value for key, value in recipe["training"].items() if key != "seed"}}


def _scored(run: Path) -> Scored:
    for name in ("recipe.json", "training.json", "evaluation.json"):
        if not (run / name).is_file():
            raise UserError(f"{run / name}: is missing; name runs that are trained and evaluated")
    recipe, training = read_json(run / "recipe.json", dict), read_training(run / "training.json")
    tasks = read_evaluation(run / "evaluation.json")["tasks"]
    with understanding(run):
        played = {
            (task["task"], task["first_seed"], task["episodes"]): task["normalised"]
            for task in tasks
            if task["normalised"] is not None
        }
        return {"seed": recipe["training"]["seed"], "seconds": training["seconds"], "normalised": played}
