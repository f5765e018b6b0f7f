"""Experts trained on an environment's own state: those that come with the package, and those of `train-expert`.

They are weights and JSON, which cannot run code, and act without torch.
"""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from agentgym.environments import Observation, Task
from agentgym.errors import UserError
from agentgym.experts.networks import Network, load_network
from agentgym.recipes import shipped_expert


class TrainedExpert:
    """The likeliest actions of the network in `path`; without a path, of the one that comes with the package."""

    has_probabilities = True

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._network: Network | None = None

    def check(self, environment: Task) -> None:
        """Raises UserError when there is no network for the task, or when it was trained on something else."""
        path = self._path or shipped_expert(environment.task)
        if self._path is None and not path.is_file():
            raise UserError(
                f"expert 'trained' cannot act in {environment.task}: no network for it comes with the package; "
                "train one with 'agentgym train-expert' and name it as trained:PATH"
            )
        network = load_network(path)
        state, actions = environment.state_space, environment.action_space
        chooses = isinstance(actions, gymnasium.spaces.Discrete) and actions.n == network.shape.actions
        if not chooses or state is None or state.shape != network.shape.state:
            raise UserError(
                f"{environment.task}: its state is {state} and it takes {actions}; {path} was trained on a state of "
                f"{list(network.shape.state)} and {network.shape.actions} actions"
            )
        self._network, self._first = network, int(getattr(actions, "start", 0))

    def start(self, environment: Task, seed: int) -> None:
        """Nothing to begin: the network has no memory."""
        if self._network is None:
            self.check(environment)
        self._environment = environment

    def act(self, observation: Observation) -> Any:
        """The likeliest action for the present state."""
        assert self._network is not None
        self._scores = self._network.scores(self._environment.state)
        return self._first + int(self._scores.argmax())

    def probabilities(self) -> NDArray[np.float32]:
        """float32[actions]: the network's, in the state in which it acted last."""
        likely = np.exp(self._scores - self._scores.max())
        return (likely / likely.sum()).astype(np.float32)
