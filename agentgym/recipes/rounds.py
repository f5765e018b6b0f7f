"""experiments/dagger/*.toml: rounds of recording with the last agent acting, and training it further."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from agentgym.recipes.base import Name, Recipe
from agentgym.recipes.datasets import DatasetRecipe
from agentgym.recipes.experiments import ExperimentRecipe


class RoundsRecipe(Recipe):
    """experiments/dagger/*.toml: DAgger on an experiment, whose episodes and updates are those of one round.

    The expert labels every step. From the second round on, the agent of the round before acts with that `probability`
    at each of them; 0 is plain imitation by the same rounds, to compare with.
    """

    name: Name
    description: str
    experiment: ExperimentRecipe
    rounds: Annotated[int, Field(ge=1, le=1_000)] = 4
    probability: Annotated[float, Field(ge=0, le=1)] = 0.75

    @model_validator(mode="after")
    def _one_dataset(self) -> Self:
        if self.experiment.dataset is None or self.experiment.parts:
            raise ValueError("expected an experiment of one 'dataset', which the rounds record")
        return self

    @property
    def dataset(self) -> DatasetRecipe:
        """What a round records, but for its seeds and its agent."""
        assert self.experiment.dataset is not None
        return self.experiment.dataset
