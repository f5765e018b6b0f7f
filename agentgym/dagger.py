"""DAgger (arXiv 1011.0686): a trained agent acts while demonstrations are recorded, and the expert labels its steps."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium

from agentgym import environments
from agentgym.deviations import Actor
from agentgym.players import refuse_misfit
from agentgym.policy import AgentPolicy
from agentgym.recipes import DatasetRecipe


class AgentActor:
    """An agent that takes its likeliest action, and remembers what was executed whether or not it was that."""

    def __init__(self, path: str) -> None:
        self.policy = AgentPolicy.from_pretrained(path)

    def start(self, environment: gymnasium.Env[Any, Any], seed: int) -> None:
        """A new history."""
        self._state: Any = None

    def act(self, observation: Any) -> Any:
        """The likeliest action for the present observation."""
        action, self._state = self.policy.predict(observation, self._state, deterministic=True)
        return action

    def executed(self, action: Any) -> None:
        """The history has what was executed."""
        self._state = self.policy.executed(self._state, [action])


def agent_maker(recipe: DatasetRecipe) -> Callable[[], Actor] | None:
    """Makes the agent of a recipe's `dagger`, in whichever process; None without one.

    Raises UserError when the agent is not whole or was trained for other actions or frames than the suite's.
    """
    if recipe.dagger is None:
        return None
    policy = AgentActor(recipe.dagger.agent).policy
    for task in recipe.suite.tasks:
        env = environments.make(task, frame=recipe.suite.frame)
        refuse_misfit(policy, env)
        env.close()
    return partial(AgentActor, recipe.dagger.agent)
