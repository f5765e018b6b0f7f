"""experiments/dagger/*.toml: rounds of recording beside the last agent and training it further."""

from typing import Annotated

from pydantic import Field

from agentgym.recipes.base import Recipe
from agentgym.recipes.experiments import ExperimentRecipe


class RoundsRecipe(Recipe):
    """experiments/dagger/*.toml: DAgger on an experiment, whose episodes and updates are those of one round.

    The expert labels every step. From the second round on, the agent of the round before acts with that `probability`
    at each of them; 0 is plain imitation by the same rounds, to compare with.
    """

    name: str
    description: str
    experiment: ExperimentRecipe
    rounds: Annotated[int, Field(ge=1)] = 4
    probability: Annotated[float, Field(ge=0, le=1)] = 0.75
