"""The results of a comparison of starts: numbers as JSON, one table, one figure with intervals over training runs."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agentgym.evaluation.measures import SUCCESS, measure_of
from agentgym.evaluation.statistics import t_interval
from agentgym.experiments.transfer import Point, by_cell
from agentgym.files import replace_file, write_json
from agentgym.recipes import InitRecipe, TransferRecipe
from agentgym.report.curves import draw
from agentgym.report.figures import svg


@dataclass(frozen=True)
class Cell:
    """A start on one task with one number of demonstrations: the mean of its training runs and its interval.

    `success` is the same of the share of levels that were solved, where the task defines that.
    """

    task: str
    size: int
    start: str
    mean: float
    low: float
    high: float
    runs: int
    success: tuple[float, float, float] | None = None


def cells_of(points: list[Point], successes: Collection[str] = ()) -> list[Cell]:
    """The cells of the table: normalised scores, or returns where the expert is no better than random.

    `successes` are the tasks that define success.
    """
    return [
        Cell(
            *place,
            *_summary([_score(point) for point in found]),
            runs=len(found),
            success=_summary([point.success_rate for point in found]) if place[0] in successes else None,
        )
        for place, found in by_cell(points)
    ]


def write_results(recipe: TransferRecipe, points: list[Point], to: Path) -> Path:
    """Writes NAME.json, NAME.svg and NAME.md; the page."""
    to.mkdir(parents=True, exist_ok=True)
    tasks = [each.demonstrations.suite.tasks[0] for each in recipe.tasks]
    successes = {task.id for task in tasks if measure_of([task], _success_rates(points, task.id)) is SUCCESS}
    cells = cells_of(points, successes)
    values = {"recipe": recipe.model_dump(mode="json"), "points": [asdict(point) for point in points]}
    write_json(to / f"{recipe.name}.json", {**values, "cells": [asdict(cell) for cell in cells]})
    replace_file(to / f"{recipe.name}.svg", draw_cells(cells))
    page = to / f"{recipe.name}.md"
    replace_file(page, _page(recipe, cells))
    return page


def _success_rates(points: list[Point], task: str) -> list[float]:
    return [point.success_rate for point in points if point.task == task]


def draw_cells(cells: Sequence[Cell]) -> str:
    """One picture a task: score by demonstrations, a line a start, intervals over training runs. SVG text."""
    pictures = []
    for task in _names(cells, "task"):
        found = [
            (number, start, [cell for cell in cells if (cell.task, cell.start) == (task, start)])
            for number, start in enumerate(_names(cells, "start"))
        ]
        lines = [(start, number, [(cell.size, cell.mean) for cell in line]) for number, start, line in found]
        intervals = {number: [(cell.low, cell.high) for cell in line] for number, _, line in found}
        pictures.append(draw(task, lines, by="demonstrations", logarithmic=True, intervals=intervals))
    return svg(pictures)


def _score(point: Point) -> float:
    return point.return_mean if point.normalised is None else point.normalised


def _summary(scores: list[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval over training runs; of one run there is no interval."""
    mean = float(np.mean(scores))
    return (mean, *t_interval(scores)) if len(scores) > 1 else (mean, mean, mean)


def _names(cells: Sequence[Cell], field: str) -> list[Any]:
    return list(dict.fromkeys(getattr(cell, field) for cell in cells))


def _page(recipe: TransferRecipe, cells: Sequence[Cell]) -> str:
    loop, played = recipe.training, recipe.evaluation
    starts = ", ".join(f"{name} is {_said(start)}" for name, start in recipe.starts.items())
    solved = list(_table([cell for cell in cells if cell.success is not None], _solved))
    few = _except((task.episodes, task.id) for task in recipe.tasks)
    longer = _except((task.updates, task.id) for task in recipe.tasks)
    wider = _except((task.window, task.id) for task in recipe.tasks)
    runs = f"the mean of {recipe.seeds} training runs and the 95 % t interval over them"
    trained = "Every start has the same demonstrations and" if recipe.starts else "Each is trained from scratch by"
    lines = [
        f"# {recipe.name}",
        "",
        f"{recipe.description}.",
        "",
        *(["Levels solved:", "", *solved, ""] if solved else []),
        "Score, the return on the scale of random = 0 and the demonstrator = 1:",
        "",
        *_table(cells, _scored),
        "",
        f"Each number is over {played.episodes:,} levels from seed {played.first_seed}{few}: "
        f"{runs if recipe.seeds > 1 else 'one training run'}. {trained} "
        f"{loop.updates:,} updates{longer} of {loop.batch_size} windows of {loop.window} steps{wider}.",
        "",
        *([*(f"* {line}" for line in verdict(cells)), ""] if recipe.starts else []),
        f"![Score by demonstrations]({recipe.name}.svg)",
        "",
        f"Made by `agentgym transfer {recipe.name}`" + (f"; the starts: {starts}." if starts else "."),
    ]
    return "\n".join(lines) + "\n"


def _except(values: Iterable[tuple[int | None, str]]) -> str:
    """Which tasks have a number of their own, in brackets."""
    own = ", ".join(f"{value:,} of {task}" for value, task in values if value)
    return f" ({own})" if own else ""


def _table(cells: Sequence[Cell], text: Callable[[Cell], str]) -> Iterator[str]:
    """Task by task a row for each number of demonstrations, a column for each start; nothing without cells."""
    starts = _names(cells, "start")
    if cells:
        yield f"| task | demonstrations | {' | '.join(starts)} |"
        yield "|---" * (len(starts) + 2) + "|"
    by_place = {(cell.task, cell.size, cell.start): cell for cell in cells}
    tasks = _names(cells, "task")
    for task, size in sorted({(cell.task, cell.size) for cell in cells}, key=lambda row: (tasks.index(row[0]), row[1])):
        found = [by_place.get((task, size, start)) for start in starts]
        yield f"| {task} | {size:,} | {' | '.join(text(cell) if cell else '–' for cell in found)} |"


def _scored(cell: Cell) -> str:
    return f"{cell.mean:.2f}" + (f" [{cell.low:.2f}, {cell.high:.2f}]" if cell.runs > 1 else " (1 run)")


def _solved(cell: Cell) -> str:
    assert cell.success is not None
    mean, low, high = cell.success
    return f"{mean:.1%}" + (f" [{max(low, 0.0):.1%}, {min(high, 1.0):.1%}]" if cell.runs > 1 else " (1 run)")


def verdict(cells: Sequence[Cell]) -> Iterator[str]:
    """Where a start's interval is above or below that of scratch, and where the two overlap."""
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
