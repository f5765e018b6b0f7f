"""The verbs of experts: training them, writing down what they solve, and imitating them in rounds."""

from pathlib import Path
from typing import Annotated

import typer

from agentgym import recipes
from agentgym.cli.console import CommandOutput
from agentgym.cli.options import PROCESSES, Executor, ExpertSeconds, ExpertSteps, Run, Set, Workers
from agentgym.cli.verbs import verb

app = typer.Typer()


@verb(app, "train-expert", trusts=True)
def train_expert(
    recipe: Annotated[str, typer.Argument(help="An expert recipe's name, or a path to a TOML file.")],
    task: Annotated[str | None, typer.Option(help="Only this task of the recipe's suite.")] = None,
    to: Annotated[Path, typer.Option(help="The folder of what is trained.")] = Path("runs/experts"),
    set_: Set = None,
    *,
    output: CommandOutput,
) -> None:
    """Train experts by PPO on an environment's own state: a network for each task, good as trained:PATH. Resumes."""
    resolved = recipes.load_expert(recipe, set_ or ())
    from agentgym.experts import ppo

    chosen = ppo.choose_tasks(resolved, task)
    made = {}
    for each in chosen:
        with output.progress(each.id, resolved.steps, "steps") as on_progress:
            path = ppo.train_expert(resolved, each, to, on_progress=on_progress)
        output.print(f"{each.id}: {path}")
        made[each.id] = str(path)
    output.result(made)


@verb(app, trusts=True)
def survey(
    expert: Annotated[str, typer.Argument(help="An expert's name; 'agentgym list experts' shows them.")],
    suite: Annotated[str, typer.Option(help="A suite's name or TOML file.")],
    episodes: Annotated[int, typer.Option(min=1, max=10_000_000, help="Episodes a task.")] = 50,
    first_seed: Annotated[int, typer.Option(min=0, max=2**62, help="The first seed.")] = 0,
    expert_seconds: ExpertSeconds = None,
    expert_steps: ExpertSteps = None,
    to: Annotated[Path, typer.Option(help="The folder for EXPERT.json and EXPERT.md.")] = Path("datasets/experts"),
    workers: Workers = None,
    engine: Executor = PROCESSES,
    *,
    output: CommandOutput,
) -> None:
    """Write down what an expert solves: its outcomes on every task of a suite. Resumes where it was interrupted."""
    from agentgym.evaluation import expert_survey as surveying

    tasks = recipes.load_suite(suite)
    limits = {"seconds": expert_seconds, "steps": expert_steps}
    budget = recipes.with_values(recipes.BudgetRecipe(), limits, prefix="expert_")
    seeds = range(first_seed, first_seed + episodes)
    with output.progress("surveying", len(tasks.tasks) * episodes, "episodes") as on_progress:
        found = surveying.survey(
            expert,
            tasks,
            seeds=seeds,
            budget=budget,
            to=to,
            workers=workers,
            engine=engine,
            on_progress=on_progress,
        )
    page = surveying.write_survey(found, to)
    output.print(f"outcomes: {page}")
    output.result({"page": str(page), **found})


@verb(app, trusts=True)
def dagger(
    recipe: Annotated[str, typer.Argument(help="A DAgger recipe's name, or a path to a TOML file.")],
    run: Run = None,
    compare_with: Annotated[
        list[Path] | None, typer.Option(help="Runs of other rounds, for the figure and the table.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="The folder of the results; the run's when not given.")] = None,
    workers: Workers = None,
    set_: Set = None,
    *,
    output: CommandOutput,
) -> None:
    """Record with the last agent acting, train it on everything, score it, repeat. Resumes where it was interrupted."""
    resolved = recipes.load_rounds(recipe, set_ or ())
    from agentgym.experiments import dagger
    from agentgym.report import dagger_page

    folder = run or Path("runs") / resolved.name
    others = {other.name: dagger.read_points(other) for other in compare_with or ()}
    with output.progress("rounds", resolved.rounds, "rounds") as on_progress:
        points = dagger.run_rounds(resolved, folder, workers=workers, on_progress=on_progress)
    measure = dagger.measure(resolved, points)
    page = dagger_page.write_results(resolved, {folder.name: points, **others}, measure, to or folder)
    output.print(f"{folder}: {measure.said(points[-1])} after {points[-1]['episodes']:,} episodes")
    output.print(f"results: {page}")
    output.result({"run": str(folder), "points": points, "results": str(page)})


@verb(app)
def transfer(
    recipe: Annotated[str, typer.Argument(help="A transfer recipe's name, or a path to a TOML file.")],
    run: Run = None,
    to: Annotated[Path | None, typer.Option(help="The folder of the results; the run's when not given.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=1024, help="How many trainings at once.")] = 1,
    set_: Set = None,
    *,
    output: CommandOutput,
) -> None:
    """Train pretrained agents and scratch on the same few demonstrations; one table, one figure. Resumes."""
    resolved = recipes.load_transfer(recipe, set_ or ())
    from agentgym.experiments import transfer as comparison
    from agentgym.report import transfer_page

    folder = run or Path("runs") / resolved.name
    with output.progress("training runs", len(comparison.trials_of(resolved)), "runs") as on_progress:
        points = comparison.run_transfer(resolved, folder, workers=workers, on_progress=on_progress)
    page = transfer_page.write_results(resolved, points, to or folder)
    for line in transfer_page.verdict(transfer_page.cells_of(points)):
        output.print(line)
    output.print(f"results: {page}")
    output.result({"run": str(folder), "results": str(page)})
