"""Pictures to the size of a recipe."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resize(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture uint8[height, width, 3] at (height, width); what has that size already is copied as it is."""
    if picture.shape[:2] == size:
        return picture.copy()
    height, width = size
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))
