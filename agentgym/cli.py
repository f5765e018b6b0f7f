"""The command line: verbs, each a few lines of wiring. Errors that a user can mend are one line and exit code 2."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from agentgym import recipes
from agentgym.errors import UserError
from agentgym.recipes import DatasetRecipe, ExperimentRecipe

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Record demonstrations, train an agent foundation model on them, score it and look at it.",
)
INTERRUPTED = 130
out = Console()
err = Console(stderr=True)

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Delete what is in the output folder first.")]
Workers = Annotated[int | None, typer.Option(help="Processes; all cores when not given.")]
Data = Annotated[Path | None, typer.Option(help="The dataset's folder; data/NAME when not given.")]
Run = Annotated[Path | None, typer.Option("--run", help="The run's folder; runs/NAME when not given.")]


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
def list_recipes() -> None:
    """Show every recipe with one line each."""
    for kind, details in recipes.KINDS.items():
        table = Table(title=f"{details.folder}/ ({kind} recipes)", title_justify="left", box=None, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        for path in recipes.shipped(kind):
            table.add_row(path.stem, escape(recipes.describe(path)))
        out.print(table, "")


@app.command()
def collect(
    recipe: Annotated[str, typer.Argument(help="A dataset recipe's name, or a path to a TOML file.")],
    to: Annotated[Path | None, typer.Option(help="Where to record; data/NAME when not given.")] = None,
    workers: Workers = None,
    set_: Set = None,
    overwrite: Overwrite = False,
) -> None:
    """Record an expert's demonstrations into a dataset."""
    resolved = recipes.load_dataset(recipe, set_ or ())
    path = to or Path("data") / resolved.name
    _refuse_unrecordable(resolved)
    _make_room(path, overwrite)
    _collect(resolved, path, workers)


@app.command()
def check(data: Annotated[Path, typer.Argument(help="A dataset folder.")]) -> None:
    """Say whether a dataset is whole; what is damaged is named, and the exit code is 1."""
    from agentgym import store

    problems = store.check(data)
    for problem in problems:
        out.print(problem, style="red", markup=False, soft_wrap=True)
    if problems:
        raise typer.Exit(1)
    dataset = store.SampleDataset(data)
    out.print(f"{data}: whole; {len(dataset):,} episodes, {int(dataset.lengths.sum()):,} steps", highlight=False)


@app.command()
def train(
    experiment: Annotated[str, typer.Argument(help="An experiment recipe's name, or a path to a TOML file.")],
    data: Data = None,
    run: Run = None,
    set_: Set = None,
    overwrite: Overwrite = False,
) -> None:
    """Train the agent of an experiment on its recorded dataset."""
    resolved = recipes.load_experiment(experiment, set_ or ())
    folder = run or Path("runs") / resolved.name
    data = data or Path("data") / resolved.dataset.name
    _refuse_untrainable(resolved, data)
    _make_room(folder, overwrite)
    _train(resolved, data, folder)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    episodes: Annotated[int | None, typer.Option(help="Episodes a task; the recipe's when not given.")] = None,
    first_seed: Annotated[int | None, typer.Option(help="The first seed; the recipe's when not given.")] = None,
    environments: Annotated[int | None, typer.Option(help="Environments stepped at once.")] = None,
    workers: Workers = None,
    overwrite: Overwrite = False,
) -> None:
    """Score a run's agent beside the random policy and the expert, on seeds that no demonstration used."""
    from agentgym import runs

    changes = {"episodes": episodes, "first_seed": first_seed, "environments": environments}
    for name, value in changes.items():
        if value is not None and value < (0 if name == "first_seed" else 1):
            raise UserError(f"--{name.replace('_', '-')} {value}: expected at least {0 if name == 'first_seed' else 1}")
    recipe = runs.read_recipe(run)
    protocol = recipe.evaluation.model_copy(update={k: v for k, v in changes.items() if v is not None})
    _evaluate(run, recipe, protocol, workers, overwrite)


