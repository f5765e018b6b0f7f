"""The stages of an experiment as a terminal shows them: recorded, trained, scored.

Each resumes where it was interrupted, or says that it is complete.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from agentgym.cli.console import CommandOutput
from agentgym.cli.tables import score_table, summary
from agentgym.errors import UserError
from agentgym.executors import ExecutorName
from agentgym.recipes import DatasetRecipe, ExperimentRecipe

if TYPE_CHECKING:
    from agentgym.data.store import Header
    from agentgym.evaluation.protocol import EvaluationConfig


class Recordable(NamedTuple):
    """A checked recipe: the headers of what it records, and what makes the agent of its DAgger."""

    recipe: DatasetRecipe
    headers: "list[Header]"
    make_agent: Any


def check_recordable(recipe: DatasetRecipe) -> Recordable:
    """Whatever is wrong with the recipe's environments, expert or agent is said before anything is deleted or made."""
    from agentgym.experts import collection

    return Recordable(recipe, collection.make_headers(recipe), collection.agent_maker_of(recipe))


def check_all_recordable(recipe: ExperimentRecipe, data: Path | None) -> dict[Path, Recordable]:
    """What an experiment records, by the folder that it is recorded into; of parts that are folders nothing.

    Raises UserError for what is wrong with any of it, a part's folder that is not there, and what cannot be scored.
    """
    from agentgym.data.store import is_folder, locate

    check_data(recipe, data)
    wanted = {Path(part.folder): part.dataset for part in recipe.parts if part.dataset}
    if recipe.dataset:
        wanted[data or Path("data") / recipe.dataset.name] = recipe.dataset
    for part in recipe.parts:
        if part.dataset is None and Path(part.folder) not in wanted and not is_folder(locate(part.folder)):
            raise UserError(f"{part.folder}: there is no such dataset folder; record it, or name a recipe as `dataset`")
    return {folder: check_recordable(each) for folder, each in wanted.items()}


def check_data(recipe: ExperimentRecipe, data: Path | None) -> None:
    """Raises UserError for --data together with parts, which name their own."""
    if data and recipe.parts:
        raise UserError(f"--data {data}: is for an experiment of one dataset; the parts of {recipe.name} name theirs")


def adopt(recipe: ExperimentRecipe, data: Path | None = None) -> ExperimentRecipe:
    """The experiment, whose parts that are folders say what they were recorded in; and so its dataset in `data`."""
    from agentgym.training import datasets

    return datasets.adopt_dataset(recipe, data) if data else datasets.adopt(recipe)


