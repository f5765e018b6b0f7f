"""The data of an experiment: the dataset of its recipe, or its parts, and their domains.

Parts may differ in actions, frames and window. Those that have all three in common make one domain; all that are to be
captioned make another, whose actions are words. A dataset's header says all that is needed: no environment is made, and
no torch imported.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agentgym.data.store import EpisodeDataset, Header, dataset_folders, locate
from agentgym.errors import UserError
from agentgym.recipes import DatasetRecipe, ExperimentRecipe, PartRecipe
from agentgym.spaces import SpaceCodec
from agentgym.spaces.domains import Domain, action_tokens

CAPTION = "caption"  # the task that a caption is of
PROMPT = "what was done?"  # the instruction that a caption is read under


@dataclass(frozen=True)
class MixtureComponent:
    """A dataset, its share of the windows, and what is learned of it: its actions, or to say what was done."""

    name: str
    dataset: EpisodeDataset
    weight: float
    window: int
    held_out: float
    caption: bool = False
    held_out_hash: str = "blake2b"

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that were recorded."""
        return tuple(tasks_of(self.dataset))

    @property
    def prompts(self) -> tuple[str, ...]:
        """The instructions that it is read with, in addition to its own."""
        return (PROMPT,) if self.caption else ()

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Height and width of its frames."""
        height, width, _ = self.dataset.header.frame_shape
        return height, width


def open_parts(data: Path, recipe: ExperimentRecipe) -> list[MixtureComponent]:
    """What an experiment is trained on: the dataset of its recipe, which is in the folder `data`, or its parts.

    Raises UserError when a folder holds what another recipe made, is damaged or has nothing to learn from.
    """
    opened = [
        part
        for named in recipe.trained_on
        for part in open_part(
            named,
            locate(named.folder) if recipe.parts else data,
            window=named.window or recipe.training.window,
            held_out=recipe.held_out_of(named),
        )
    ]
    parts = name_apart([replace(part, held_out_hash=recipe.training.held_out_hash) for part in opened])
    for part in parts:
        if part.dataset.lost:
            raise UserError(part.dataset.lost[0])
        if not len(part.dataset):
            path, outcomes = part.dataset.path, part.dataset.outcomes()
            raise UserError(f"{path}: no attempt was kept ({outcomes}); there is nothing to train on")
    return parts


def name_apart(parts: Sequence[MixtureComponent]) -> list[MixtureComponent]:
    """The parts, no two of one name: the second "data" is "data 2"."""
    names = [part.name for part in parts]
    return [
        replace(part, name=f"{part.name} {names[: place + 1].count(part.name)}") if part.name in names[:place] else part
        for place, part in enumerate(parts)
    ]


def open_part(named: PartRecipe, folder: Path, *, window: int, held_out: float) -> Iterator[MixtureComponent]:
    """The datasets of a part: one, or one for each kind of actions and frames. They share its weight by their tasks.

    Raises UserError when the folder holds what another recipe made.
    """
    datasets = open_datasets(folder, named.camera)
    if named.dataset:
        check_same_recipe(folder, datasets, named.dataset)
    counts = [len(tasks_of(dataset)) for dataset in datasets]
    for dataset, count in zip(datasets, counts, strict=True):
        kind = f"/{dataset.path.name}" if len(datasets) > 1 else ""
        yield MixtureComponent(
            name=(named.dataset.name if named.dataset else folder.name) + kind + (" captions" if named.caption else ""),
            dataset=dataset,
            weight=named.weight * count / sum(counts),
            window=window,
            held_out=held_out,
            caption=named.caption,
        )


def open_datasets(folder: Path, camera: str | None = None) -> list[EpisodeDataset]:
    """What was recorded into a folder: a dataset, or one for each kind of actions and frames. Raises UserError.

    With `camera` that column is in the place of the frames.
    """
    found = [EpisodeDataset(each) for each in dataset_folders(folder) or [folder]]
    return [dataset.seen_by(camera) for dataset in found] if camera else found


def check_same_recipe(folder: Path, datasets: Sequence[EpisodeDataset], expected: DatasetRecipe) -> None:
    """Raises UserError when the datasets of a folder were recorded by another recipe, or not whole."""
    for dataset in datasets:
        of_it = expected if len(datasets) == 1 else expected.of_tasks(tasks_of(dataset))
        changed = of_it.changes_since(dataset.header.recipe)
        if changed:
            raise UserError(
                f"{folder}: was recorded by another recipe ({changed[0]}); name its folder with --data, or record it"
            )
    recorded = {task for dataset in datasets for task in tasks_of(dataset)}
    missing = [task.id for task in expected.suite.tasks if task.id not in recorded]
    if missing:
        raise UserError(f"{folder}: holds no episode of {missing[0]} yet; 'agentgym collect' records what is missing")


def recipe_of(datasets: Sequence[EpisodeDataset]) -> DatasetRecipe | None:
    """The recipe by which the datasets of a folder were recorded; None where they say no suite or no expert."""
    first = dict(datasets[0].header.recipe)
    tasks = [task for each in datasets for task in each.header.recipe.get("suite", {}).get("tasks", ())]
    try:
        whole = {**first, "suite": {**first.get("suite", {}), "tasks": tasks}}
        return DatasetRecipe.model_validate_json(json.dumps(whole))
    except ValidationError:
        return None


def adopt(recipe: ExperimentRecipe) -> ExperimentRecipe:
    """The experiment, whose parts that are folders say by what recipe they were made, where they say it."""
    parts = [part if part.dataset else _adopted(part) for part in recipe.parts]
    return recipe.model_copy(update={"parts": parts})


def _adopted(part: PartRecipe) -> PartRecipe:
    return part.model_copy(update={"dataset": recipe_of(open_datasets(locate(part.folder), part.camera))})


def adopt_dataset(recipe: ExperimentRecipe, data: Path) -> ExperimentRecipe:
    """The experiment on the dataset in that folder, whatever made it: recorded, merged, selected or imported.

    Its own recipe takes the place of the experiment's `dataset`, held_out and suite among it, so that the run says what
    it was trained on. Raises UserError when it has none that can be played.
    """
    recorded = recipe_of(open_datasets(data))
    if recorded is None:
        raise UserError(f"{data}: says neither suite nor expert, so nothing can be trained on it here")
    return recipe.model_copy(update={"dataset": recorded})


def on_dataset(recipe: ExperimentRecipe, data: Path) -> ExperimentRecipe:
    """The experiment as it is where that folder is its own dataset's, else as `adopt_dataset` gives it."""
    try:
        assert recipe.dataset is not None  # an experiment without one has parts
        check_same_recipe(data, open_datasets(data), recipe.dataset)
    except UserError:
        return adopt_dataset(recipe, data)
    return recipe


