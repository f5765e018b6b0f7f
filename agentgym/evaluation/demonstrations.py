"""What an agent was trained on, itself and the agents that it came from: datasets, and the seeds of their episodes.

A dataset that is still where it was says its seeds itself; of one that is gone the recipe says which it had.
"""

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path

from agentgym.data.store import EpisodeDataset, dataset_folders, locate
from agentgym.errors import UserError
from agentgym.policies.agents import known_agent
from agentgym.recipes import DatasetRecipe, ExperimentRecipe, PartRecipe
from agentgym.training.datasets import MixtureComponent, check_same_recipe, open_datasets, open_part, recipe_of
from agentgym.training.run_folder import read_recipe, read_training


@dataclass(frozen=True)
class Demonstrations:
    """One dataset that an agent was trained on. `parts` are empty when it is no longer there, or another one is.

    `own` when the agent itself was trained on it, and not one that it came from.
    """

    folder: Path | None
    recipe: DatasetRecipe | None
    parts: tuple[MixtureComponent, ...]
    own: bool

    @property
    def name(self) -> str:
        """Where the seeds are known from: the folder, or the recipe."""
        if self.parts:
            return str(self.folder)
        return "recipe" if self.recipe else f"nothing of {self.folder}"

    @property
    def known(self) -> bool:
        """Whether its seeds are known at all."""
        return bool(self.parts or self.recipe)

    def seeds(self, task: str) -> Set[int]:
        """The seeds of a task that were demonstrated, as far as they are known."""
        if self.parts:
            return set[int]().union(*(part.dataset.seeds(task) for part in self.parts))
        recipe = self.recipe
        return set(recipe.seeds) if recipe and task in {each.id for each in recipe.suite.tasks} else set()


def demonstrations_of(run: Path | None, data: Path | None = None) -> list[Demonstrations]:
    """What the agent of a run was trained on, and those that it started from; `data` is where its dataset is now.

    Without a run, what `data` says. Raises UserError when `data` is another dataset than the run's.
    """
    if run is None:
        if data is None:
            return []
        datasets = open_datasets(data)
        known = recipe_of(datasets)
        part = PartRecipe(dataset=known, data=str(data))
        return [Demonstrations(data, known, tuple(open_part(part, data, window=1, held_out=0.0)), own=True)]
    return list(_of_run(run, data, own=True, seen=set()))


def _of_run(run: Path, data: Path | None, *, own: bool, seen: set[Path]) -> Iterator[Demonstrations]:
    """Its own demonstrations, then those of the run that it started from, and so on."""
    if run.resolve() in seen:
        return
    seen.add(run.resolve())
    recipe = read_recipe(run)
    for part in recipe.trained_on:
        yield _found(part, recipe, data if not recipe.parts and data else _folder(run, part, recipe), own, data)
    parent = recipe.model.init and recipe.model.init.agent
    if parent:
        folder = known_agent(parent)
        of_run = run_of(folder) if folder else None
        if of_run:
            yield from _of_run(of_run, None, own=False, seen=seen)
        else:
            yield Demonstrations(Path(parent), None, (), own=False)


def check_unseen(agent: str, tasks: Iterable[str], seeds: range) -> None:
    """Raises UserError when an agent, or one that it came from, was trained on one of those levels of those tasks."""
    folder = known_agent(agent)
    for each in demonstrations_of(run_of(folder) if folder else None):
        for task in tasks:
            common = sorted(each.seeds(task) & set(seeds))
            if common:
                raise UserError(
                    f"{agent}: was trained on {len(common)} of the levels of {task} that are played for the score, "
                    f"from seed {common[0]} on ({each.name}); set another evaluation.first_seed"
                )


def run_of(path: Path) -> Path | None:
    """The run folder that a path is, or is the checkpoint of; None when it is neither."""
    return next((folder for folder in (path, path.resolve().parent) if (folder / "recipe.json").is_file()), None)


def _folder(run: Path, part: PartRecipe, recipe: ExperimentRecipe) -> Path | None:
    """Where a run's dataset was when it was trained, by what the run says of it."""
    if recipe.parts:
        return locate(part.folder)
    if not (run / "training.json").is_file():
        return None
    named = read_training(run / "training.json").get("data")  # older runs do not have it
    return locate(named) if named else None


def _found(
    part: PartRecipe, recipe: ExperimentRecipe, folder: Path | None, own: bool, asked: Path | None
) -> Demonstrations:
    """A part of a run's data, with its datasets where they are still there and still those."""
    if folder is None or not (asked or dataset_folders(folder)):
        return Demonstrations(folder, part.dataset, (), own)
    datasets: list[EpisodeDataset] = open_datasets(folder, part.camera)
    if part.dataset:
        try:
            check_same_recipe(folder, datasets, part.dataset)
        except UserError:
            if asked:
                changed = part.dataset.changes_since(datasets[0].header.recipe)
                what = f" ({changed[0]})" if changed else ""
                raise UserError(f"{folder}: is not the dataset that the agent was trained on{what}") from None
            return Demonstrations(folder, part.dataset, (), own)
    window, held_out = part.window or recipe.training.window, recipe.held_out_of(part)
    hashed_by = recipe.training.held_out_hash
    opened = [
        replace(each, held_out_hash=hashed_by) for each in open_part(part, folder, window=window, held_out=held_out)
    ]
    return Demonstrations(folder, part.dataset or recipe_of(datasets), tuple(opened), own)
