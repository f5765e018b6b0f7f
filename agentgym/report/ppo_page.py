"""What fine-tunings by reinforcement reached, as numbers, a table and a figure: success by steps, run by run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentgym.evaluation.statistics import UNIT, wilson_interval
from agentgym.recipes import FinetuningRecipe
from agentgym.report import figures
from agentgym.report.result_files import write_result_files

Curves = Mapping[str, Sequence[Mapping[str, Any]]]


def write_results(recipe: FinetuningRecipe, curves: Curves, to: Path) -> Path:
    """Writes NAME.json, NAME.svg and NAME.md of the recipe's own curve, which is the first, and others; the page."""
    lines = {name: [(point["steps"], point["success_rate"]) for point in curve] for name, curve in curves.items()}
    figure = figures.success_figure(lines, by="steps of the environments")
    return write_result_files(recipe, recipe.name, {"curves": curves}, figure, _page(recipe, curves), to)


def _page(recipe: FinetuningRecipe, curves: Curves) -> str:
    played = recipe.evaluation
    episodes = played.episodes * len(recipe.suite.tasks)
    lines = [
        f"# {recipe.name}",
        "",
        f"{recipe.description}.",
        "",
        "| run | success before [95 %] | after [95 %] | gain in points | steps | minutes of a core |",
        "|---|---|---|---|---|---|",
        *(_row(name, curve, episodes) for name, curve in curves.items()),
        "",
        f"Success of the likeliest actions on the {episodes} levels of seeds {played.first_seed} to "
        f"{played.first_seed + played.episodes - 1} of each task, which PPO does not see; "
        f"intervals are Wilson's, over {UNIT}. The time is that of learning, without that of measuring.",
        "",
        f"![Success by steps]({recipe.name}.svg)",
        "",
        f"Made by `{_command(recipe, list(curves))}`.",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, curve: Sequence[Mapping[str, Any]], episodes: int) -> str:
    first, last = curve[0], curve[-1]
    gain = 100 * (last["success_rate"] - first["success_rate"])
    return (
        f"| {name} | {_success(first, episodes)} | {_success(last, episodes)} | {gain:+.1f} | {last['steps']:,} "
        f"| {last['cpu_seconds'] / 60:.1f} |"
    )


def _success(point: Mapping[str, Any], episodes: int) -> str:
    low, high = wilson_interval(round(point["success_rate"] * episodes), episodes)
    return f"{point['success_rate']:.1%} [{low:.1%}, {high:.1%}]"


def _command(recipe: FinetuningRecipe, names: Sequence[str]) -> str:
    return " ".join(["agentgym finetune", recipe.name, *(f"--compare-with runs/{name}" for name in names[1:])])
