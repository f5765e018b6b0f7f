"""Breakout's player: where the ball will arrive, and a paddle that is brought to rest there.

A paddle glides on after its action, so what is steered is where it will come to rest. An action moves that by about 22,
less when the one before sticks: who acts only while the paddle would rest further than `NEAR` from its aim stops early,
and what sticks shakes it into place. The memory knows better than the player where the paddle will rest; the player
judges by what the screen shows and what was done last, so that who learns from pixels can do nearly the same.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from agentgym.experts.atari.arrival import Place, arrival

BALL_ALONG, BALL_ACROSS, PADDLE = 101, 99, 72  # bytes of the memory; the first is 0 while there is no ball
LINE, WALLS = 178, (56, 200)  # where the ball meets the paddle, and what throws it back
MIDDLE = 8.0  # how far the ball is from the place of a paddle that it meets in its middle
UNDER_WAY = 10.0  # how far the paddle moves on by the action of the step before: measured
NEAR, REACH = 10.0, 9.0  # how near to its aim the paddle is brought in time; how far from there it still hits
SOON = 6  # steps before the ball's arrival from which the paddle is no more shaken
SPREAD = 0.7  # of the distance that is allowed, over which one action becomes likelier than another
NAMES = ("noop", "left", "right")
PUSHES = (0, -1, 1)  # along the scale of places


class BreakoutPlayer:
    """Meets the ball, and serves when there is none.

    `chances` are of the actions by their names, at the last choice: far from its aim it is certain, near to where it
    would stop it is not, so that who learns from them learns how far the paddle is from where it should be.
    """

    gives_chances = True

    def __init__(self) -> None:
        self._ball: Place | None = None
        self._push = 0
        self.chances: dict[str, float] = {}

    def choose(self, ram: NDArray[np.uint8]) -> str:
        """The name of the action for a state of the memory, uint8[128]; to be called once a step."""
        paddle = int(ram[PADDLE])
        if not ram[BALL_ALONG]:
            self._ball, self._push, self.chances = None, 0, {"fire": 1.0}
            return "fire"
        aim, near = self._aim(Place(int(ram[BALL_ALONG]), int(ram[BALL_ACROSS])))
        distance = aim - MIDDLE - paddle - UNDER_WAY * self._push
        logits = np.array([0.0, -distance - near, distance - near]) / (SPREAD * near)
        self.chances = dict(zip(NAMES, softmax(logits).tolist(), strict=True))
        best = int(logits.argmax())
        self._push = PUSHES[best]
        return NAMES[best]

    def executed(self, action: str) -> None:
        """The paddle was pushed as that action pushes it, `leftfire` as `left`."""
        self._push = int(action.startswith("right")) - int(action.startswith("left"))

    def _aim(self, ball: Place) -> tuple[float, float]:
        """Where the ball will be, or is while it flies away, and how near to there the paddle should rest."""
        found = self._ball and arrival(self._ball, ball, line=LINE, walls=WALLS)
        self._ball = ball
        if found is None:
            return ball.across, NEAR
        return found.across, REACH if found.steps <= SOON else NEAR
