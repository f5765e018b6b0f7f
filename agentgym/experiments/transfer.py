"""Transfer: agents trained from several starts on the same few demonstrations, by the same updates, and scored.

    runs/NAME/transfer.json    the resolved recipe          runs/NAME/points.json    what each training run reached
    runs/NAME/references.json  random and expert            runs/NAME/data/          the demonstrations
    runs/NAME/NAME.{json,svg,md}  the numbers, the figure and the page

Training runs that are in points.json are not done again; one that was interrupted resumes at its checkpoint.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from agentgym import executors
from agentgym.data.store import set_recipe
from agentgym.errors import UserError
from agentgym.evaluation.demonstrations import check_unseen
from agentgym.evaluation.expert_rollouts import rollout_expert
from agentgym.evaluation.rollouts import rollout
from agentgym.experiments.imitation import train_run
from agentgym.experts import collection
from agentgym.files import read_json, write_json
from agentgym.folders import claimed, new_folder
from agentgym.model.pretrained import find_folder
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.agents import find_agent
from agentgym.recipes import DatasetRecipe, ExperimentRecipe, TransferRecipe, TransferTask, check_resolved
from agentgym.shapes import Number, read_shape
from agentgym.training.run_folder import BUSY, check_is_vacant_or, open_run

RECIPE = "transfer.json"
OnProgress = Callable[[int, str], None]


@dataclass(frozen=True)
class Trial:
    """One training run of the comparison."""

    start: str
    task: str
    size: int
    seed: int

    @property
    def name(self) -> str:
        """A folder's name."""
        return f"{self.task}-{self.size}-{self.start}-{self.seed}".replace("/", "-")


@dataclass(frozen=True)
class Point:
    """What a trial reached over the evaluation's episodes."""

    start: str
    task: str
    size: int
    seed: int
    success_rate: float
    return_mean: Number
    normalised: float | None
    seconds: float

    @property
    def trial(self) -> Trial:
        """The training run that reached it."""
        return Trial(self.start, self.task, self.size, self.seed)


class Means(TypedDict):
    """The mean returns of the references on a task."""

    random: Number
    expert: Number


def trials_of(recipe: TransferRecipe) -> list[Trial]:
    """All training runs, so that a table fills from the smallest sizes on."""
    sizes = {task.id: recipe.sizes_of(task) for task in recipe.tasks}
    most = max(len(each) for each in sizes.values())
    return [
        Trial(start, task, sizes[task][place], seed)
        for place, seed, task, start in product(range(most), range(recipe.seeds), sizes, recipe.all_starts)
        if place < len(sizes[task])
    ]


def run_transfer(
    recipe: TransferRecipe, run: Path, *, workers: int = 1, on_progress: OnProgress = lambda count, note: None
) -> list[Point]:
    """Does the trials that are not yet done, `workers` at once; the points of all. `on_progress(1, note)` follows each.

    The recipe may have more starts, tasks, sizes and seeds than the one that the folder's points are of.
    Raises UserError when the folder holds something else, a start is missing, or seeds overlap.
    """
    check_seeds(recipe)
    for start in recipe.starts:
        init = recipe.init_of(start)
        if init and init.agent:
            find_agent(init.agent)
            for task in recipe.tasks:
                check_unseen(init.agent, [task.id], recipe.seeds_of(task))
        for part in (init.vision, init.language) if init else ():
            if part:
                find_folder(part)
    earlier = recipe
    if (run / RECIPE).is_file():
        earlier = check_resolved(TransferRecipe, read_json(run / RECIPE, dict), run / RECIPE)
    check_is_vacant_or(run, "comparison of starts", file=RECIPE, recipe=_as_far_as(earlier, recipe))
    with claimed(run, BUSY):
        write_json(run / RECIPE, _with_all_of(earlier, recipe).model_dump(mode="json"))
        return _run_trials(recipe, run, workers, on_progress)


