"""Curves as small pictures: which panels, their scales and ticks, and the points that a page shows.

Everything is computed here, so that a page without JavaScript, on paper, or an SVG file (`figures`) shows the same
curves.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentgym.report.wording import short

WIDTH, HEIGHT = 340, 190  # of the whole picture, in its own units
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 8, 24
TICKS = 4

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """Which metrics one picture shows, by their label."""

    title: str
    series: Mapping[str, str]
    percent: bool = False


PANELS = (
    Panel("levels solved", {"held out": "rollout/success_rate"}, percent=True),
    Panel("return", {"held out": "rollout/return"}),
    Panel("action accuracy", {"train": "accuracy/action", "held out": "held_out/accuracy/action"}, percent=True),
    Panel("action loss", {"train": "loss/action", "held out": "held_out/loss/action"}),
    Panel("language loss", {"train": "loss/language", "held out": "held_out/loss/language"}),
    Panel("masked-image loss", {"train": "loss/masked_image", "held out": "held_out/loss/masked_image"}),
    Panel("total loss", {"train": "loss/total", "held out": "held_out/loss/total"}),
    Panel("gradient norm", {"train": "gradient_norm"}),
    Panel("learning rate", {"train": "learning_rate"}),
    Panel("action targets a second", {"train": "targets_per_second"}),
    Panel("time: waiting for the batch", {"train": "time/batch"}, percent=True),
    Panel("time: forward", {"train": "time/forward"}, percent=True),
    Panel("time: backward", {"train": "time/backward"}, percent=True),
    Panel("time: optimiser", {"train": "time/optimizer"}, percent=True),
)


BY_PART = ("levels solved", "return", "action accuracy", "action loss")


@dataclass(frozen=True)
class Line:
    """One line of a picture: `run` is its number among the runs shown, `points` are [x, y, y as text]."""

    label: str
    run: int
    path: str
    dots: tuple[tuple[float, float], ...]  # where the points are in the picture, when they are few
    points: tuple[tuple[float, float, str], ...]
    intervals: tuple[tuple[float, float, float], ...] = ()  # [x, bottom, top] in the picture, one for each point


@dataclass(frozen=True)
class Tick:
    """A mark on an axis, in units of the picture, and its text."""

    place: float
    text: str


@dataclass(frozen=True)
class Curve:
    """One picture, ready to be drawn. `x_range` and `y_range` are what the axes show."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    by: str = ""  # what the numbers below the picture count, where its page does not say so

    @property
    def data(self) -> dict[str, Any]:
        """What the page needs to show values: ranges, and the points of each line."""
        lines = [{"label": line.label, "run": line.run, "points": line.points} for line in self.lines]
        return {"x": self.x_range, "y": self.y_range, "lines": lines}


def learning_curves(runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[Curve]:
    """The panels that have data, each with the lines of all runs' metrics.

    A task with curves of both success and return may say what success is, or never: without any there is no such line.
    """
    curves = []
    for panel in (*PANELS, *_panels_by_part(runs)):
        lines = [
            (label, number, [(line["update"], line[name]) for line in metrics if line.get(name) is not None])
            for number, metrics in enumerate(runs)
            for label, name in panel.series.items()
            if not _says_nothing(name, metrics)
        ]
        drawn = [(label, number, points) for label, number, points in lines if points]
        if drawn:
            curves.append(draw(panel.title, drawn, percent=panel.percent))
    return curves


def _says_nothing(name: str, metrics: Sequence[Mapping[str, Any]]) -> bool:
    success, found, own = name.partition("rollout/success_rate")
    may_be = bool(found) and not success and any(f"rollout/return{own}" in line for line in metrics)
    return may_be and not any(line.get(name) for line in metrics)


def _panels_by_part(runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[Panel]:
    """A panel for each part and task that has a curve of its own: the same names, with the part's after them."""
    names = dict.fromkeys(name for metrics in runs for line in metrics for name in line)
    return [
        Panel(f"{panel.title}: {name.removeprefix(whole + '/')}", {"held out": name}, panel.percent)
        for panel in PANELS
        if panel.title in BY_PART
        for whole in [panel.series["held out"]]
        for name in names
        if name.startswith(whole + "/")
    ]


def profile_curve(profiles: Sequence[Mapping[str, Sequence[float]]]) -> Curve:
    """Performance profiles: the share of episodes above each normalised score."""
    lines = [
        ("agent", number, list(zip(profile["thresholds"], profile["shares"], strict=True)))
        for number, profile in enumerate(profiles)
    ]
    return draw("share of episodes above a normalised score", lines, percent=True)


def draw(
    title: str,
    lines: Iterable[tuple[str, int, Points]],
    *,
    percent: bool = False,
    by: str = "",
    logarithmic: bool = False,
    intervals: Mapping[int, Sequence[tuple[float, float]]] | None = None,
) -> Curve:
    """One picture of lines (label, number of the run, points), its axes from 0 or from the lowest value below it.

    A `logarithmic` x axis begins at the first x and has a tick at each. `intervals` has (low, high) of each point of a
    run. Points that are not finite are left out.
    """
    lines = [(label, run, [point for point in points if math.isfinite(point[1])]) for label, run, points in lines]
    bounds = {run: list(pairs) for run, pairs in (intervals or {}).items()}
    values = [y for _, _, points in lines for _, y in points] + [y for pairs in bounds.values() for y in sum(pairs, ())]
    places = sorted({x for _, _, points in lines for x, _ in points}) or [0.0]
    x_low, x_high = (places[0], places[-1]) if logarithmic else (0.0, places[-1] or 1.0)
    y_low = min(0.0, *values, 0.0)
    y_high = 1.0 if percent else max(0.0, *values, 0.0) * 1.05 or 1.0

    def across(x: float) -> float:
        share = math.log(x / x_low) / (math.log(x_high / x_low) or 1.0) if logarithmic else x / x_high
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def down(y: float) -> float:
        return round(HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM), 1)

    def text(value: float) -> str:
        return f"{100 * value:.3g} %" if percent else short(value)

    return Curve(
        title=title,
        lines=tuple(
            Line(
                label=label,
                run=run,
                path="M" + "L".join(f"{across(x)},{down(y)}" for x, y in points),
                dots=tuple((across(x), down(y)) for x, y in points) if len(points) < 12 else (),
                points=tuple((x, y, text(y)) for x, y in points),
                intervals=tuple(
                    (across(x), down(low), down(high))
                    for (x, _), (low, high) in zip(points, bounds.get(run, ()), strict=False)
                ),
            )
            for label, run, points in lines
            if points
        ),
        x_ticks=tuple(Tick(across(x), short(x)) for x in (places if logarithmic else ticks(x_high))),
        y_ticks=tuple(Tick(down(y), text(y)) for y in ticks(y_high, y_low)),
        x_range=(x_low, x_high),
        y_range=(y_low, y_high),
        by=by,
    )


def ticks(high: float, low: float = 0.0) -> list[float]:
    """Three to six round numbers from `low` to at most `high`, 0 among them where it is between."""
    span = high - low
    step = 10 ** math.floor(math.log10(span / TICKS))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if span / (step * factor) <= TICKS + 1)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]