def record(
    recordable: Recordable,
    path: Path,
    workers: int | None,
    engine: ExecutorName,
    output: CommandOutput,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Records what is missing of a recipe; the folder, and the count of each outcome."""
    from agentgym.data import store
    from agentgym.experts import collection

    recipe, headers, make_agent = recordable
    problems: list[str] = []
    if not overwrite:
        collection.check_same_recipe(path, recipe)
    if not overwrite and collection.is_complete(recipe, path):
        datasets = [store.EpisodeDataset(folder) for folder in store.dataset_folders(path)]
        outcomes = {name: sum(dataset.outcomes()[name] for dataset in datasets) for name in store.OUTCOMES}
        output.print(f"{path} is complete")
    else:
        for low_success_warning in collection.warnings_about(recipe):
            output.warn(low_success_warning)
        total = recipe.episodes * len(recipe.suite.tasks)
        with output.progress("recording", total, "episodes") as on_progress:
            outcomes = collection.collect(
                recipe,
                path,
                workers=workers,
                engine=engine,
                on_progress=lambda count: on_progress(count, ""),
                on_problem=problems.append,
                headers=headers,
                make_agent=make_agent,
                overwrite=overwrite,
            )
    counts = ", ".join(f"{outcome} {count:,}" for outcome, count in _told(recipe, outcomes).items())
    output.print(f"{path}: {counts}")
    for line in problems:
        output.warn(line)
    episodes = sum(len(store.EpisodeDataset(folder)) for folder in store.dataset_folders(path))
    if not episodes:
        output.warn(f"{path}: no attempt left an episode; there is nothing to train on")
    return {"data": str(path), "episodes": episodes, "outcomes": outcomes, "errors": problems}


def choose_what_goes(
    recipe: ExperimentRecipe, recordables: dict[Path, Recordable], run: Path, overwrite: bool, output: CommandOutput
) -> set[Path]:
    """The datasets that are to be recorded again: only with --overwrite, and those that are of another recipe.

    Raises UserError, before anything is deleted, when a folder holds what may not be overwritten.
    """
    from agentgym.experts import collection
    from agentgym.training.run_folder import check_is_run

    again = set()
    for data, recordable in recordables.items():
        if not overwrite:
            collection.check_same_recipe(data, recordable.recipe, goes=f"that dataset and the run in {run}")
            continue
        change = collection.find_change(data, recordable.recipe)
        if change:
            collection.check_made_by_collecting(data)
            output.print(f"{data}: is of another recipe ({change}) and is recorded again")
            again.add(data)
        elif data.exists():
            output.print(f"{data}: is of this recipe and stays; {run} is made again")
    check_is_run(run, overwrite=overwrite)
    return again


def train(
    recipe: ExperimentRecipe,
    data: Path,
    run: Path,
    processes: int | None,
    output: CommandOutput,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Trains to the last update by that many processes; the folder, and what `training.json` says.

    Whatever is wrong with the dataset or the model is said before anything is deleted or made.
    """
    from agentgym.experiments import imitation

    done = (run / "training.json").is_file() and not overwrite
    warnings = [] if done else imitation.warnings_about(recipe, data)
    with output.progress("training", recipe.training.updates, "updates") as on_progress:

        def begun(count: int, note: str) -> None:  # nothing is refused any more
            while warnings:
                output.warn(warnings.pop(0))
            on_progress(count, note)

        training = imitation.train(recipe, data, run, processes=processes, overwrite=overwrite, on_progress=begun)
    if done:
        output.print(f"{run}/model is trained")
    else:
        output.print(f"{run}/model: trained for {recipe.training.updates:,} updates; {training['frames']}")
    return {"run": str(run), "training": training}


def score(
    config: "EvaluationConfig",
    workers: int | None,
    engine: ExecutorName,
    overwrite: bool,
    output: CommandOutput,
    *,
    references: Path | None = None,
) -> dict[str, Any]:
    """Plays an evaluation and prints its scores; the folder, and what `evaluation.json` says."""
    from agentgym.evaluation import scoring

    with output.progress("evaluating", config.num_episodes, "episodes") as on_progress:
        again = overwrite or not (config.folder / "evaluation.json").is_file()
        found = scoring.evaluate(
            config,
            workers=workers,
            engine=engine,
            overwrite=overwrite,
            references=references,
            on_progress=on_progress,
        )
        if config.protocol.videos:
            on_progress(0, "videos")
            _write_videos(config, again, output)
    for note in config.notes:
        output.warn(note)
    if again:
        _tell_trackers(config, found, output)
    who = "agent" if config.policy.kind == "agent" else config.policy.name
    for task in found["tasks"]:
        output.print(score_table(task, who), soft_wrap=False)
    for line in summary(found):
        output.print(line)
    output.print(f"scores: {config.folder / 'evaluation.json'}")
    return {"folder": str(config.folder), "evaluation": found}


def _write_videos(config: "EvaluationConfig", again: bool, output: CommandOutput) -> None:
    """The evaluation's videos; without the packages that write them a warning, since the scores are there."""
    try:
        from agentgym.report.episode_videos import write_evaluation_videos
    except UserError as error:
        output.warn(f"no videos: {error}")
    else:
        write_evaluation_videos(config, again=again)


def _tell_trackers(config: "EvaluationConfig", found: dict[str, Any], output: CommandOutput) -> None:
    """A run's own scores go where its curves are; a tracker that does not start is a warning, no error."""
    run = config.policy.run
    if run is None or config.folder != run or not (run / "training.json").is_file():
        return
    from agentgym.report.tracked_scores import track_scores

    try:
        trackers = track_scores(run, found)
    except UserError as error:
        output.warn(f"scores are not tracked: {error}")
    else:
        if trackers:
            output.print(f"tracked: {', '.join(trackers)}")


def _told(recipe: DatasetRecipe, outcomes: dict[str, int]) -> dict[str, int]:
    """The outcomes for people: where no task says what success is, none has failed.

    An environment that may say it says it once an episode has succeeded.
    """
    from agentgym import environments

    if outcomes["solved"] or any(environments.declares_success(task) for task in recipe.suite.tasks):
        return outcomes
    rest = {name: count for name, count in outcomes.items() if name not in ("solved", "failed")}
    return {"played": outcomes["solved"] + outcomes["failed"], **rest}
