"""Freeway's player: the way up the road that no car will cut off, as far as it can be foreseen.

The cars drive at constant speeds, so that where they will be is known; the chicken's way is found among all ways up,
down and waiting, moment by moment.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

CHICKEN, FIRST_CAR = 14, 108  # bytes of the memory: the chicken's height, the lowest lane's car
SPEEDS = (0.8, 1.0, 1.33, 2.0, 4.0, -4.0, -2.0, -1.33, -1.0, -0.8)  # of the lanes' cars, lowest first, a step
ROAD = 160  # after which a car comes again
LANE, KERB = 16, 8  # heights: of a lane, of the first one's beginning
STRIPE = 14  # how far up within its lane a car reaches the chicken
HIT = (36, 58)  # where a car is when it reaches the chicken
STRIDE, BOTTOM = 4, 6
FORESEEN = 24  # steps

Dangerous = Callable[[int, int], bool]
MOVES = (("up", STRIDE), ("noop", 0), ("down", -STRIDE))
RANK = {"up": 0, "noop": 1, "down": 2}


class FreewayPlayer:
    """Crosses where there is a gap."""

    gives_chances = False
    chances: Mapping[str, float] = MappingProxyType({})

    def choose(self, ram: NDArray[np.uint8]) -> str:
        """The name of the action for a state of the memory, uint8[128]."""
        cars = [int(place) for place in ram[FIRST_CAR : FIRST_CAR + len(SPEEDS)]]
        return first_move(int(ram[CHICKEN]), lambda height, steps: hit(cars, height, steps))

    def executed(self, action: str) -> None:
        """The memory says where the chicken is."""


def hit(cars: Sequence[int], height: int, steps: int) -> bool:
    """Whether a chicken at that height will be where a car is, that many steps from now."""
    lane, within = divmod(height - KERB, LANE)
    if not 0 <= lane < len(cars) or within > STRIPE:
        return False
    place = (cars[lane] + SPEEDS[lane] * steps) % ROAD
    margin = abs(SPEEDS[lane]) / 2  # it is somewhere on its way through that step
    return HIT[0] - margin <= place <= HIT[1] + margin


def first_move(height: int, dangerous: Dangerous) -> str:
    """The move that begins the way that leads highest without `dangerous(height, steps)`; up when there is no way."""
    ways: dict[int, str] = {height: ""}
    for steps in range(1, FORESEEN + 1):
        further = _further(ways, steps, dangerous)
        if not further:
            break
        ways = further
    return ways[max(ways)] or "up"


def _further(ways: dict[int, str], steps: int, dangerous: Dangerous) -> dict[int, str]:
    """The first move of a way to each height that can be reached a step later; moves up before the others."""
    reached: dict[int, str] = {}
    for height, first in ways.items():
        for name, stride in MOVES:
            there = max(BOTTOM, height + stride)
            if not dangerous(there, steps):
                reached[there] = min(first or name, reached.get(there, "down"), key=RANK.__getitem__)
    return reached
