"""The command line: verbs, each a few lines of wiring. Errors that a user can mend are one line and exit code 2."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.markup import escape
from rich.table import Table

from agentgym import data_verbs, expert_verbs, play_verbs, recipes
from agentgym.data_verbs import Recorded, Source, size
from agentgym.engines import EngineName
from agentgym.errors import UserError, did_you_mean
from agentgym.options import (
    PROCESSES,
    Data,
    Engine,
    Json,
    Overwrite,
    Processes,
    Quiet,
    Run,
    Set,
    Trust,
    Vector,
    Workers,
)
from agentgym.recipes import DatasetRecipe, ExperimentRecipe
from agentgym.tables import comparison_table, score_table, summary
from agentgym.talk import Talk, err, out

if TYPE_CHECKING:
    from agentgym.plans import Plan
    from agentgym.store import Header

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Record demonstrations, train an agent foundation model on them, score it and look at it.",
)
INTERRUPTED = 130
for more in (data_verbs, expert_verbs, play_verbs):
    app.add_typer(more.app)


def main() -> None:
    """The entry point of the `agentgym` command."""
    # Threads that spin while they wait starve each other as soon as anything else runs on the same cores: a training
    # slowed down nine times was seen. Read by OpenMP when torch is imported, which no verb has done yet.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = app(standalone_mode=False)
    except UserError as error:
        err.print(f"agentgym: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        code = 2
    except typer._click.exceptions.ClickException as error:
        err.print(f"agentgym: {error.format_message()}", style="red", highlight=False, markup=False, soft_wrap=True)
        code = error.exit_code
    if code == INTERRUPTED:  # what Typer makes of Ctrl-C
        err.print("agentgym: interrupted; the same command goes on from here", highlight=False)
    sys.exit(code or 0)


@app.command("list")
def list_recipes(
    what: Annotated[str | None, typer.Argument(help="envs, datasets, experiments or experts; else all.")] = None,
) -> None:
    """Show every recipe and every expert with one line each."""
    kinds = {details.folder: kind for kind, details in recipes.KINDS.items()}
    known = [*kinds, "experts"]
    if what not in (None, *known):
        hint = did_you_mean(str(what), known) or f"; known: {', '.join(known)}"
        raise UserError(f"there is no list of '{what}'{hint}")
    for name in [what] if what else known:
        title = f"{name}/ ({kinds[name]} recipes)" if name in kinds else "experts (agentgym collect, evaluate, survey)"
        table = Table(title=title, title_justify="left", box=None, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        for row in _recipe_lines(kinds[name]) if name in kinds else _expert_lines():
            table.add_row(*map(escape, row))
        out.print(table, "")


def _recipe_lines(kind: str) -> Iterator[tuple[str, str]]:
    return ((path.stem, recipes.describe(path)) for path in recipes.shipped(kind))


def _expert_lines() -> Iterator[tuple[str, str]]:
    from agentgym import experts

    by_name = {name: description for name, (_, description) in experts.EXPERTS.items()}
    return iter((by_name | experts.BY_PATH).items())


@app.command()
def collect(
    recipe: Annotated[str, typer.Argument(help="A dataset recipe's name, or a path to a TOML file.")],
    to: Annotated[Path | None, typer.Option(help="Where to record; data/NAME when not given.")] = None,
    workers: Workers = None,
    engine: Engine = PROCESSES,
    trust: Trust = False,
    set_: Set = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Record an expert's demonstrations into a dataset."""
    resolved = recipes.load_dataset(recipe, set_ or ())
    path = to or Path("data") / resolved.name
    recordable = _check_recordable(resolved, trust)
    _make_room(path, overwrite)
    talk = Talk(quiet, json_)
    talk.result(_collect(recordable, path, workers, engine, talk))


