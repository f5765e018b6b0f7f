"""What a comparison of starts found: every number as JSON, one table, one figure with intervals over training runs."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agentgym.evaluation.statistics import t_interval
from agentgym.experiments.transfer import Point, by_cell
from agentgym.files import replace_file, write_json
from agentgym.recipes import InitRecipe, TransferRecipe

COLORS = ("#2f81c4", "#d9822b", "#3a9a5b", "#a05fb5", "#8f97a3")


@dataclass(frozen=True)
class Cell:
    """A start on one task with one number of demonstrations: the mean of its training runs and its interval."""

    task: str
    size: int
    start: str
    mean: float
    low: float
    high: float
    runs: int


def cells_of(points: list[Point]) -> list[Cell]:
    """The cells of the table: normalised scores, or returns where the expert is no better than random."""
    return [Cell(*place, *_summary([_score(point) for point in found]), len(found)) for place, found in by_cell(points)]


def write_results(recipe: TransferRecipe, points: list[Point], to: Path) -> Path:
    """Writes NAME.json, NAME.svg and NAME.md; the page."""
    to.mkdir(parents=True, exist_ok=True)
    cells = cells_of(points)
    values = {"recipe": recipe.model_dump(mode="json"), "points": [asdict(point) for point in points]}
    write_json(to / f"{recipe.name}.json", {**values, "cells": [asdict(cell) for cell in cells]})
    replace_file(to / f"{recipe.name}.svg", draw(cells))
    page = to / f"{recipe.name}.md"
    replace_file(page, _page(recipe, cells))
    return page


def draw(cells: Sequence[Cell]) -> str:
    """One panel a task: score by demonstrations, a line a start, intervals over training runs. SVG text."""
    from matplotlib.figure import Figure

    from agentgym.report import plots

    tasks, starts = _names(cells, "task"), _names(cells, "start")
    with plots.style():
        figure = Figure(figsize=(3.4 * len(tasks), 2.8), layout="constrained")
        for axes, task in zip(np.atleast_1d(figure.subplots(1, len(tasks), sharey=True)), tasks, strict=True):
            for start, color in zip(starts, COLORS, strict=False):
                line = [cell for cell in cells if (cell.task, cell.start) == (task, start)]
                sizes, means = [cell.size for cell in line], [cell.mean for cell in line]
                error = [[c.mean - c.low for c in line], [c.high - c.mean for c in line]]
                axes.errorbar(sizes, means, yerr=error, label=start, color=color, marker="o", markersize=3, capsize=2)
            axes.set_xscale("log")
            axes.set_title(task, fontsize=8)
            axes.set_xlabel("demonstrations")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(starts))
        return plots.svg_text(figure)


def _score(point: Point) -> float:
    return point.return_mean if point.normalised is None else point.normalised


def _summary(scores: list[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval over training runs; of one run there is no interval."""
    mean = float(np.mean(scores))
    return (mean, *t_interval(scores)) if len(scores) > 1 else (mean, mean, mean)


def _names(cells: Sequence[Cell], field: str) -> list[Any]:
    return list(dict.fromkeys(getattr(cell, field) for cell in cells))


def _page(recipe: TransferRecipe, cells: Sequence[Cell]) -> str:
    starts, loop, played = _names(cells, "start"), recipe.training, recipe.evaluation
    rows = [f"| task | demonstrations | {' | '.join(starts)} |", "|---" * (len(starts) + 2) + "|"]
    for task in _names(cells, "task"):
        for size in _names(cells, "size"):
            row = [_cell(cells, task, size, start) for start in starts]
            rows.append(f"| {task} | {size:,} | {' | '.join(row)} |")
    lines = [
        f"# {recipe.name}",
        "",
        f"{recipe.description}.",
        "",
        *rows,
        "",
        f"Scores are returns on the scale of random = 0 and the demonstrator = 1, over {played.episodes:,} levels from "
        f"seed {played.first_seed}. Each number is the mean of its training runs with the 95 % t interval over them, "
        f"{recipe.seeds} seeds. Every start has the same demonstrations and {loop.updates:,} updates of "
        f"{loop.batch_size} windows.",
        "",
        *(f"* {line}" for line in verdict(cells)),
        "",
        f"![Score by demonstrations]({recipe.name}.svg)",
        "",
        f"Made by `agentgym transfer {recipe.name}`; the starts: "
        + ", ".join(f"{name} is {_said(start)}" for name, start in recipe.starts.items())
        + ".",
    ]
    return "\n".join(lines) + "\n"


def _cell(cells: Sequence[Cell], task: str, size: int, start: str) -> str:
    found = [cell for cell in cells if (cell.task, cell.size, cell.start) == (task, size, start)]
    if not found:
        return "–"
    cell = found[0]
    return f"{cell.mean:.2f}" + (f" [{cell.low:.2f}, {cell.high:.2f}]" if cell.runs > 1 else " (1 run)")


def verdict(cells: Sequence[Cell]) -> Iterator[str]:
    """Where a start's interval lies above or below that of scratch, and where the two overlap."""
    for start in _names(cells, "start"):
        if start == TransferRecipe.SCRATCH:
            continue
        better, worse, open_ = list[str](), list[str](), list[str]()
        for cell in (cell for cell in cells if cell.start == start):
            other = next((c for c in cells if (c.task, c.size, c.start) == (cell.task, cell.size, "scratch")), None)
            if other is None:
                continue
            place = f"{cell.task} ({cell.size})"
            kind = better if cell.low > other.high else worse if cell.high < other.low else open_
            kind.append(place)
        yield (
            f"{start} against scratch, intervals apart: better on {', '.join(better) or 'none'}; worse on "
            f"{', '.join(worse) or 'none'}; {len(open_)} of {len(better) + len(worse) + len(open_)} cells overlap."
        )


def _said(start: str | InitRecipe) -> str:
    """What a start begins with."""
    if isinstance(start, str):
        return f"`{start}`"
    return " and ".join(f"{key} `{value}`" for key, value in start.model_dump(exclude_none=True).items())