@app.command()
def report(run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write a run's report.html: scores, curves, videos, pictures and settings on one self-contained page."""
    from agentgym.report import write_report

    out.print(f"report: {write_report(run)}", highlight=False, soft_wrap=True)


@app.command()
def publish(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    to: Annotated[Path, typer.Option(help="The folder for the results.")] = Path("experiments"),
) -> None:
    """Write a run's results beside its recipe: numbers, table, figure; a README.md with marks is updated."""
    from agentgym import publish as publishing

    page = publishing.publish(run, to)
    document = Path("README.md")
    if document.is_file():
        publishing.update_results(document, page.stem, json.loads(page.with_suffix(".json").read_text()))
    out.print(f"results: {page}", highlight=False, soft_wrap=True)


@app.command("run")
def run_experiment(
    experiment: Annotated[str, typer.Argument(help="An experiment recipe's name, or a path to a TOML file.")],
    data: Data = None,
    run: Run = None,
    workers: Workers = None,
    set_: Set = None,
    overwrite: Overwrite = False,
) -> None:
    """Do all of it: record, train, evaluate, report. Goes on where it was interrupted."""
    resolved = recipes.load_experiment(experiment, set_ or ())
    data_folder = data or Path("data") / resolved.dataset.name
    folder = run or Path("runs") / resolved.name
    _refuse_unrecordable(resolved.dataset)
    for path in (data_folder, folder):
        _make_room(path, overwrite)
    page = folder / "report.html"
    done = page.is_file()
    _collect(resolved.dataset, data_folder, workers)
    _train(resolved, data_folder, folder)
    _evaluate(folder, resolved, resolved.evaluation, workers, overwrite=False)
    if done:
        out.print(f"{folder} is complete; nothing was done again", highlight=False)
    else:
        from agentgym.report import write_report

        write_report(folder)
    out.print(f"report: {page}", highlight=False, soft_wrap=True)


def _collect(recipe: DatasetRecipe, path: Path, workers: int | None) -> None:
    from agentgym import collection, store

    collection.refuse_other_recipe(path, recipe)
    if collection.is_complete(recipe, path):
        outcomes = store.SampleDataset(path).outcomes()
        out.print(f"{path} is complete", highlight=False)
    else:
        total = recipe.episodes * len(recipe.suite.tasks)
        with _bar("recording", total, "episodes") as advance:
            outcomes = collection.collect(recipe, path, workers=workers, advance=lambda count: advance(count, ""))
    counts = ", ".join(f"{outcome} {count:,}" for outcome, count in outcomes.items())
    out.print(f"{path}: {counts}", highlight=False)


def _train(recipe: ExperimentRecipe, data: Path, run: Path) -> None:
    from agentgym import runs

    runs.open_run(run, recipe)
    if (run / "training.json").is_file():
        out.print(f"{run}/model is trained", highlight=False)
        return
    with _bar("training", recipe.training.updates, "updates") as advance:
        runs.train_run(recipe, data, run, advance=advance)
    out.print(f"{run}/model: trained for {recipe.training.updates:,} updates", highlight=False)


def _evaluate(
    run: Path, recipe: ExperimentRecipe, protocol: recipes.EvaluationRecipe, workers: int | None, overwrite: bool
) -> None:
    from agentgym import runs

    with _bar("evaluating", 3 * protocol.episodes * len(recipe.dataset.suite.tasks), "episodes") as advance:
        evaluation = runs.evaluate_run(run, protocol, workers=workers, overwrite=overwrite, advance=advance)
    for task in evaluation["tasks"]:
        out.print(score_table(task))


def score_table(task: dict[str, Any]) -> Table:
    """The scores of one task of an evaluation.json: agent, random and expert, with their 95 % intervals."""
    title = f"{task['task']}, seeds {task['first_seed']} to {task['first_seed'] + task['episodes'] - 1}"
    table = Table(title=escape(title), title_justify="left")
    for heading in ("policy", "success [95 %]", "mean return [95 %]", "mean length"):
        table.add_column(heading, justify="left" if heading == "policy" else "right", no_wrap=True)
    for policy, score in (("agent", task), ("random", task["random"]), (task["expert"]["name"], task["expert"])):
        low, high = score["success_ci95"]
        return_low, return_high = score["return_ci95"]
        table.add_row(
            policy,
            escape(f"{score['success_rate']:.1%} [{low:.1%}, {high:.1%}]"),
            escape(f"{score['return_mean']:.3f} [{return_low:.3f}, {return_high:.3f}]"),
            f"{score['length_mean']:.1f}",
        )
    return table


def _refuse_unrecordable(recipe: DatasetRecipe) -> None:
    """Whatever is wrong with the recipe's environments or expert is said before anything is deleted or made."""
    from agentgym import collection

    collection.make_header(recipe)


def _refuse_untrainable(recipe: ExperimentRecipe, data: Path) -> None:
    """Whatever is wrong with the dataset is said before anything is deleted or made."""
    from agentgym import runs

    runs.open_dataset(data, recipe.dataset)


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


class _RateColumn(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f} {task.fields['unit']}/s" if speed else "", style="cyan")


@contextmanager
def _bar(description: str, total: int, unit: str) -> Iterator[Callable[[int, str], None]]:
    """A progress bar on stderr: count, rate, time left, note. It appears with the first step, not before an error."""
    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
    )
    progress = Progress(*columns, console=err, refresh_per_second=4)
    task = progress.add_task(description, total=total, unit=unit, note="")

    def advance(count: int, note: str) -> None:
        progress.start()
        progress.update(task, advance=count, note=note or progress.tasks[task].fields["note"])

    try:
        yield advance
    finally:
        if progress.live.is_started:
            progress.stop()
