"""Pictures: which arrays are one, and how they are resized to a recipe's size."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agentgym.errors import UserError

UINT8 = np.dtype(np.uint8)


def as_picture(shown: Any, who: str) -> NDArray[np.uint8]:
    """What an environment shows as uint8[height, width, 3]; whole numbers in 0 ... 255 are taken as they are.

    Raises UserError that names the type, shape and range of anything else: a cast of it would be another picture.
    """
    if isinstance(shown, np.ndarray) and shown.ndim == 3 and shown.shape[2] == 3 and shown.size:
        if shown.dtype == UINT8:
            return shown
        if shown.dtype.kind in "iu" and shown.min() >= 0 and shown.max() <= 255:
            return shown.astype(np.uint8)
    raise UserError(
        f"{who}: its frame is {_describe(shown)}; expected uint8[height, width, 3] in 0 to 255{_hint(shown)}"
    )


def _describe(shown: Any) -> str:
    if not isinstance(shown, np.ndarray):
        return "None" if shown is None else f"of type {type(shown).__name__}"
    numbers = shown.dtype.kind in "iufb" and shown.size
    return f"{shown.dtype}{list(shown.shape)}" + (f" in {shown.min():g} to {shown.max():g}" if numbers else "")


def _hint(shown: Any) -> str:
    if shown is None:
        return '; its render() returns nothing, or it was made without render_mode="rgb_array"'
    if isinstance(shown, list):
        return "; return one array, not a list"
    if not isinstance(shown, np.ndarray):
        return ""
    if shown.dtype.kind == "f":
        return "; scale it to 0 to 255 and cast it, such as (255 * frame).astype(numpy.uint8)"
    if shown.ndim == 2 or shown.shape[2:] == (1,):
        return "; a grey one becomes three channels by numpy.repeat"
    return "; leave the fourth channel out with frame[..., :3]" if shown.shape[2:] == (4,) else ""


def resize(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture uint8[height, width, 3] at (height, width); what has that size already is copied as it is."""
    if picture.shape[:2] == size:
        return picture.copy()
    height, width = size
    return np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))  # writable
