"""Pong's and Breakout's player: where the ball will arrive, and a paddle that is brought to rest there.

A paddle glides on after its action, so what is steered is where it will come to rest. An action moves that by about 22,
less when the one before sticks: who acts only while the paddle would rest further than `reach` from its aim stops
early, and what sticks shakes it into place.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from agentgym.experts.atari.arrival import Place, arrival

OPPONENT, MIDDLE_OF_THE_FIELD = 50, 125
AIM = 6.5
SPREAD = 0.7  # of the distance that is allowed, over which one action becomes likelier than another
SOON = 6  # steps before the ball's arrival from which the paddle is no more shaken


class Rest(Protocol):
    """Where a paddle will come to rest."""

    def at(self, ram: NDArray[np.uint8], push: int) -> float:
        """For a state of the memory, uint8[128], and the direction in which the last action moved it."""
        ...


Aim = Callable[[NDArray[np.uint8]], float]


def in_the_middle(ram: NDArray[np.uint8]) -> float:
    """Meets the ball in the middle of the paddle, whatever the memory, uint8[128], says."""
    return 0.0


def past_the_opponent(ram: NDArray[np.uint8]) -> float:
    """Meets it near the paddle's end, so that it flies steeply to the side where Pong's opponent is not.

    Of a state of the memory, uint8[128].
    """
    return AIM if ram[OPPONENT] < MIDDLE_OF_THE_FIELD else -AIM


class BreakoutRest:
    """Where the paddle is and half its last way on: measured. The memory knows it better than the screen shows it."""

    def __init__(self) -> None:
        self._before: int | None = None

    def at(self, ram: NDArray[np.uint8], push: int) -> float:
        """The place; the memory is uint8[128]."""
        place = int(ram[72])
        way = 0 if self._before is None else place - self._before
        self._before = place
        return place + 0.5 * way


class PongRest:
    """The memory holds the paddle's place; it glides on a fifth of its last way and half an action: measured."""

    def __init__(self) -> None:
        self._before: int | None = None

    def at(self, ram: NDArray[np.uint8], push: int) -> float:
        """The place, and what it will glide on; the memory is uint8[128]."""
        place = int(ram[51])
        way = 0 if self._before is None else place - self._before
        self._before = place
        return place + 0.2 * way + 10.0 * push


@dataclass(frozen=True)
class PaddleGame:
    """A game's numbers, found in its memory; the places of ball and paddle are on one scale.

    The ball's bytes are `along` and `across`; `gone` is 0 while there is none. It meets the paddle at `line`, and is
    thrown back by the `walls`. `less` and `more` are the actions that move the paddle down and up that scale.
    """

    along: int
    across: int
    gone: int
    line: int
    walls: tuple[int, int]
    less: str
    more: str
    rest: type[Rest]
    middle: float  # how far the ball is from the place of a paddle that it hits in its middle
    reach: float  # how far from there the paddle still hits
    waiting: int | None  # where the paddle awaits a ball that flies away; None: below it
    aim: Aim = in_the_middle
    precision: float = 7.0  # how near to its aim the paddle is brought while there is time


BREAKOUT = PaddleGame(
    along=101, across=99, gone=101, line=178, walls=(56, 200), less="left", more="right",
    rest=BreakoutRest, middle=8.0, reach=9.0, waiting=None,
)  # fmt: skip
PONG = PaddleGame(
    along=49, across=54, gone=54, line=188, walls=(46, 207), less="right", more="left",
    rest=PongRest, middle=6.5, reach=8.0, waiting=125, aim=past_the_opponent, precision=3.0,
)  # fmt: skip


class PaddlePlayer:
    """Meets the ball, and serves when there is none.

    `chances` are of the actions by their names, at the last choice: far from its aim it is certain, near to where it
    would stop it is not, so that who learns from them learns how far the paddle is from where it should be.
    """

    gives_chances = True

    def __init__(self, game: PaddleGame) -> None:
        self._game, self._rest = game, game.rest()
        self._before: Place | None = None
        self._push = 0
        self.chances: dict[str, float] = {}

    def choose(self, ram: NDArray[np.uint8]) -> str:
        """The name of the action for a state of the memory, uint8[128]; to be called once a step."""
        rest = self._rest.at(ram, self._push)
        if not ram[self._game.gone]:
            self._before, self._push, self.chances = None, 0, {"fire": 1.0}
            return "fire"
        distance, allowed = self._distance_to_its_aim(ram, rest)
        less, more = ((way * distance - allowed) / (SPREAD * allowed) for way in (-1, 1))
        actions = (self._game.less, "noop", self._game.more)
        self.chances = dict(zip(actions, softmax([less, 0.0, more]).tolist(), strict=True))
        self._push = int(np.sign(distance)) if abs(distance) > allowed else 0
        return {-1: self._game.less, 0: "noop", 1: self._game.more}[self._push]

    def executed(self, action: str) -> None:
        """The paddle was pushed as that action pushes it, `leftfire` as `left`."""
        self._push = int(action.startswith(self._game.more)) - int(action.startswith(self._game.less))

    def _distance_to_its_aim(self, ram: NDArray[np.uint8], rest: float) -> tuple[float, float]:
        """How far the paddle would rest from where it should, and how far is near enough."""
        game = self._game
        now = Place(int(ram[game.along]), int(ram[game.across]))
        found = self._before and arrival(self._before, now, line=game.line, walls=game.walls)
        self._before = now
        if found and found.steps <= SOON:
            return found.across - game.middle - rest, game.reach
        away = now.across if game.waiting is None else game.waiting
        place = found.across if found else away
        return place - game.middle - game.aim(ram) - rest, game.precision
