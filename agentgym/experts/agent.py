"""agentgym's own agents as experts: `agent:PATH`, and those that act in an expert's place in DAgger."""

from typing import Any

from agentgym.environments import Observation, Task
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.spaces import SpaceCodec


class AgentExpert:
    """The likeliest actions of a run's or a checkpoint's agent, which remembers what was executed in their place.

    Raises UserError when the folder holds no agent.
    """

    def __init__(self, path: str) -> None:
        self._policy = AgentPolicy.from_pretrained(path)

    def check(self, environment: Task) -> None:
        """Raises UserError when the agent was trained for other actions or frames."""
        self._fitted(environment)

    def start(self, environment: Task, seed: int) -> None:
        """A new history, in the task's domain."""
        self._policy = self._fitted(environment)
        self._state: Any = None

    def act(self, observation: Observation) -> Any:
        """The likeliest action for the present observation."""
        action, self._state = self._policy.predict(observation, self._state, deterministic=True)
        return action

    def executed(self, action: Any) -> None:
        """The history has what was executed."""
        self._state = self._policy.executed(self._state, [action])

    def _fitted(self, environment: Task) -> AgentPolicy:
        space = SpaceCodec.of(environment.action_space, environment.action_names)
        return self._policy.fitted(space, environment.frame_shape, environment.task)