def _run_trials(recipe: TransferRecipe, run: Path, workers: int, on_progress: OnProgress) -> list[Point]:
    references = _references(recipe, run)
    trials = {trial: number for number, trial in enumerate(trials_of(recipe))}
    points = read_points(run) if (run / "points.json").is_file() else []
    done = {point.trial for point in points}
    on_progress(len(done & trials.keys()), "")
    missing = [trial for trial in trials if trial not in done]
    for trial in {_data_of(recipe, run, trial): trial for trial in missing}.values():
        _record(recipe, run, trial)
    jobs = [(recipe, run, trial, references[trial.task]) for trial in missing]
    with executors.start(workers=workers) as executor:
        for point in executor.as_done(_do, jobs):
            points.append(point)
            write_json(run / "points.json", [asdict(each) for each in points])
            on_progress(1, f"{point.trial.name}: {_told(point)}")
    return sorted((point for point in points if point.trial in trials), key=lambda point: trials[point.trial])


def _as_far_as(earlier: TransferRecipe, recipe: TransferRecipe) -> TransferRecipe:
    """The recipe with the starts, tasks, sizes and seeds of the earlier one: having others alters no point."""
    tasks = {task.id: task for task in recipe.tasks}
    return recipe.model_copy(
        update={
            "description": earlier.description,
            "starts": {name: recipe.starts.get(name, start) for name, start in earlier.starts.items()},
            "tasks": [tasks.get(task.id, task).model_copy(update={"sizes": task.sizes}) for task in earlier.tasks],
            "sizes": earlier.sizes,
            "seeds": earlier.seeds,
        }
    )


def _with_all_of(earlier: TransferRecipe, recipe: TransferRecipe) -> TransferRecipe:
    """The recipe, and the starts and tasks that only the earlier one has: their points are still there."""
    known = {task.id for task in recipe.tasks}
    return recipe.model_copy(
        update={
            "starts": {**earlier.starts, **recipe.starts},
            "tasks": [*recipe.tasks, *(task for task in earlier.tasks if task.id not in known)],
        }
    )


def read_points(run: Path) -> list[Point]:
    """The points of a comparison. Raises UserError when there is none."""
    file = run / "points.json"
    if not file.is_file() or not (run / RECIPE).is_file():
        raise UserError(f"{run}: holds no comparison of starts; 'agentgym transfer RECIPE' makes one")
    found: list[Point] = read_shape(file, list[Point])
    return found


def check_seeds(recipe: TransferRecipe) -> None:
    """Raises UserError when a level that is played for the score is one that is recorded."""
    for task in recipe.tasks:
        dataset, played = task.demonstrations, recipe.seeds_of(task)
        end = dataset.first_seed + max(recipe.sizes_of(task))
        if played.start < end and dataset.first_seed < played.stop:
            raise UserError(
                f"{dataset.name}: seeds {dataset.first_seed} to {end - 1} are recorded, "
                f"{played.start} to {played.stop - 1} are played; set another first_seed"
            )


def _task_of(recipe: TransferRecipe, trial: Trial) -> TransferTask:
    return next(task for task in recipe.tasks if task.id == trial.task)


def _dataset_of(recipe: TransferRecipe, trial: Trial) -> DatasetRecipe:
    """The recipe of a trial's demonstrations: the first `size` of its task's seeds."""
    dataset = _task_of(recipe, trial).demonstrations
    return dataset.model_copy(update={"name": f"{dataset.name}-{trial.size}", "episodes": trial.size, "held_out": 0.0})


def _experiment_of(recipe: TransferRecipe, trial: Trial) -> ExperimentRecipe:
    task = _task_of(recipe, trial)
    return ExperimentRecipe(
        name=trial.name,
        description=f"{recipe.name}: {trial.start} on {trial.size} demonstrations of {trial.task}",
        dataset=_dataset_of(recipe, trial),
        model=recipe.model.model_copy(update={"init": recipe.init_of(trial.start)}),
        losses=recipe.losses,
        training=recipe.training_of(task, trial.seed),
        evaluation=recipe.evaluation_of(task),
    )


def _data_of(recipe: TransferRecipe, run: Path, trial: Trial) -> Path:
    return run / "data" / _dataset_of(recipe, trial).name


