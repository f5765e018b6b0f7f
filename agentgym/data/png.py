"""A frame as PNG bytes, lossless."""

import io

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image


def encode_png(picture: UInt8[NDArray[np.uint8], "height width 3"]) -> bytes:
    """The picture, uint8[height, width, 3], as a PNG file."""
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "png")
    return encoded.getvalue()
