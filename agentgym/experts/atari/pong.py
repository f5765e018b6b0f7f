"""Pong's player: among the pushes of the next steps those that bring the paddle's end to the ball.

A push moves the paddle over three steps, by the same way in all, so that a paddle at rest is at places 22 apart;
what is still under way when the ball comes places it more finely. A ball that the paddle's end meets flies steeply, and
the opponent misses every second or third; one that is met in the middle nearly never.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from agentgym.experts.atari.arrival import Place, arrival

BALL_ALONG, BALL_ACROSS, PADDLE = 49, 54, 51  # bytes of the memory; the ball's are 0 while there is none
LINE, WALLS = 190.5, (46, 207)  # where the ball meets the paddle, and what throws it back
MIDDLE = 6.5  # how far the ball is from the place of a paddle that it meets in its middle
WAITING = 125  # where a ball that flies away is awaited
PUSHED = (0.0, 8.7, 19.3, 22.1)  # how far a push has moved the paddle after so many steps: measured, sticking and all
UNDER_WAY = (0.0, 8.4, 10.4)  # how far it moves on by the push of the step before
GLIDE = 0.24  # of its last way, that it moves on too
PLANNED = 4  # steps
NEAR, NEAR_SPREAD = 11.0, 5.0  # how near to the middle the paddle is while the ball is far
DOUBT = 0.05  # of a ball's worth, over which one action becomes likelier than another
BLUR = 3.0  # of where the paddle will be
PLANS = np.array(list(product((0, 1, -1), repeat=PLANNED)))  # rest comes first, among plans that are worth the same
NAMES = {1: "left", 0: "noop", -1: "right"}  # left moves it up the scale


class PongPlayer:
    """Meets the ball with the paddle's ends, and serves when there is none.

    `chances` are of the actions by their names, at the last choice: the more the best plan that begins with an action
    is worth, the likelier that is.
    """

    gives_chances = True

    def __init__(self) -> None:
        self._ball: Place | None = None
        self._paddle: int | None = None
        self._push = 0
        self.chances: dict[str, float] = {}

    def choose(self, ram: NDArray[np.uint8]) -> str:
        """The name of the action for a state of the memory, uint8[128]; to be called once a step."""
        paddle = int(ram[PADDLE])
        way = 0 if self._paddle is None else paddle - self._paddle
        before, self._paddle = self._ball, paddle
        if not ram[BALL_ACROSS]:
            self._ball, self._push, self.chances = None, 0, {"fire": 1.0}
            return "fire"
        self._ball = now = Place(int(ram[BALL_ALONG]), int(ram[BALL_ACROSS]))
        found = before and arrival(before, now, line=LINE, walls=WALLS)
        if found and found.steps <= PLANNED:
            worth = plans_worth(found.across - paddle - self._moves_on(way, found.steps), found.steps)
            first = np.array([worth[PLANS[:, 0] == push].max() for push in NAMES]) / DOUBT
        else:
            distance = (found.across if found else WAITING) - MIDDLE - paddle - self._moves_on(way, PLANNED)
            first = np.array([distance - NEAR, 0.0, -distance - NEAR]) / NEAR_SPREAD
        self.chances = dict(zip(NAMES.values(), softmax(first).tolist(), strict=True))
        self._push = list(NAMES)[int(first.argmax())]
        return NAMES[self._push]

    def executed(self, action: str) -> None:
        """The paddle was pushed as that action pushes it, `leftfire` as `left`."""
        self._push = int(action.startswith("left")) - int(action.startswith("right"))

    def _moves_on(self, way: float, steps: float) -> float:
        """How far the paddle moves within those steps without another push."""
        return GLIDE * way * min(steps, 1.0) + self._push * float(np.interp(steps, range(len(UNDER_WAY)), UNDER_WAY))


def plans_worth(distance: float, steps: float) -> NDArray[np.float64]:
    """What each of PLANS is worth, float64[plans], whose ball comes in `steps`.

    `distance` is how far it will be from where the paddle is without another push.
    """
    after = [np.interp(max(0.0, steps - step), range(len(PUSHED)), PUSHED) for step in range(PLANNED)]
    return np.interp(distance - PLANS @ after - MIDDLE, OFFSETS, WORTH)


def _worth_of_meeting(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """What it is worth to meet the ball that far from the paddle's middle: measured; -1 where it is missed."""
    off = np.abs(offsets)
    return np.select([off < 5, off < 6.2, off < 10, off < 11], [0.02, 0.2, 0.45, 0.02], -1.0)


def _blurred(values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    reach = np.arange(-4 * BLUR, 4 * BLUR + step, step)
    weights = np.exp(-0.5 * (reach / BLUR) ** 2)
    return np.convolve(np.pad(values, len(reach) // 2, mode="edge"), weights / weights.sum(), mode="valid")


OFFSETS = np.arange(-60.0, 60.5, 0.5)
WORTH = _blurred(_worth_of_meeting(OFFSETS), 0.5)
