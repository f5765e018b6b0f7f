"""envs/*.toml: tasks, how their frames look, and published results."""

from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from agentgym.errors import UserError, did_you_mean
from agentgym.recipes.base import Name, Often, Recipe, Strings, absent

Side = Annotated[int, Field(ge=1, le=1024)]


class FrameRecipe(Recipe):
    """How a frame looks. Grid worlds: `view` (default partial) and `tile_size` (default 8 pixels); others: `size`.

    `size` is [height, width] in pixels, absent: the family's own. `camera` names the one of several pictures in an
    environment's observation that the agent sees. With `motion` (Atari) the three channels are the grey screen, what
    changed in it since the step before, and what had changed in that step. A setting that does not fit the family is
    refused.
    """

    view: Literal["partial", "full"] | None = absent()
    tile_size: Annotated[int, Field(ge=1, le=64)] | None = absent()
    size: Annotated[tuple[Side, Side], Field(strict=False)] | None = absent()
    camera: str | None = absent()
    motion: bool | None = absent()


class ReferenceRecipe(Recipe):
    """Published mean returns on a task, shown next to those that an evaluation measures, and where they come from.

    With `human` (Atari) returns are normalised to these two numbers, as is usual there; with `expert` they are
    only shown, and returns are normalised to what the expert reaches here.
    """

    random: float
    expert: float | None = absent()
    human: float | None = absent()
    source: str


INSTRUCTION_BYTES = 256  # the longest BabyAI missions stay below; longer ones are refused, never cut


def _fitting(instructions: tuple[str, ...]) -> tuple[str, ...]:
    for text in instructions:
        if not text.strip() or len(text.encode()) > INSTRUCTION_BYTES:
            raise ValueError(f"expected instructions of 1 to {INSTRUCTION_BYTES} bytes, found {len(text.encode())}")
    return instructions


class TaskRecipe(Recipe):
    """One task of a suite: a Gymnasium id, its settings, and published results.

    `instructions` are wordings of one instruction, where the environment has no language; the episode's seed decides
    which is shown. `limit` is a time limit in steps. `success_return` is the least return of a solved
    episode. `action_names` name the actions of a Discrete space. `action_limits` are the lowest and highest number of
    every Box among the actions, where the space's own bounds are wider. `arguments` go to `gymnasium.make`.
    """

    id: str
    instructions: Annotated[Strings, AfterValidator(_fitting)] = ()
    limit: Often | None = absent()
    success_return: float | None = absent()
    action_names: Strings = ()
    action_limits: Annotated[tuple[float, float], Field(strict=False)] | None = absent()
    arguments: dict[str, Any] = Field(default_factory=dict, exclude_if=lambda arguments: not arguments)
    reference: ReferenceRecipe | None = absent()

    def plays_like(self, other: Self) -> bool:
        """Whether the other is the same task, played alike; published results do not count."""
        mine, theirs = (task.model_copy(update={"reference": None}) for task in (self, other))
        return mine == theirs


class SuiteRecipe(Recipe):
    """envs/*.toml: the tasks and how their frames look."""

    name: Name
    description: str
    frame: FrameRecipe = FrameRecipe()
    tasks: Annotated[list[TaskRecipe], Field(min_length=1)]

    def is_within(self, other: Self) -> bool:
        """Whether the other suite has all of its tasks, played and drawn alike."""
        return self.frame == other.frame and all(any(map(task.plays_like, other.tasks)) for task in self.tasks)

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        counts = Counter(task.id for task in self.tasks)
        twice = next((task for task, count in counts.items() if count > 1), None)
        if twice:
            raise ValueError(f"task {twice} is named twice; name each once")
        return self

    def task(self, name: str) -> TaskRecipe:
        """The task of that id. Raises UserError when the suite has none."""
        found = {task.id: task for task in self.tasks}
        if name not in found:
            raise UserError(f"suite {self.name}: has no task '{name}'{did_you_mean(name, found)}")
        return found[name]