def tasks_of(dataset: EpisodeDataset) -> list[str]:
    """The tasks in a dataset."""
    recorded: Mapping[str, Any] = dataset.header.recipe.get("suite", {})
    return [task["id"] for task in recorded.get("tasks", ())] or list(dict.fromkeys(dataset.column("task")))


def own_header(parts: Sequence[MixtureComponent], recipe: ExperimentRecipe) -> Header:
    """The header of the recipe's own suite: of the first part that recorded its tasks, else of the first part.

    A dataset says what actions and frames it has, so that no environment is made and none has to be installed.
    """
    own = {task.id for task in recipe.datasets[0].suite.tasks} if recipe.datasets else set()
    of_suite = (part for part in parts if not part.caption and own & set(part.tasks))
    return next(of_suite, parts[0]).dataset.header


def domains_of(parts: Sequence[MixtureComponent], first: Header, num_text_tokens: int) -> list[Domain]:
    """The domains of all parts, the one with the actions and frames of `first` before the others; captions last."""
    acted = [part for part in parts if not part.caption]
    domains: dict[tuple[SpaceCodec, tuple[int, int], int], Domain] = {}
    for part in sorted(acted, key=lambda part: not same_format(part.dataset.header, first)):
        domain = Domain(part.dataset.header.space, part.frame_shape, part.window, part.tasks)
        key = (domain.space, domain.frame_shape, domain.window)
        known = domains.get(key, replace(domain, tasks=()))
        domains[key] = replace(domain, tasks=tuple(dict.fromkeys((*known.tasks, *domain.tasks))))
    captioned = [part for part in parts if part.caption]
    if not captioned:
        return list(domains.values())
    words = SpaceCodec.words(num_text_tokens)
    return [*domains.values(), Domain(words, captioned[0].frame_shape, captioned[0].window, (CAPTION,))]


def tokens_of(parts: Sequence[MixtureComponent], first: Header) -> tuple[str, ...]:
    """The action tokens of all parts; they do not depend on how many text tokens there are."""
    return action_tokens(domains_of(parts, first, num_text_tokens=1))


def same_format(one: Header, other: Header) -> bool:
    """Whether datasets have the same actions and frames."""
    return (one.space, one.frame_shape) == (other.space, other.frame_shape)