def _record(recipe: TransferRecipe, run: Path, trial: Trial) -> None:
    """Records a trial's demonstrations, which it shares with the other starts and seeds: those of a smaller size first.

    Where there are demonstrations of a smaller size, they are taken over, and only the others are recorded.
    """
    dataset, data = _dataset_of(recipe, trial), _data_of(recipe, run, trial)
    if collection.is_complete(dataset, data):
        return
    fewer = [replace(trial, size=size) for size in recipe.sizes_of(_task_of(recipe, trial)) if size < trial.size]
    folders = [_data_of(recipe, run, each) for each in fewer]
    whole = [
        folder
        for each, folder in zip(fewer, folders, strict=True)
        if folder.is_dir() and collection.is_complete(_dataset_of(recipe, each), folder)
    ]
    if whole and not data.exists():
        with new_folder(data) as folder:
            shutil.copytree(whole[-1], folder, dirs_exist_ok=True)
            set_recipe(folder, dataset.model_dump(mode="json"))
    collection.collect(dataset, data)


def _do(recipe: TransferRecipe, run: Path, trial: Trial, reference: dict[str, float]) -> Point:
    """Trains and scores one trial; its model is not kept."""
    experiment, folder = _experiment_of(recipe, trial), run / "trials" / trial.name
    began = time.perf_counter()
    open_run(folder, experiment)
    train_run(experiment, _data_of(recipe, run, trial), folder)
    seconds = round(time.perf_counter() - began, 1)
    success, total = _score(AgentPolicy.from_pretrained(folder), experiment)
    shutil.rmtree(folder)
    return Point(
        **asdict(trial), success_rate=success, return_mean=total, normalised=_scaled(total, reference), seconds=seconds
    )


def _score(policy: Any, experiment: ExperimentRecipe) -> tuple[float, float]:
    """Success and mean return on the levels of the evaluation, the same for all starts."""
    protocol, suite = experiment.evaluation, experiment.suites[0]
    played = rollout(
        policy,
        suite.tasks[0],
        frame=suite.frame,
        seeds=range(protocol.first_seed, protocol.first_seed + protocol.episodes),
        num_environments=min(protocol.environments, protocol.episodes),
        deterministic=protocol.deterministic,
    )
    episodes = list(played)
    success = float(np.mean([episode.success for episode in episodes]))
    return success, float(np.mean([episode.total_reward for episode in episodes]))


def _references(recipe: TransferRecipe, run: Path) -> dict[str, dict[str, float]]:
    """The mean return of random and of the demonstrator on the evaluation's levels, by task; played once."""
    file = run / "references.json"
    found: dict[str, dict[str, float]] = read_shape(file, dict[str, Means]) if file.is_file() else {}
    for each in recipe.tasks:
        dataset, seeds = each.demonstrations, recipe.seeds_of(each)
        task, frame = dataset.suite.tasks[0], dataset.suite.frame
        if task.id not in found:
            played = {
                role: rollout_expert(name, task, frame=frame, seeds=seeds)
                for role, name in (("random", "random"), ("expert", dataset.expert))
            }
            means = {role: np.mean([episode.total_reward for episode in episodes]) for role, episodes in played.items()}
            found[task.id] = {role: float(mean) for role, mean in means.items()}
            write_json(file, found)
    return found


def _scaled(total: float, reference: dict[str, float]) -> float | None:
    """The return on the scale of random = 0 and expert = 1; None where the expert is no better than random."""
    span = reference["expert"] - reference["random"]
    return (total - reference["random"]) / span if span > 0 else None


def _told(point: Point) -> str:
    return f"return {point.return_mean:.3f}" + ("" if point.normalised is None else f" ({point.normalised:.2f})")


def by_cell(points: list[Point]) -> Iterator[tuple[tuple[str, int, str], list[Point]]]:
    """The points of each task, size and start, in their order."""
    cells: dict[tuple[str, int, str], list[Point]] = {}
    for point in points:
        cells.setdefault((point.task, point.size, point.start), []).append(point)
    yield from cells.items()
