"""datasets/*.toml: who acts where and what is kept; datasets/experts/*.toml: experts to be trained."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from agentgym.recipes.base import LAST_SEED, MOST_AT_ONCE, MOST_EPISODES, Name, Often, Recipe, Seed, absent, differences
from agentgym.recipes.suites import SuiteRecipe

HELD_OUT = 0.02


class BudgetRecipe(Recipe):
    """What one episode of the expert may cost before it is given up.

    `seconds` are of a core, whatever else runs on the machine; absent: 20, or a tenth of a second for each step that an
    episode of the task may last, if that is more. `steps` absent: as many as the level lasts.
    """

    seconds: Annotated[float, Field(gt=0, le=10**7)] | None = absent()
    steps: Often | None = absent()


class DaggerRecipe(Recipe):
    """DAgger: the agent of a run or checkpoint folder acts with that probability at each step, the expert labels."""

    agent: str
    probability: Annotated[float, Field(gt=0, le=1)] = 0.5


class DatasetRecipe(Recipe):
    """datasets/*.toml: who acts where, for how many episodes, and what is kept.

    `episodes` counts attempts, so the seeds [first_seed, first_seed + episodes) of each task are fixed beforehand.
    `held_out` is the fraction of episodes that training never sees. `noise` is the probability that a step executes a
    random action. With it or with `dagger` the expert labels every step, and its labels are what training predicts.
    With `probabilities` those are the expert's probabilities of all actions.
    """

    name: Name
    description: str
    suite: SuiteRecipe
    expert: str
    episodes: Annotated[int, Field(ge=1, le=MOST_EPISODES)]
    first_seed: Seed = 1_000_000
    keep: Literal["solved", "all"] = "solved"
    held_out: Annotated[float, Field(ge=0, lt=1)] = HELD_OUT
    budget: BudgetRecipe = BudgetRecipe()
    noise: Annotated[float, Field(ge=0, lt=1, exclude_if=lambda noise: noise == 0)] = 0.0
    dagger: Annotated[DaggerRecipe | None, Field(exclude_if=lambda dagger: dagger is None)] = None
    probabilities: Annotated[bool, Field(exclude_if=lambda wanted: not wanted)] = False

    def of_tasks(self, tasks: Collection[str]) -> Self:
        """The same recipe of only those tasks of its suite."""
        kept = [task for task in self.suite.tasks if task.id in tasks]
        return self.model_copy(update={"suite": self.suite.model_copy(update={"tasks": kept})})

    def changes_since(self, recorded: Mapping[str, Any]) -> list[str]:
        """In which keys what this recipe records differs from what a dataset's header says, as `key: old -> new`.

        What is recorded does not depend on descriptions, on what others reached, or on the share that is held out.
        """
        return differences(_recorded(recorded), _recorded(self.model_dump(mode="json")))

    @property
    def seeds(self) -> range:
        """The seeds of each task."""
        return range(self.first_seed, self.first_seed + self.episodes)

    @model_validator(mode="after")
    def _seeds_exist(self) -> Self:
        if self.first_seed + self.episodes > LAST_SEED:
            raise ValueError(f"expected seeds of at most 63 bits: first_seed + episodes up to {LAST_SEED}")
        return self


def _recorded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of the values of a dataset recipe those that decide what is recorded."""
    kept = {key: value for key, value in values.items() if key not in ("description", "held_out")}
    if isinstance(values.get("suite"), Mapping):
        suite = {key: value for key, value in values["suite"].items() if key not in ("name", "description")}
        tasks = [{key: value for key, value in task.items() if key != "reference"} for task in suite.get("tasks", ())]
        kept["suite"] = {**suite, "tasks": tasks}
    return kept


class ExpertPPORecipe(Recipe):
    """The other settings of PPO (Schulman et al. 2017): `n_steps` of each environment are used `n_epochs` times."""

    n_steps: Annotated[int, Field(ge=1)] = 64
    batch_size: Annotated[int, Field(ge=2)] = 1024
    n_epochs: Annotated[int, Field(ge=1)] = 4
    gamma: Annotated[float, Field(ge=0, le=1)] = 0.99
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 0.95
    clip_range: Annotated[float, Field(gt=0)] = 0.2
    ent_coef: Annotated[float, Field(ge=0)] = 0.01
    vf_coef: Annotated[float, Field(ge=0)] = 0.5
    max_grad_norm: Annotated[float, Field(gt=0)] = 0.5


class ExpertRecipe(Recipe):
    """datasets/experts/*.toml: experts to be trained by PPO, one for each task of the suite.

    They read the environment's own state, not its frames. The learning rate falls to zero over the `steps`, which are
    those of all `environments` together. `network` "grid" reads the state by a convolution with that many `features`
    before the `layers`.
    """

    name: Name
    description: str
    suite: SuiteRecipe
    algorithm: Literal["ppo"] = "ppo"
    steps: Annotated[int, Field(ge=1, le=10**12)]
    environments: Annotated[int, Field(ge=1, le=MOST_AT_ONCE)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    settings: ExpertPPORecipe = ExpertPPORecipe()
    network: Literal["layers", "grid"] = "layers"
    features: Annotated[int, Field(ge=1, le=16_384)] = 16
    layers: Annotated[tuple[Annotated[int, Field(ge=1, le=16_384)], ...], Field(strict=False, max_length=32)] = (64, 64)
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
