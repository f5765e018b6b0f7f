"""Arrays and metrics -> pictures, as PNG bytes or SVG text.

Pure functions, the same bytes for the same input. They draw on a transparent ground in colours that can be read on
white and on black. This module knows no file.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from agentgym.extras import needs
from agentgym.report.curves import Panel

LABEL_COLOR = "#7f858f"
LABEL_SIZE = 13
LABEL_HEIGHT = 20
GAP = 4

TRAIN_COLOR = "#8f97a3"
HELD_OUT_COLOR = "#2f81c4"
INK = "#010203"  # stands for the text colour of the page around the picture, see `learning_curves`
COLUMNS = 3
PANEL_INCHES = (3.1, 2.15)


PANELS = (
    Panel("action loss", {"train": "loss/action", "held out": "held_out/loss/action"}),
    Panel("action accuracy", {"train": "accuracy/action", "held out": "held_out/accuracy/action"}, percent=True),
    Panel("levels solved", {"held out": "rollout/success_rate"}, percent=True),
    Panel("language loss", {"train": "loss/language", "held out": "held_out/loss/language"}),
    Panel("masked-image loss", {"train": "loss/masked_image", "held out": "held_out/loss/masked_image"}),
    Panel("learning rate", {"train": "learning_rate"}),
)


def reconstructions(
    originals: UInt8[NDArray[np.uint8], "frames height width 3"],
    masked: UInt8[NDArray[np.uint8], "frames height width 3"],
    predicted: UInt8[NDArray[np.uint8], "frames height width 3"],
    *,
    scale: int,
) -> bytes:
    """A PNG of three labelled rows, one column a frame, each pixel `scale` pixels wide."""
    rows = {"frame": originals, "masked input": masked, "reconstruction": predicted}
    if not originals.shape == masked.shape == predicted.shape:
        shapes = ", ".join(f"{label} {row.shape}" for label, row in rows.items())
        raise ValueError(f"the rows must have one shape: {shapes}")
    frames, height, width = originals.shape[0], originals.shape[1] * scale, originals.shape[2] * scale
    font = ImageFont.load_default(size=LABEL_SIZE)
    row_height = LABEL_HEIGHT + height + 2 * GAP
    canvas = Image.new("RGBA", (frames * (width + GAP) - GAP, len(rows) * row_height - 2 * GAP))
    draw = ImageDraw.Draw(canvas)
    for top, (label, row) in zip(range(0, canvas.height, row_height), rows.items(), strict=True):
        draw.text((0, top), label, font=font, fill=LABEL_COLOR)
        for column, frame in enumerate(row):
            enlarged = Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST)
            canvas.paste(enlarged, (column * (width + GAP), top + LABEL_HEIGHT))
    encoded = io.BytesIO()
    canvas.save(encoded, format="PNG", optimize=True)
    return encoded.getvalue()


def learning_curves(metrics: Sequence[Mapping[str, Any]]) -> str:
    """An `<svg>` element with one small picture for each panel that has data, its text in the page's own colour.

    Each of `metrics` holds "update" and any of the names in PANELS. Raises ValueError when there is nothing to draw.
    """
    with needs("report", what="drawing curves"):
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

    shown = [panel for panel in PANELS if any(name in line for line in metrics for name in panel.series.values())]
    if not shown:
        raise ValueError("no metrics to draw")
    with style():
        rows, columns = -(-len(shown) // COLUMNS), min(COLUMNS, len(shown))
        figure = Figure(figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows))
        figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
        for number, panel in enumerate(shown, start=1):
            _draw_panel(figure.add_subplot(rows, columns, number), panel, metrics)
        return svg_text(figure)


def success_curves(curves: Mapping[str, Sequence[tuple[int, float]]], *, by: str = "steps of the environments") -> str:
    """An `<svg>` element: the success rate by what the first numbers count, a line for each of the named curves."""
    with needs("report", what="drawing curves"):
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

    with style():
        figure = Figure(figsize=(2 * PANEL_INCHES[0], 1.4 * PANEL_INCHES[1]))
        figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
        axes = figure.add_subplot()
        for name, points in curves.items():
            axes.plot(*zip(*points, strict=True), label=name, linewidth=1.3, marker="o", markersize=3.5)
        _plain_axes(axes, percent=True)
        axes.set_xlabel(by)
        axes.set_title("levels solved", loc="left", fontsize=10, fontweight="bold")
        axes.legend(frameon=False, fontsize=8, handlelength=1.2)
        return svg_text(figure)


def style() -> Any:
    """`none` keeps text as text; the salt keeps the bytes the same from one run to the next."""
    import matplotlib

    style = {"svg.fonttype": "none", "svg.hashsalt": "agentgym", "font.family": "sans-serif", "font.size": 9}
    inks = dict.fromkeys(("text.color", "xtick.color", "ytick.color", "axes.labelcolor"), INK)
    return matplotlib.rc_context({**style, **inks})


def svg_text(figure: Any) -> str:
    """The figure in the page's own colour; without metadata, the same bytes from one run to the next."""
    written = io.StringIO()
    blank = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(written, format="svg", transparent=True, metadata=blank)
    svg = written.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")


def _draw_panel(axes: Any, panel: Panel, metrics: Sequence[Mapping[str, Any]]) -> None:
    for label, name in panel.series.items():
        points = [(line["update"], line[name]) for line in metrics if line.get(name) is not None]
        if points:
            color = TRAIN_COLOR if label == "train" else HELD_OUT_COLOR
            marker = "o" if len(points) < 30 else None  # few points are told apart, many are a line
            axes.plot(
                *zip(*points, strict=True), label=label, color=color, linewidth=1.3, marker=marker, markersize=3.5
            )
    axes.set_title(panel.title, loc="left", fontsize=10, fontweight="bold")
    _plain_axes(axes, percent=panel.percent)
    if len(panel.series) > 1:
        axes.legend(frameon=False, fontsize=8, handlelength=1.2)


def _plain_axes(axes: Any, *, percent: bool) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LABEL_COLOR)
    axes.grid(axis="y", color=LABEL_COLOR, alpha=0.25, linewidth=0.6)
    axes.tick_params(length=0)
    axes.locator_params(axis="both", nbins=5)
    axes.set_xlim(left=0)
    if percent:
        axes.set_ylim(0, 1.03)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
