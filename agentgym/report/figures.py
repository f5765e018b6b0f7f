"""Curves as SVG files, for a Markdown page: the pictures of `curves`, side by side, with one legend.

The same bytes for the same numbers. The text takes the colour of the page around it; the lines can be read on white and
on black.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from agentgym.evaluation.measures import Measure
from agentgym.report.curves import HEIGHT, WIDTH, Curve, Points, draw, learning_curves
from agentgym.report.run_page import template_environment

COLUMNS = 3
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
        width=columns * WIDTH,
        height=rows * height + LEGEND * len(names),
        legend=rows * height,
        title_height=TITLE,
        legend_height=LEGEND,
        picture=(WIDTH, HEIGHT),
    )
