"""DAgger in rounds (Ross et al. 2011, arXiv 1011.0686): record with the last agent acting, train on everything, score.

    runs/NAME/rounds.json    the resolved recipe             runs/NAME/data-K/     what round K recorded
    runs/NAME/curve.jsonl    a point for each round          runs/NAME/round-K/    the run that it trained

Rounds that are done are not done again; an interrupted one resumes where it was.
"""

import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from agentgym.data.store import EpisodeDataset
from agentgym.errors import UserError
from agentgym.evaluation import measures
from agentgym.evaluation.demonstrations import check_unseen
from agentgym.evaluation.rollouts import play_suite
from agentgym.experiments.imitation import train_run
from agentgym.experts import collection
from agentgym.experts.dagger import agent_maker
from agentgym.files import append_json_line, check_points, read_json_lines, write_json
from agentgym.folders import claimed
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.recipes import (
    DaggerRecipe,
    DatasetRecipe,
    ExperimentRecipe,
    InitRecipe,
    PartRecipe,
    RoundsRecipe,
)
from agentgym.training.run_folder import BUSY, check_is_vacant_or, open_run

OnProgress = Callable[[int, str], None]
Point = dict[str, Any]
POINT = ("round", "episodes", "labels", "updates", "levels", "success_rate", "seconds", "cpu_seconds")


def run_rounds(
    recipe: RoundsRecipe, run: Path, *, workers: int | None = None, on_progress: OnProgress = lambda count, note: None
) -> list[Point]:
    """Does the rounds that are not yet done; the points of all. `on_progress(1, note)` follows each.

    Raises UserError when the folder holds something else, or levels are both recorded and played for the score.
    """
    check_seed_overlap(recipe)
    _check_same_recipe(run, recipe)
    with claimed(run, BUSY):
        if not (run / "rounds.json").is_file():
            write_json(run / "rounds.json", recipe.model_dump(mode="json"))
        points = read_points(run) if (run / "curve.jsonl").is_file() else []
        on_progress(len(points), "")
        for number in range(len(points), recipe.rounds):
            points.append(_do_round(recipe, run, number, workers))
            append_json_line(run / "curve.jsonl", points[-1])
            on_progress(1, measure(recipe, points).said(points[-1]))
    return points


def measure(recipe: RoundsRecipe, points: Collection[Point]) -> measures.Measure:
    """What the points of rounds speak of."""
    return measures.measure_of(recipe.dataset.suite.tasks, (point["success_rate"] for point in points))


def read_points(run: Path) -> list[Point]:
    """The points of a run's rounds. Raises UserError when there is none, or one is damaged."""
    file = run / "curve.jsonl"
    if not file.is_file() or not (run / "rounds.json").is_file():
        raise UserError(f"{run}: holds no rounds; 'agentgym dagger RECIPE' makes some")
    return check_points(read_json_lines(file), file, POINT)


def dataset_of(recipe: RoundsRecipe, run: Path, number: int) -> DatasetRecipe:
    """What a round records: seeds of its own, and from the second one on the last agent's steps."""
    whole = recipe.dataset
    acting = number > 0 and recipe.probability > 0
    agent = DaggerRecipe(agent=str(run / f"round-{number - 1}"), probability=recipe.probability) if acting else None
    return whole.model_copy(update={"first_seed": whole.first_seed + number * whole.episodes, "dagger": agent})


def experiment_of(recipe: RoundsRecipe, run: Path, number: int) -> ExperimentRecipe:
    """What a round trains: the last agent, on what all rounds so far recorded."""
    model = recipe.experiment.model
    if number:
        model = model.model_copy(update={"init": InitRecipe(agent=str(run / f"round-{number - 1}"))})
    return recipe.experiment.model_copy(
        update={
            "name": f"{recipe.name}-{number}",
            "dataset": dataset_of(recipe, run, number),
            "parts": [PartRecipe(data=str(run / f"data-{part}")) for part in range(number + 1)],
            "model": model,
        }
    )


def check_seed_overlap(recipe: RoundsRecipe) -> None:
    """Raises UserError when a level that is played for the score is one that is recorded, or that the agent knows."""
    data, played = recipe.dataset, recipe.experiment.evaluation
    end = data.first_seed + recipe.rounds * data.episodes
    if played.first_seed < end and data.first_seed < played.first_seed + played.episodes:
        raise UserError(
            f"{recipe.name}: seeds {data.first_seed} to {end - 1} are recorded, "
            f"{played.first_seed} to {played.first_seed + played.episodes - 1} are played; set another first_seed"
        )
    init = recipe.experiment.model.init
    if init and init.agent:
        tasks = [task.id for task in data.suite.tasks]
        check_unseen(init.agent, tasks, range(played.first_seed, played.first_seed + played.episodes))


def _check_same_recipe(run: Path, recipe: RoundsRecipe) -> None:
    """Raises UserError when the folder holds something else, or the rounds cannot be recorded or trained."""
    check_is_vacant_or(run, "rounds", file="rounds.json", recipe=recipe)
    collection.make_headers(recipe.dataset)


def _do_round(recipe: RoundsRecipe, run: Path, number: int, workers: int | None) -> Point:
    """Records, trains and scores one round; its point. `cpu_seconds` are of this process."""
    began, cpu_began = time.perf_counter(), time.process_time()
    experiment, recorded, data = (
        experiment_of(recipe, run, number),
        dataset_of(recipe, run, number),
        run / f"data-{number}",
    )
    make_agent = agent_maker(recorded)
    collection.collect(recorded, data, workers=workers or os.cpu_count(), make_agent=make_agent)
    folder = run / f"round-{number}"
    open_run(folder, experiment)
    train_run(experiment, data, folder)
    datasets = [EpisodeDataset(run / f"data-{part}") for part in range(number + 1)]
    return {
        "round": number,
        "episodes": (number + 1) * recipe.dataset.episodes * len(recorded.suite.tasks),
        "labels": sum(int(dataset.lengths.sum()) for dataset in datasets),
        "updates": (number + 1) * experiment.training.updates,
        **_score(experiment, folder),
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu_began, 1),
    }


def _score(experiment: ExperimentRecipe, folder: Path) -> Point:
    """What a round's agent reaches on the levels of the evaluation, the same in every round."""
    policy, protocol = AgentPolicy.from_pretrained(folder), experiment.evaluation
    seeds = range(protocol.first_seed, protocol.first_seed + protocol.episodes)
    played = [
        episode
        for suite in experiment.suites
        for episode in play_suite(
            policy,
            suite,
            seeds,
            num_environments=protocol.environments,
            deterministic=protocol.deterministic,
        )
    ]
    return measures.score(played)
