"""What an agent makes of an observation before it acts: the probabilities of its actions, and its choice."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.sampling import softmax
from agentgym.policies.state import PolicyState


@dataclass(frozen=True)
class Prediction:
    """What an agent made of one observation. `choice` is an action of the environment; `probabilities` sum to 1.

    `state` has no action for the observation yet: see `AgentPolicy.executed`.
    """

    probabilities: tuple[float, ...]
    choice: int
    state: PolicyState


def look(policy: AgentPolicy, observation: Mapping[str, NDArray[np.uint8]], state: PolicyState | None) -> Prediction:
    """The policy's thought on the next observation of an episode; `state` None is an episode's first."""
    logits, after = policy.action_logits(observation, state)
    first = policy.codec.discrete_root("an inspected agent").starts[0]
    return Prediction(tuple(softmax(logits).tolist()), int(logits.argmax()) + first, after)
