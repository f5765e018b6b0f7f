"""The verbs that do several stages in one: an experiment from nothing to its report, an agent trained further."""

from pathlib import Path
from typing import Annotated

import typer

from agentgym import recipes
from agentgym.cli import stages
from agentgym.cli.console import CommandOutput
from agentgym.cli.options import (
    PROCESSES,
    Data,
    Executor,
    Experiment,
    Overwrite,
    Processes,
    References,
    Run,
    Set,
    Workers,
)
from agentgym.cli.verbs import verb

app = typer.Typer()


@verb(app, trusts=True)
def finetune(
    recipe: Annotated[str, typer.Argument(help="A fine-tuning recipe's name, or a path to a TOML file.")],
    run: Run = None,
    compare_with: Annotated[list[Path] | None, typer.Option(help="Runs whose curves the figure shows too.")] = None,
    to: Annotated[Path | None, typer.Option(help="The folder of the results; the run's when not given.")] = None,
    set_: Set = None,
    *,
    output: CommandOutput,
) -> None:
    """Train an agent further by reinforcement learning (PPO). Resumes where it was interrupted."""
    from agentgym.experiments import ppo
    from agentgym.report import ppo_page

    resolved = recipes.load_finetuning(recipe, set_ or ())
    folder = run or Path("runs") / resolved.name
    others = {other.name: ppo.read_points(other) for other in compare_with or ()}
    with output.progress("fine-tuning", resolved.ppo.steps, "steps") as on_progress:
        curve = ppo.finetune(resolved, folder, on_progress=on_progress)
    measure = ppo.measure(resolved, curve)
    page = ppo_page.write_results(resolved, {folder.name: curve, **others}, measure, to or folder)
    first, last = curve[0], curve[-1]
    output.print(
        f"{folder}: {measure.said(first)} before, {measure.text(measure.of(last))} after {last['steps']:,} "
        f"steps and {last['cpu_seconds'] / 60:.1f} minutes of a core; results: {page}",
    )
    output.result({"run": str(folder), "curve": curve, "results": str(page)})


@verb(app, "run", trusts=True)
def run_experiment(
    experiment: Experiment,
    data: Data = None,
    run: Run = None,
    workers: Workers = None,
    processes: Processes = None,
    engine: Executor = PROCESSES,
    references: References = None,
    set_: Set = None,
    overwrite: Overwrite = False,
    *,
    output: CommandOutput,
) -> None:
    """Do all of it: record, train, evaluate, report. Resumes where it was interrupted."""
    resolved = recipes.load_experiment(experiment, set_ or ())
    folder = run or Path("runs") / resolved.name
    page = folder / "report.html"
    if references is not None:  # before anything is recorded and trained
        from agentgym.evaluation.references import check_references

        check_references(references)
    recordables = stages.check_all_recordable(resolved, data)
    again = stages.choose_what_goes(resolved, recordables, folder, overwrite, output)
    from agentgym.evaluation import protocol

    done = page.is_file() and not overwrite
    recorded = [
        stages.record(each, path, workers, engine, output, overwrite=path in again)
        for path, each in recordables.items()
    ]
    resolved = stages.adopt(resolved)
    data_folder = next(iter(recordables), Path())
    found = {
        "collect": recorded[0] if len(recorded) == 1 else recorded,
        "train": stages.train(resolved, data_folder, folder, processes, output, overwrite=overwrite),
        "evaluate": stages.score(
            protocol.configure_evaluation(str(folder)), workers, engine, False, output, references=references
        ),
        "report": str(page),
    }
    if done:
        output.print(f"{folder} is complete; nothing was done again")
    else:
        from agentgym.report import write_report

        write_report(folder)
    output.print(f"report: {page}")
    output.result(found)
