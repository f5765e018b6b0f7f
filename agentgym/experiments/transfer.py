"""Transfer: agents trained from several starts on the same few demonstrations, by the same updates, and scored.

    runs/NAME/transfer.json    the resolved recipe          runs/NAME/points.json    what each training run reached
    runs/NAME/references.json  random and expert            runs/NAME/data/          the demonstrations
    runs/NAME/NAME.{json,svg,md}  the numbers, the figure and the page

Training runs that are in points.json are not done again; one that was interrupted resumes at its checkpoint.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from agentgym.errors import UserError
from agentgym.evaluation.demonstrations import check_unseen
from agentgym.evaluation.expert_rollouts import rollout_expert
from agentgym.evaluation.rollouts import rollout
from agentgym.experiments.imitation import train_run
from agentgym.experts import collection
from agentgym.files import write_json
from agentgym.folders import claimed
from agentgym.model.pretrained import find_folder
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.agents import find_agent
from agentgym.recipes import DatasetRecipe, ExperimentRecipe, TransferRecipe
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


class Means(TypedDict):
    """The mean returns of the references on a task."""

    random: Number
    expert: Number


def trials_of(recipe: TransferRecipe) -> list[Trial]:
    """All training runs, so that a table fills from its smallest size on."""
    tasks = [task.id for task in recipe.tasks]
    return [
        Trial(start, task, size, seed)
        for size, seed, task, start in product(recipe.sizes, range(recipe.seeds), tasks, recipe.all_starts)
    ]


def run_transfer(
    recipe: TransferRecipe, run: Path, *, on_progress: OnProgress = lambda count, note: None
) -> list[Point]:
    """Does the trials that are not yet done; the points of all. `on_progress(1, note)` follows each.

    Raises UserError when the folder holds something else, a start is missing, or seeds overlap.
    """
    check_seeds(recipe)
    played = range(recipe.evaluation.first_seed, recipe.evaluation.first_seed + recipe.evaluation.episodes)
    for start in recipe.starts:
        init = recipe.init_of(start)
        if init and init.agent:
            find_agent(init.agent)
            check_unseen(init.agent, [task.id for task in recipe.tasks], played)
        for part in (init.vision, init.language) if init else ():
            if part:
                find_folder(part)
    check_is_vacant_or(run, "comparison of starts", file=RECIPE, recipe=recipe)
    with claimed(run, BUSY):
        return _run_trials(recipe, run, on_progress)


def _run_trials(recipe: TransferRecipe, run: Path, on_progress: OnProgress) -> list[Point]:
    write_json(run / RECIPE, recipe.model_dump(mode="json"))
    references = _references(recipe, run)
    points = read_points(run) if (run / "points.json").is_file() else []
    done = {(point.start, point.task, point.size, point.seed) for point in points}
    on_progress(len(points), "")
    for trial in trials_of(recipe):
        if (trial.start, trial.task, trial.size, trial.seed) in done:
            continue
        points.append(_do(recipe, run, trial, references[trial.task]))
        write_json(run / "points.json", [asdict(point) for point in points])
        on_progress(1, f"{trial.name}: {_told(points[-1])}")
    return points


def read_points(run: Path) -> list[Point]:
    """The points of a comparison. Raises UserError when there is none."""
    file = run / "points.json"
    if not file.is_file() or not (run / RECIPE).is_file():
        raise UserError(f"{run}: holds no comparison of starts; 'agentgym transfer RECIPE' makes one")
    found: list[Point] = read_shape(file, list[Point])
    return found


def check_seeds(recipe: TransferRecipe) -> None:
    """Raises UserError when a level that is played for the score is one that is recorded."""
    first = recipe.evaluation.first_seed
    for dataset in (task.dataset for task in recipe.tasks):
        end = dataset.first_seed + max(recipe.sizes)
        if first < end and dataset.first_seed < first + recipe.evaluation.episodes:
            raise UserError(
                f"{dataset.name}: seeds {dataset.first_seed} to {end - 1} are recorded, "
                f"{first} to {first + recipe.evaluation.episodes - 1} are played; set another first_seed"
            )


def _dataset_of(recipe: TransferRecipe, trial: Trial) -> DatasetRecipe:
    """The recipe of a trial's demonstrations: the first `size` of its task's seeds."""
    dataset = next(task.dataset for task in recipe.tasks if task.id == trial.task)
    return dataset.model_copy(update={"name": f"{dataset.name}-{trial.size}", "episodes": trial.size, "held_out": 0.0})


def _experiment_of(recipe: TransferRecipe, trial: Trial) -> ExperimentRecipe:
    return ExperimentRecipe(
        name=trial.name,
        description=f"{recipe.name}: {trial.start} on {trial.size} demonstrations of {trial.task}",
        dataset=_dataset_of(recipe, trial),
        model=recipe.model.model_copy(update={"init": recipe.init_of(trial.start)}),
        losses=recipe.losses,
        training=recipe.training.model_copy(update={"seed": trial.seed, "evaluate_episodes": 0}),
        evaluation=recipe.evaluation,
    )


def _do(recipe: TransferRecipe, run: Path, trial: Trial, reference: dict[str, float]) -> Point:
    """Records, trains and scores one trial; its model is not kept."""
    experiment, folder = _experiment_of(recipe, trial), run / "trials" / trial.name
    assert experiment.dataset is not None
    data = run / "data" / experiment.dataset.name
    if not collection.is_complete(experiment.dataset, data):
        collection.collect(experiment.dataset, data)
    began = time.perf_counter()
    open_run(folder, experiment)
    train_run(experiment, data, folder)
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
    seeds = range(recipe.evaluation.first_seed, recipe.evaluation.first_seed + recipe.evaluation.episodes)
    for dataset in (each.dataset for each in recipe.tasks):
        task, frame = dataset.suite.tasks[0], dataset.suite.frame
        if task.id not in found:
            played = {
                role: rollout_expert(name, task, frame=frame, seeds=seeds)
                for role, name in (("random", "random"), ("expert", dataset.expert))
            }
            means = {role: np.mean([each.total_reward for each in episodes]) for role, episodes in played.items()}
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
