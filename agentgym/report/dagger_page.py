"""What rounds of DAgger reached, as numbers, a table and a figure: the score by the expert's episodes, run by run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentgym.evaluation.measures import Measure
from agentgym.evaluation.statistics import UNIT
from agentgym.recipes import RoundsRecipe
from agentgym.report import figures
from agentgym.report.result_files import write_result_files

Curves = Mapping[str, Sequence[Mapping[str, Any]]]


def write_results(recipe: RoundsRecipe, curves: Curves, measure: Measure, to: Path) -> Path:
    """Writes NAME.json, NAME.svg and NAME.md of the recipe's own curve, which is the first, and others; the page."""
    lines = {name: [(point["episodes"], measure.of(point)) for point in curve] for name, curve in curves.items()}
    figure = figures.score_figure(lines, measure, by="episodes with the expert")
    return write_result_files(recipe, recipe.name, {"curves": curves}, figure, _page(recipe, curves, measure), to)


def verdict(curves: Curves, measure: Measure) -> list[str]:
    """For each of the other curves: with how many episodes the first one is as good as that one's best."""
    (name, mine), *others = curves.items()
    lines = []
    for other, theirs in others:
        best = max(theirs, key=measure.of)
        reached = [point for point in mine if measure.of(point) >= measure.of(best)]
        needed = f"with {reached[0]['episodes']:,}" if reached else f"not with {mine[-1]['episodes']:,}"
        reaches = "solves" if measure.percent else "returns"
        lines.append(
            f"`{other}` {reaches} {measure.text(measure.of(best))} with {best['episodes']:,} episodes of the expert; "
            f"`{name}` reaches that {needed}."
        )
    return lines


def _page(recipe: RoundsRecipe, curves: Curves, measure: Measure) -> str:
    experiment = recipe.experiment
    data, loop, played = recipe.dataset, experiment.training, experiment.evaluation
    rows = [_row(name, point, measure) for name, curve in curves.items() for point in curve]
    lines = [
        f"# {recipe.name}",
        "",
        f"{recipe.description}.",
        "",
        *(f"* {line}" for line in verdict(curves, measure)),
        *([""] if len(curves) > 1 else []),
        f"| run | round | expert's episodes | labelled steps | updates | {measure.name} [95 %] | CPU s |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"A round: {data.episodes:,} episodes of `{data.expert}`, then {loop.updates:,} updates of {loop.batch_size} "
        f"windows on all rounds' episodes. {measure.name.capitalize()} on seeds {played.first_seed} to "
        f"{played.first_seed + played.episodes - 1} of each task; intervals are over {UNIT}.",
        "",
        f"![{measure.name.capitalize()} by episodes]({recipe.name}.svg)",
        "",
        f"Made by `{_command(recipe, list(curves))}`.",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, point: Mapping[str, Any], measure: Measure) -> str:
    return (
        f"| {name} | {point['round'] + 1} | {point['episodes']:,} | {point['labels']:,} | {point['updates']:,} "
        f"| {measure.cell(point)} | {point['cpu_seconds']:,.0f} |"
    )


def _command(recipe: RoundsRecipe, names: Sequence[str]) -> str:
    words = ["agentgym dagger", recipe.name, f"--run runs/{names[0]}"]
    return " ".join([*words, *(f"--compare-with runs/{name}" for name in names[1:])])
