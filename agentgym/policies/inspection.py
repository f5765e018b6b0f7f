"""An agent that is watched and led: its probabilities before it acts, and another's action in its history."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.state import PolicyState


@dataclass(frozen=True)
class Prediction:
    """What an agent made of one observation. `choice` is an action of the environment; `probabilities` sum to 1."""

    probabilities: tuple[float, ...]
    choice: int
    state: PolicyState


class InspectedAgent(AgentPolicy):
    """One environment's agent, seen from outside. One thread at a time."""

    def look(self, observation: Mapping[str, NDArray[np.uint8]], state: PolicyState | None) -> Prediction:
        """Its thought on the next observation of an episode; `state` None is an episode's first."""
        choice, new = self.predict(observation, state, deterministic=True)
        return Prediction(tuple(self._seen.tolist()), int(choice), new)

    def led(self, state: PolicyState, action: int) -> PolicyState:
        """The history in which its latest action was this one, whoever chose it."""
        return self.executed(state, [action])

    def _choose(self, logits: Tensor, deterministic: bool) -> NDArray[np.int64]:
        self._seen = logits.double().softmax(-1).numpy()[0]
        return super()._choose(logits, deterministic)