@app.command()
def check(
    data: Source,
    repair: Annotated[bool, typer.Option("--repair", help="Keep the longest good prefix; set the rest aside.")] = False,
    replay: Annotated[int, typer.Option(min=0, help="Replay that many random episodes, frame by frame.")] = 0,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Say whether a dataset is whole; what is damaged is named, and the exit code is 1."""
    from agentgym import collection, store

    talk = Talk(quiet, json_)
    problems = store.repair(data) if repair else store.check(data)
    for problem in problems:
        (err.print if quiet else talk.say)(problem, style="yellow" if repair else "red", markup=False, soft_wrap=True)
    if problems and not repair:
        talk.result({"data": str(data), "problems": problems})
        raise typer.Exit(1)
    if not any(data.glob("shard-*.arrow")):
        raise UserError(f"{data}: no episode could be kept; 'agentgym collect RECIPE --to {data}' records again")
    dataset = store.SampleDataset(data)
    replays = []
    with talk.bar("replaying", min(replay, len(dataset)), "episodes") as advance:
        for replayed in collection.replay_episodes(dataset, replay) if replay else ():
            replays.append(replayed)
            advance(1, "")
    differing = [str(result) for result in replays if result.problem]
    changes = sorted({line for result in replays for line in result.version_changes})
    talk.say(f"{data}: whole; {size(dataset)}")
    if replay:
        verdict = f"{len(differing)} episodes differ" if differing else "every frame is the recorded one"
        talk.say(f"replayed {len(replays)} episodes, {sum(result.frames for result in replays):,} frames: {verdict}")
    for line in (*differing, *changes):
        (err.print if quiet else talk.say)(line, style="yellow", markup=False, soft_wrap=True)
    values = {"data": str(data), "episodes": len(dataset), "steps": int(dataset.lengths.sum())}
    talk.result({**values, "problems": differing, "lost": problems, "version_changes": changes})
    if differing:
        raise typer.Exit(1)


@app.command()
def train(
    experiment: Annotated[str, typer.Argument(help="An experiment recipe's name, or a path to a TOML file.")],
    data: Recorded = None,
    run: Run = None,
    processes: Processes = None,
    set_: Set = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Train the agent of an experiment on its recorded dataset."""
    resolved = recipes.load_experiment(experiment, set_ or ())
    folder = run or Path("runs") / resolved.name
    if data and not resolved.mixture:
        from agentgym import runs

        resolved = runs.adopt_dataset(resolved, data)
    data = data or Path("data") / resolved.dataset.name
    _refuse_untrainable(resolved, data)
    from agentgym import launching

    first = launching.is_first()
    if first:
        _make_room(folder, overwrite)
    launching.wait()
    talk = Talk(quiet or not first, json_ and first)
    talk.result(_train(resolved, data, folder, processes, talk))


@app.command()
def evaluate(
    who: Annotated[str, typer.Argument(help="A run, checkpoint or exported folder, an expert, or sb3:PATH.")],
    suite: Annotated[str | None, typer.Option(help="A suite's name or TOML file; a run's own when not given.")] = None,
    to: Annotated[Path | None, typer.Option(help="The folder; the run's, or evaluations/SUITE/WHO.")] = None,
    episodes: Annotated[int | None, typer.Option(help="Episodes a task; the recipe's when not given.")] = None,
    first_seed: Annotated[int | None, typer.Option(help="The first seed; the recipe's when not given.")] = None,
    environments: Annotated[int | None, typer.Option(help="Environments stepped at once.")] = None,
    vector: Annotated[Vector | None, typer.Option(help="Step them in turns, or each in its own process.")] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Draw actions instead of taking the likeliest.")] = False,
    expert: Annotated[str | None, typer.Option(help="Whose score is 1; the run's, or the BabyAI bot.")] = None,
    data: Recorded = None,
    trust: Trust = False,
    workers: Workers = None,
    engine: Engine = PROCESSES,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Score WHO beside the random policy and the expert, on seeds that no demonstration used."""
    from agentgym import plans

    changes = {"episodes": episodes, "first_seed": first_seed, "environments": environments}
    for name, value in changes.items():
        if value is not None and value < (0 if name == "first_seed" else 1):
            raise UserError(f"--{name.replace('_', '-')} {value}: expected at least {0 if name == 'first_seed' else 1}")
    plan = plans.make_plan(
        who,
        suite=suite,
        to=to,
        data=data,
        expert=expert,
        trust=trust,
        deterministic=False if sample else None,
        vector=vector,
        **changes,
    )
    talk = Talk(quiet, json_)
    talk.result(_evaluate(plan, workers, engine, overwrite, talk))


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Two or more run or evaluation folders; the first is A.")],
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Say how much better the first evaluation is than each of the others, level by level, and whether by chance."""
    from agentgym import comparison

    if len(folders) < 2:
        raise UserError(f"{folders[0]}: name at least two folders to compare")
    compared = [comparison.compare(folders[0], other) for other in folders[1:]]
    talk = Talk(quiet, json_)
    for each in compared:
        talk.say(comparison_table(each), soft_wrap=False)
        if each.left_out:
            talk.say(f"left out, as only one of them played it: {', '.join(each.left_out)}", markup=False)
        talk.say(each.sentence, markup=False)
    talk.result({"comparisons": [each.to_json() for each in compared]})


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="A run folder; two or more are compared on one page.")],
    to: Annotated[Path | None, typer.Option(help="The page that compares runs; comparison.html if not given.")] = None,
    films: Annotated[int | None, typer.Option(min=1, help="Film that many episodes of the evaluation anew.")] = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Write a run's report.html (scores, curves, films, pictures, settings), or one page that compares runs."""
    from agentgym import report as pages

    talk = Talk(quiet, json_)
    if len(folders) == 1:
        if to:
            raise UserError(f"--to {to}: is for the page that compares runs; a run's report is in its folder")
        if films:
            _film(folders[0], films, talk)
        page = pages.write_report(folders[0])
    else:
        if films:
            raise UserError("--films: is for the report of one run; name one run folder")
        page = pages.write_comparison(folders, to or Path("comparison.html"))
    talk.say(f"report: {page}", markup=False)
    talk.result({"report": str(page)})


