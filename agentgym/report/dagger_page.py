"""What rounds of DAgger reached, as numbers, a table and a figure: success by the expert's episodes, run by run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentgym.evaluation.statistics import UNIT
from agentgym.recipes import RoundsRecipe
from agentgym.report import figures
from agentgym.report.result_files import write_result_files

Curves = Mapping[str, Sequence[Mapping[str, Any]]]


def write_results(recipe: RoundsRecipe, curves: Curves, to: Path) -> Path:
    """Writes NAME.json, NAME.svg and NAME.md of the recipe's own curve, which is the first, and others; the page."""
    lines = {name: [(point["episodes"], point["success_rate"]) for point in curve] for name, curve in curves.items()}
    figure = figures.success_figure(lines, by="episodes with the expert")
    return write_result_files(recipe, recipe.name, {"curves": curves}, figure, _page(recipe, curves), to)


def verdict(curves: Curves) -> list[str]:
    """For each of the other curves: with how many episodes the first one is as good as that one's best."""
    (name, mine), *others = curves.items()
    lines = []
    for other, theirs in others:
        best = max(theirs, key=lambda point: point["success_rate"])
        reached = [point for point in mine if point["success_rate"] >= best["success_rate"]]
        needed = f"with {reached[0]['episodes']:,}" if reached else f"not with {mine[-1]['episodes']:,}"
        lines.append(
            f"`{other}` solves {best['success_rate']:.1%} with {best['episodes']:,} episodes of the expert; "
            f"`{name}` reaches that {needed}."
        )
    return lines


def _page(recipe: RoundsRecipe, curves: Curves) -> str:
    experiment = recipe.experiment
    data, loop, played = recipe.dataset, experiment.training, experiment.evaluation
    rows = [_row(name, point) for name, curve in curves.items() for point in curve]
    lines = [
        f"# {recipe.name}",
        "",
        f"{recipe.description}.",
        "",
        *(f"* {line}" for line in verdict(curves)),
        *([""] if len(curves) > 1 else []),
        "| run | round | expert's episodes | labelled steps | updates | success [95 %] | CPU s |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"A round: {data.episodes:,} episodes of `{data.expert}`, then {loop.updates:,} updates of {loop.batch_size} "
        f"windows on all rounds' episodes. Success on seeds {played.first_seed} to "
        f"{played.first_seed + played.episodes - 1} of each task; intervals are Wilson's, over {UNIT}.",
        "",
        f"![Success by episodes]({recipe.name}.svg)",
        "",
        f"Made by `{_command(recipe, list(curves))}`.",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, point: Mapping[str, Any]) -> str:
    low, high = point["success_ci95"]
    return (
        f"| {name} | {point['round'] + 1} | {point['episodes']:,} | {point['labels']:,} | {point['updates']:,} "
        f"| {point['success_rate']:.1%} [{low:.1%}, {high:.1%}] | {point['cpu_seconds']:,.0f} |"
    )


def _command(recipe: RoundsRecipe, names: Sequence[str]) -> str:
    words = ["agentgym dagger", recipe.name, f"--run runs/{names[0]}"]
    return " ".join([*words, *(f"--compare-with runs/{name}" for name in names[1:])])
