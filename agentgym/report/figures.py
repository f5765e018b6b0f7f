"""Curves as SVG files, for a Markdown page: the pictures of `curves`, side by side, with one legend.

The same bytes for the same numbers. The text takes the colour of the page around it; the lines can be read on white and
on black.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from agentgym.evaluation.measures import Measure
from agentgym.evaluation.score_rows import Score
from agentgym.report.curves import HEIGHT, WIDTH, Curve, Points, draw, learning_curves
from agentgym.report.run_page import template_environment

COLUMNS = 3
EDGE = 10  # the last label of an axis may stand out so far
NAMES, BARS, NUMBERS, ROW, HEAD = 190, 330, 150, 19, 24  # widths of the parts of a row of scores; heights
LEAST, MOST = -0.1, 1.25  # normalised scores that are drawn; a bar that ends there may be longer
TITLE, FOOT, LEGEND = 20, 16, 22  # heights of a title, of what is below a picture, and of the legend
PUBLISHED = (
    "action loss",
    "action accuracy",
    "levels solved",
    "return",
    "language loss",
    "masked-image loss",
    "learning rate",
)


def training_figure(metrics: Sequence[Mapping[str, Any]]) -> str:
    """The published curves of a training by its metrics.jsonl, one picture each. Raises ValueError without any."""
    by_title = {curve.title: curve for curve in learning_curves([metrics])}
    shown = [by_title[title] for title in PUBLISHED if title in by_title]
    if not shown:
        raise ValueError("no metrics to draw")
    return svg(shown)


def score_figure(curves: Mapping[str, Points], measure: Measure, *, by: str) -> str:
    """The score by what the first numbers count, a line for each of the named curves."""
    lines = [(name, number, points) for number, (name, points) in enumerate(curves.items())]
    return svg([draw(measure.title, lines, percent=measure.percent, by=by)])


def normalised_figure(scores: Sequence[Score], one: str) -> str:
    """The agent's normalised score on each task that has one, as a bar with its interval; `one` is whose score is 1."""
    rows = [
        {
            "task": score.task,
            "zero": _place(0.0),
            "place": _place(score.normalised),
            "interval": tuple(map(_place, score.normalised_ci95)),
            "text": "{:.2f} [{:.2f}, {:.2f}]".format(score.normalised, *score.normalised_ci95),
        }
        for score in scores
        if score.role == "agent" and score.normalised is not None and score.normalised_ci95
    ]
    return (
        template_environment()
        .get_template("scores.svg")
        .render(
            rows=rows,
            ticks=[(_place(0.0), "random"), (_place(0.5), "0.5"), (_place(1.0), one)],
            width=NAMES + BARS + NUMBERS,
            height=HEAD + ROW * len(rows) + 4,
            left=NAMES,
            right=NAMES + BARS,
            top=HEAD,
            bottom=HEAD + ROW * len(rows),
            row_height=ROW,
        )
    )


def _place(score: float) -> float:
    """Where a normalised score is from left to right."""
    return round(NAMES + BARS * (min(max(score, LEAST), MOST) - LEAST) / (MOST - LEAST), 2)


def svg(curves: Sequence[Curve]) -> str:
    """An `<svg>` element with those pictures, and the names of their lines below them."""
    columns = min(COLUMNS, len(curves))
    height = TITLE + HEIGHT + (FOOT if any(curve.by for curve in curves) else 0)
    names = list(dict.fromkeys((line.label, line.run) for curve in curves for line in curve.lines))
    pictures = [
        ((number % columns) * WIDTH, (number // columns) * height, curve) for number, curve in enumerate(curves)
    ]
    rows = -(-len(curves) // columns)
    template = template_environment().get_template("figure.svg")
    return template.render(
        pictures=pictures,
        names=names,
        width=columns * WIDTH + EDGE,
        height=rows * height + LEGEND * len(names),
        legend=rows * height,
        title_height=TITLE,
        legend_height=LEGEND,
        picture=(WIDTH, HEIGHT),
    )
