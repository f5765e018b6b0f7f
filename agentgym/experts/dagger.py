"""DAgger (arXiv 1011.0686): a trained agent acts while demonstrations are recorded, and the expert labels its steps."""

from collections.abc import Callable
from functools import partial

from agentgym import environments
from agentgym.experts.action_noise import SubstituteActor
from agentgym.experts.agent import AgentExpert
from agentgym.recipes import DatasetRecipe


def agent_maker(recipe: DatasetRecipe) -> Callable[[], SubstituteActor] | None:
    """Makes the agent of a recipe's `dagger`, in whichever process; None without one.

    Raises UserError when the agent is not whole or was trained for other actions or frames than the suite's.
    """
    if recipe.dagger is None:
        return None
    agent = AgentExpert(recipe.dagger.agent)
    for task in recipe.suite.tasks:
        env = environments.make(task, frame=recipe.suite.frame)
        agent.check(env)
        env.close()
    return partial(AgentExpert, recipe.dagger.agent)
