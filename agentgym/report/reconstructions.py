"""The masked autoencoder's reconstruction of a few frames, as a PNG: the same bytes for the same input."""

import io

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

LABEL_COLOR = "#7f858f"
LABEL_SIZE = 13
LABEL_HEIGHT = 20
GAP = 4


def draw_reconstructions(
    originals: UInt8[NDArray[np.uint8], "frames height width 3"],
    masked: UInt8[NDArray[np.uint8], "frames height width 3"],
    predicted: UInt8[NDArray[np.uint8], "frames height width 3"],
    *,
    scale: int,
) -> bytes:
    """A PNG of three labelled rows, one column a frame, each pixel `scale` pixels wide.

    Raises ValueError unless the three have one shape.
    """
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
