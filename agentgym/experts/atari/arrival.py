"""Where a ball that flies straight and bounces off two walls will reach a line, and when."""

from typing import NamedTuple


class Place(NamedTuple):
    """Where a ball is: how far along its way to the line, and where across it."""

    along: int
    across: int


class Arrival(NamedTuple):
    """Where across a ball will be when it reaches the line, and in how many steps."""

    across: float
    steps: float


def arrival(before: Place, now: Place, *, line: float, walls: tuple[int, int]) -> Arrival | None:
    """The arrival of a ball seen at two consecutive steps; None when it flies away from the line or is past it."""
    speed, way = now.along - before.along, line - now.along
    if speed == 0 or way / speed < 0:
        return None
    steps = way / speed
    return Arrival(reflected(now.across + steps * (now.across - before.across), *walls), steps)


def reflected(place: float, low: int, high: int) -> float:
    """The place between two walls of what would be at `place` if there were none."""
    folded = (place - low) % (2 * (high - low))
    return low + min(folded, 2 * (high - low) - folded)
