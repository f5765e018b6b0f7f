"""What fine-tunings by reinforcement reached, as numbers, a table and a figure: the score by steps, run by run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentgym.evaluation.measures import Measure
from agentgym.evaluation.statistics import UNIT
from agentgym.recipes import FinetuningRecipe
from agentgym.report import figures
from agentgym.report.result_files import write_result_files

Curves = Mapping[str, Sequence[Mapping[str, Any]]]


def write_results(recipe: FinetuningRecipe, curves: Curves, measure: Measure, to: Path) -> Path:
    """Writes NAME.json, NAME.svg and NAME.md of the recipe's own curve, which is the first, and others; the page."""
    lines = {name: [(point["steps"], measure.of(point)) for point in curve] for name, curve in curves.items()}
    figure = figures.score_figure(lines, measure, by="steps of the environments")
    return write_result_files(recipe, recipe.name, {"curves": curves}, figure, _page(recipe, curves, measure), to)


def _page(recipe: FinetuningRecipe, curves: Curves, measure: Measure) -> str:
    played = recipe.evaluation
    episodes = played.episodes * len(recipe.suite.tasks)
    lines = [
        f"# {recipe.name}",
        "",
        f"{recipe.description}.",
        "",
        f"| run | {measure.name} before [95 %] | after [95 %] | gain{' in points' if measure.percent else ''} | steps "
        "| minutes of a core |",
        "|---|---|---|---|---|---|",
        *(_row(name, curve, measure) for name, curve in curves.items()),
        "",
        f"{measure.name.capitalize()} of the likeliest actions on the {episodes} levels of seeds "
        f"{played.first_seed} to {played.first_seed + played.episodes - 1} of each task, which PPO does not see; "
        f"intervals are over {UNIT}. The time is that of learning, without that of measuring.",
        "",
        f"![{measure.name.capitalize()} by steps]({recipe.name}.svg)",
        "",
        f"Made by `{_command(recipe, list(curves))}`.",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, curve: Sequence[Mapping[str, Any]], measure: Measure) -> str:
    first, last = curve[0], curve[-1]
    return (
        f"| {name} | {measure.cell(first)} | {measure.cell(last)} | {measure.gain(first, last)} | {last['steps']:,} "
        f"| {last['cpu_seconds'] / 60:.1f} |"
    )


def _command(recipe: FinetuningRecipe, names: Sequence[str]) -> str:
    return " ".join(["agentgym finetune", recipe.name, *(f"--compare-with runs/{name}" for name in names[1:])])
