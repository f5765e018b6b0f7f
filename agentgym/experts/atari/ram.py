"""Players of single Atari games, which read where things are from the emulator's memory instead of looking."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agentgym.environments import Observation, Task
from agentgym.errors import UserError
from agentgym.experts.atari.breakout import BreakoutPlayer
from agentgym.experts.atari.crossing import FreewayPlayer
from agentgym.experts.atari.pong import PongPlayer


class RamPlayer(Protocol):
    """Plays one episode of one game."""

    gives_chances: bool

    @property
    def chances(self) -> Mapping[str, float]:
        """How likely each action was at the last choice, by name, of a player that gives that."""
        ...

    def choose(self, ram: NDArray[np.uint8]) -> str:
        """The name of the action for a state of the memory, uint8[128]; called once a step."""
        ...

    def executed(self, action: str) -> None:
        """Called after each step with the name of the action that was executed, chosen or not."""
        ...


PLAYERS: dict[str, Callable[[], RamPlayer]] = {
    "ALE/Breakout-v5": BreakoutPlayer,
    "ALE/Freeway-v5": FreewayPlayer,
    "ALE/Pong-v5": PongPlayer,
}


class AtariRam:
    """The player of the task's game."""

    unseeing = True
    has_probabilities = False

    def check(self, environment: Task) -> None:
        """Raises UserError for a game without a player."""
        if environment.task not in PLAYERS:
            raise UserError(
                f"expert 'atari-ram' cannot act in {environment.task}: it plays {', '.join(PLAYERS)}; "
                "'rollout-iw' plays every ALE/* game"
            )
        self.has_probabilities = PLAYERS[environment.task]().gives_chances

    def start(self, environment: Task, seed: int) -> None:
        """A fresh player; no frame is drawn."""
        from agentgym.environments.atari import AtariTask

        assert isinstance(environment, AtariTask)
        self._task = environment
        self._player = PLAYERS[environment.task]()

    def act(self, observation: Observation) -> int:
        """The player's action for the memory as it is."""
        names = self._task.action_names
        assert names is not None
        return names.index(self._player.choose(self._task.ale.getRAM()))

    def probabilities(self) -> NDArray[np.float32]:
        """float32[actions]: the player's chances of each action when it acted last."""
        assert self._task.action_names is not None
        return np.array([self._player.chances.get(name, 0.0) for name in self._task.action_names], np.float32)

    def executed(self, action: int) -> None:
        """The player continues from what was executed."""
        assert self._task.action_names is not None
        self._player.executed(self._task.action_names[action])