@app.command()
def publish(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    to: Annotated[Path, typer.Option(help="The folder for the results.")] = Path("experiments"),
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Write a run's results beside its recipe: numbers, table, figure; a README.md with marks is updated."""
    from agentgym import publish as publishing

    page = publishing.publish(run, to)
    document = Path("README.md")
    if document.is_file():
        publishing.update_results(document, page.stem, json.loads(page.with_suffix(".json").read_text()))
        publishing.update_scores(document, to)
    talk = Talk(quiet, json_)
    talk.say(f"results: {page}", markup=False)
    talk.result({"results": str(page)})


@app.command()
def finetune(
    recipe: Annotated[str, typer.Argument(help="A fine-tuning recipe's name, or a path to a TOML file.")],
    run: Run = None,
    beside: Annotated[list[Path] | None, typer.Option(help="Runs whose curves the figure shows too.")] = None,
    to: Annotated[Path | None, typer.Option(help="The folder of the results; the run's when not given.")] = None,
    set_: Set = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Train an agent further by reinforcement learning (PPO). Goes on where it was interrupted."""
    from agentgym import finetuning, finetuning_page

    resolved = recipes.load_finetuning(recipe, set_ or ())
    folder, talk = run or Path("runs") / resolved.name, Talk(quiet, json_)
    others = {other.name: finetuning.read_points(other) for other in beside or ()}
    with talk.bar("fine-tuning", resolved.ppo.steps, "steps") as advance:
        curve = finetuning.finetune(resolved, folder, advance=advance)
    page = finetuning_page.write_results(resolved, {folder.name: curve, **others}, to or folder)
    first, last = curve[0], curve[-1]
    talk.say(
        f"{folder}: success {first['success_rate']:.1%} before, {last['success_rate']:.1%} after {last['steps']:,} "
        f"steps and {last['cpu_seconds'] / 60:.1f} minutes of a core; results: {page}",
        markup=False,
    )
    talk.result({"run": str(folder), "curve": curve, "results": str(page)})


@app.command("run")
def run_experiment(
    experiment: Annotated[str, typer.Argument(help="An experiment recipe's name, or a path to a TOML file.")],
    data: Data = None,
    run: Run = None,
    workers: Workers = None,
    processes: Processes = None,
    engine: Engine = PROCESSES,
    trust: Trust = False,
    set_: Set = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Do all of it: record, train, evaluate, report. Goes on where it was interrupted."""
    resolved = recipes.load_experiment(experiment, set_ or ())
    data_folder = data or Path("data") / resolved.dataset.name
    folder = run or Path("runs") / resolved.name
    recordable = _check_recordable(resolved.dataset, trust)
    for path in (data_folder, folder):
        _make_room(path, overwrite)
    from agentgym import plans

    talk, page = Talk(quiet, json_), folder / "report.html"
    done = page.is_file()
    found = {
        "collect": _collect(recordable, data_folder, workers, engine, talk),
        "train": _train(resolved, data_folder, folder, processes, talk),
        "evaluate": _evaluate(plans.make_plan(str(folder)), workers, engine, overwrite=False, talk=talk),
        "report": str(page),
    }
    if done:
        talk.say(f"{folder} is complete; nothing was done again", markup=False)
    else:
        from agentgym.report import write_report

        write_report(folder)
    talk.say(f"report: {page}", markup=False)
    talk.result(found)


class _Recordable(NamedTuple):
    """A recipe that was found good: the header of its dataset, and what makes the agent of its DAgger."""

    recipe: DatasetRecipe
    header: "Header"
    make_agent: Any


def _collect(
    recordable: _Recordable, path: Path, workers: int | None, engine: EngineName, talk: Talk
) -> dict[str, Any]:
    from agentgym import collection, store

    recipe, header, make_agent = recordable
    collection.refuse_other_recipe(path, recipe)
    if collection.is_complete(recipe, path):
        outcomes = store.SampleDataset(path).outcomes()
        talk.say(f"{path} is complete", markup=False)
    else:
        for doubt in collection.doubts(recipe):
            talk.warn(doubt)
        total = recipe.episodes * len(recipe.suite.tasks)
        with talk.bar("recording", total, "episodes") as advance:
            outcomes = collection.collect(
                recipe,
                path,
                workers=workers,
                engine=engine,
                trust=True,  # or it would not be recordable
                advance=lambda count: advance(count, ""),
                header=header,
                make_agent=make_agent,
            )
    counts = ", ".join(f"{outcome} {count:,}" for outcome, count in outcomes.items())
    talk.say(f"{path}: {counts}", markup=False)
    return {"data": str(path), "outcomes": outcomes}


def _agent_maker(recipe: DatasetRecipe) -> Any:
    """What makes the agent of the recipe's DAgger. Raises UserError when it does not fit."""
    if recipe.dagger is None:
        return None  # without importing torch
    from agentgym.dagger import agent_maker

    return agent_maker(recipe)


def _train(recipe: ExperimentRecipe, data: Path, run: Path, processes: int | None, talk: Talk) -> dict[str, Any]:
    from agentgym import launching, runs

    count = launching.choose(processes, recipe.training.batch_size)
    if launching.is_first():
        runs.open_run(run, recipe)
    if (run / "training.json").is_file():
        talk.say(f"{run}/model is trained", markup=False)
    else:
        with (
            talk.bar("training", recipe.training.updates, "updates") as advance,
            launching.beside(count, runs.train_run, recipe, data, run),
        ):
            runs.train_run(recipe, data, run, advance=advance)
        talk.say(f"{run}/model: trained for {recipe.training.updates:,} updates", markup=False)
    launching.wait()
    return {"run": str(run), "training": runs.read_json(run / "training.json")}


def _evaluate(plan: "Plan", workers: int | None, engine: EngineName, overwrite: bool, talk: Talk) -> dict[str, Any]:
    from agentgym import evaluation

    with talk.bar("evaluating", plan.num_episodes, "episodes") as advance:
        found = evaluation.evaluate(plan, workers=workers, engine=engine, overwrite=overwrite, advance=advance)
    who = "agent" if plan.player.kind == "agent" else plan.player.name
    for task in found["tasks"]:
        talk.say(score_table(task, who), soft_wrap=False)
    for line in summary(found):
        talk.say(line, markup=False)
    talk.say(f"scores: {plan.folder / 'evaluation.json'}", markup=False)
    return {"folder": str(plan.folder), "evaluation": found}


def _film(run: Path, count: int, talk: Talk) -> None:
    """Films that many of a run's evaluated episodes."""
    from agentgym import films, runs
    from agentgym.episodes import Episode
    from agentgym.policy import find_checkpoint

    recipe = runs.read_recipe(run)
    if not (run / "evaluation.json").is_file():
        raise UserError(f"{run}: is not evaluated yet; 'agentgym evaluate {run}' plays the episodes to film")
    played = [Episode.from_json(values) for values in runs.read_json(run / "episodes.json")["agent"]]
    chosen = films.choose(played, count)
    with talk.bar("filming", len(chosen), "films") as advance:
        films.write_films(
            run / "videos", chosen, recipe.dataset.suite, find_checkpoint(run), lambda count: advance(count, "")
        )


def _check_recordable(recipe: DatasetRecipe, trust: bool) -> _Recordable:
    """Whatever is wrong with the recipe's environments, expert or agent is said before anything is deleted or made."""
    from agentgym import collection, experts

    experts.refuse_untrusted(recipe.expert, trust=trust)
    return _Recordable(recipe, collection.make_header(recipe), _agent_maker(recipe))


def _refuse_untrainable(recipe: ExperimentRecipe, data: Path) -> None:
    """Whatever is wrong with the dataset is said before anything is deleted or made."""
    from agentgym import parts

    parts.open_parts(data, recipe)


def _make_room(path: Path, overwrite: bool) -> None:
    """With --overwrite, the folder is gone; nothing outside of what agentgym writes is ever deleted."""
    if not overwrite or not path.exists():
        return
    ours = ("recipe.json", "manifest.json", ".lock")
    if not path.is_dir() or not (any((path / name).is_file() for name in ours) or not any(path.iterdir())):
        raise UserError(
            f"{path}: is neither a dataset nor a run, so --overwrite does not delete it; choose another folder"
        )
    shutil.rmtree(path)
