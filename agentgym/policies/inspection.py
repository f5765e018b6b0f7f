"""The prediction for an observation before acting: the choice, and the probabilities of it and the alternatives."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.state import PolicyState
from agentgym.spaces import Integers

MOST_ALTERNATIVES = 5


@dataclass(frozen=True)
class TokenChoice:
    """One token of an action that has several: the chosen one, and what is allowed there, the likeliest first."""

    name: str
    alternatives: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Prediction:
    """An agent's prediction for one observation. `choice` is an action of the environment.

    `probabilities` are those of all actions of a Discrete space, in their order; of other spaces None, and `tokens` has
    each token of the choice, given those before it. `state` has no action for the observation yet: see
    `AgentPolicy.executed`.
    """

    probabilities: tuple[float, ...] | None
    tokens: tuple[TokenChoice, ...]
    choice: Any
    state: PolicyState


def look(policy: AgentPolicy, observation: Mapping[str, NDArray[np.uint8]], state: PolicyState | None) -> Prediction:
    """The policy's prediction for the next observation of an episode; `state` None is an episode's first."""
    written = policy.written_action(observation, state)
    root = policy.codec.root
    if isinstance(root, Integers) and root.shape is None:
        probabilities = tuple(written.probabilities[0][policy.codec.allowed()].tolist())
        return Prediction(probabilities, (), int(written.action), written.state)
    tokens = zip(written.tokens, written.probabilities, strict=True)
    return Prediction(None, tuple(_choice(policy, *each) for each in tokens), written.action, written.state)


def _choice(policy: AgentPolicy, token: int, probabilities: NDArray[np.float64]) -> TokenChoice:
    likeliest = (-probabilities).argsort(kind="stable")[:MOST_ALTERNATIVES]
    possible = [(policy.token_name(int(each)), float(probabilities[each])) for each in likeliest]
    return TokenChoice(policy.token_name(token), tuple(each for each in possible if each[1] > 0))
