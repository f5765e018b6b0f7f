"""experiments/transfer/*.toml: what a start or a number of demonstrations is worth, all else being the same."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from agentgym.errors import did_you_mean
from agentgym.recipes.base import MOST_EPISODES, Often, Recipe, absent
from agentgym.recipes.datasets import DatasetRecipe
from agentgym.recipes.experiments import (
    LONGEST_WINDOW,
    EvaluationRecipe,
    InitRecipe,
    LossRecipe,
    ModelRecipe,
    TrainingRecipe,
)

MOST_SEEDS = 1_000  # of one cell of the table
Sizes = Annotated[list[Annotated[int, Field(ge=1, le=MOST_EPISODES)]], Field(min_length=1, max_length=MOST_SEEDS)]


class TransferTask(Recipe):
    """A task that is learnt from few demonstrations, by the recipe of its dataset.

    `task` says which of the dataset's it is, where that has several. `sizes` are numbers of demonstrations and
    `episodes` the levels that are played for the score, in place of the recipe's: for a task whose episodes are much
    longer than another's. `updates` and `window` are in place of the training's.
    """

    dataset: DatasetRecipe
    task: str | None = absent()
    sizes: Annotated[Sizes | None, Field(exclude_if=lambda sizes: sizes is None)] = None
    episodes: Annotated[int | None, Field(ge=1, le=MOST_EPISODES, exclude_if=lambda episodes: episodes is None)] = None
    updates: Often | None = absent()
    window: Annotated[int | None, Field(ge=1, le=LONGEST_WINDOW, exclude_if=lambda window: window is None)] = None

    @model_validator(mode="after")
    def _one_task(self) -> Self:
        known = [task.id for task in self.dataset.suite.tasks]
        if self.task is None and len(known) != 1:
            raise ValueError(f"the dataset has {len(known)} tasks: say which one is learnt by 'task'")
        if self.task not in (None, *known):
            raise ValueError(f"the dataset has no task {self.task}{did_you_mean(str(self.task), known)}")
        return self

    @property
    def id(self) -> str:
        """The task."""
        return self.task or self.dataset.suite.tasks[0].id

    @property
    def demonstrations(self) -> DatasetRecipe:
        """The recipe of the dataset, with this task alone."""
        if self.task is None:
            return self.dataset
        name = f"{self.dataset.name}-{self.task.replace('/', '-')}"
        return self.dataset.of_tasks([self.task]).model_copy(update={"name": name})


class TransferRecipe(Recipe):
    """experiments/transfer/*.toml: fine-tuning on few demonstrations of tasks that the pretraining did not have.

    `starts` has names for the table and what they mean: a run, a checkpoint or a shipped agent, or what
    `model.init` takes, such as published parts. Each of them, and "scratch", is trained on each of `tasks` with each
    number of demonstrations in `sizes`, `seeds` times; the demonstrations of a smaller size are the first of a larger
    one. `model` is what scratch begins with. A task's updates and everything else are the same for all starts. Without
    `starts` it is only scratch: what that many demonstrations of a task are worth.
    """

    SCRATCH: ClassVar[str] = "scratch"

    name: str
    description: str
    starts: dict[str, str | InitRecipe] = {}  # noqa: RUF012
    tasks: Annotated[list[TransferTask], Field(min_length=1)]
    sizes: Sizes = Field(default=[20, 100, 500])
    seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = 5
    model: ModelRecipe = ModelRecipe()
    losses: LossRecipe = LossRecipe()
    training: TrainingRecipe
    evaluation: EvaluationRecipe = EvaluationRecipe(episodes=100, videos=0)

    @model_validator(mode="after")
    def _as_it_says(self) -> Self:
        if self.SCRATCH in self.starts:
            raise ValueError(f"a start cannot be named '{self.SCRATCH}', which is there anyway")
        if self.model.init is not None:
            raise ValueError("model.init is for 'starts' to say; 'model' is what scratch begins with")
        for sizes in (self.sizes, *(task.sizes for task in self.tasks)):
            if sizes is not None and sorted(set(sizes)) != sizes:
                raise ValueError(f"sizes {sizes}: expected different numbers, the smallest first")
        return self

    def sizes_of(self, task: TransferTask) -> list[int]:
        """The numbers of demonstrations of a task."""
        return self.sizes if task.sizes is None else task.sizes

    def evaluation_of(self, task: TransferTask) -> EvaluationRecipe:
        """How a task is scored."""
        return self.evaluation.model_copy(update={"episodes": task.episodes or self.evaluation.episodes})

    def training_of(self, task: TransferTask, seed: int) -> TrainingRecipe:
        """How a task is trained with that seed."""
        own = {"updates": task.updates or self.training.updates, "window": task.window or self.training.window}
        return self.training.model_copy(update={**own, "seed": seed, "evaluate_episodes": 0})

    def seeds_of(self, task: TransferTask) -> range:
        """The levels of a task that are played for the score."""
        played = self.evaluation_of(task)
        return range(played.first_seed, played.first_seed + played.episodes)

    def init_of(self, start: str) -> InitRecipe | None:
        """What a start begins with; None for scratch."""
        if start == self.SCRATCH:
            return None
        given = self.starts[start]
        return InitRecipe(agent=given) if isinstance(given, str) else given

    @property
    def all_starts(self) -> tuple[str, ...]:
        """The names of all starts, scratch last."""
        return (*self.starts, self.SCRATCH)
