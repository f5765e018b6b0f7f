"""Colours of MinAtar's cells: one for every combination of channels, so that nothing a state holds is hidden.

A single channel has a colour of its own, as far from the others as ten colours can be; several in one cell have a
colour between theirs, at least STEP from every other combination's in one of red, green and blue.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

STEP = 17  # between the colours of combinations: 16 levels of each of red, green and blue
# One colour a channel, over black; channel 0 is the player in every game.
CHANNELS = np.array(
    [
        *([255, 255, 255], [230, 60, 50], [255, 215, 60], [70, 130, 255], [60, 200, 90]),
        *([200, 80, 220], [255, 150, 40], [70, 220, 230], [150, 110, 70], [255, 150, 190]),
    ],
    np.int64,
)


@cache
def colour_table(channels: int) -> NDArray[np.uint8]:
    """The colour of each combination, uint8[2**channels, 3]; bit k of a combination's number is channel k."""
    table = np.zeros((2**channels, 3), np.int64)
    table[2 ** np.arange(channels)] = CHANNELS[:channels]
    levels = np.arange(0, 256, STEP)
    free = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    for taken in (np.zeros(3, np.int64), *CHANNELS[:channels]):
        free = free[np.abs(free - taken).max(axis=1) >= STEP]
    several = [number for number in range(2**channels) if number.bit_count() > 1]
    for number in sorted(several, key=int.bit_count):
        mixed = [CHANNELS[channel] for channel in range(channels) if number >> channel & 1]
        nearest = ((free - np.mean(mixed, axis=0)) ** 2).sum(axis=1).argmin()
        table[number] = free[nearest]
        free = np.delete(free, nearest, axis=0)
    return table.astype(np.uint8)


def draw_cells(state: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The cells of a state, bool[rows, columns, channels], in the colours of their combinations."""
    channels = state.shape[2]
    return colour_table(channels).take(state @ (1 << np.arange(channels)), axis=0)


def read_cells(cells: NDArray[np.uint8], channels: int) -> NDArray[np.bool_]:
    """The inverse of `draw_cells`: bool[rows, columns, channels]. Raises ValueError for an unknown colour."""
    same = (cells[:, :, None, :] == colour_table(channels)).all(axis=3)
    if not same.any(axis=2).all():
        raise ValueError("a cell has a colour that is no combination's")
    return (same.argmax(axis=2)[:, :, None] >> np.arange(channels) & 1).astype(bool)
