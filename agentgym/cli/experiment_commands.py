"""The verbs of an experiment's stages: record, check, train, score."""

from pathlib import Path
from typing import Annotated, Any

import typer

from agentgym import recipes
from agentgym.cli import stages
from agentgym.cli.console import CommandOutput, err
from agentgym.cli.data_commands import Recorded, Source, size
from agentgym.cli.options import (
    PROCESSES,
    Executor,
    Experiment,
    ExpertSeconds,
    ExpertSteps,
    Overwrite,
    Processes,
    References,
    Run,
    Set,
    Vector,
    Workers,
)
from agentgym.cli.verbs import verb
from agentgym.errors import UserError

app = typer.Typer()


@verb(app, trusts=True)
def collect(
    recipe: Annotated[str, typer.Argument(help="A dataset recipe's name, or a path to a TOML file.")],
    to: Annotated[Path | None, typer.Option(help="Where to record; data/NAME when not given.")] = None,
    workers: Workers = None,
    engine: Executor = PROCESSES,
    expert_seconds: ExpertSeconds = None,
    expert_steps: ExpertSteps = None,
    set_: Set = None,
    overwrite: Overwrite = False,
    *,
    output: CommandOutput,
) -> None:
    """Record an expert's demonstrations into a dataset."""
    budget = {"seconds": expert_seconds, "steps": expert_steps}
    limits = [f"budget.{name}={value}" for name, value in budget.items() if value is not None]
    resolved = recipes.load_dataset(recipe, [*(set_ or ()), *limits])
    path = to or Path("data") / resolved.name
    recordable = stages.check_recordable(resolved)
    recorded = stages.record(recordable, path, workers, engine, output, overwrite=overwrite)
    output.result(recorded)
    if not recorded["episodes"]:
        raise typer.Exit(1)


@verb(app, trusts=True)
def check(
    data: Source,
    repair: Annotated[
        bool, typer.Option("--repair", help="Keep every episode that is right; set the rest aside.")
    ] = False,
    replay: Annotated[int, typer.Option(min=0, help="Play that many random episodes again, and compare.")] = 0,
    *,
    output: CommandOutput,
) -> None:
    """Say whether a dataset is whole; what is damaged is named, and the exit code is 1."""
    from agentgym.data import store
    from agentgym.experts.replay import replay_episodes

    problems = store.repair(data) if repair else store.check(data)
    for problem in problems:
        (err.print if output.quiet else output.print)(problem, style="yellow" if repair else "red", soft_wrap=True)
    if problems and not repair:
        output.result({"data": str(data), "problems": problems})
        raise typer.Exit(1)
    if not any(data.glob("shard-*.arrow")):
        raise UserError(f"{data}: no episode could be kept; 'agentgym collect RECIPE --to {data}' records again")
    dataset = store.EpisodeDataset(data)
    replays = []
    with output.progress("replaying", min(replay, len(dataset)), "episodes") as on_progress:
        for replayed in replay_episodes(dataset, replay) if replay else ():
            replays.append(replayed)
            on_progress(1, "")
    differing = [str(result) for result in replays if result.problem]
    changes = sorted({line for result in replays for line in result.version_changes})
    output.print(f"{data}: whole; {size(dataset)}")
    if not len(dataset):
        counts = ", ".join(f"{outcome} {count:,}" for outcome, count in dataset.outcomes().items())
        output.warn(f"{data}: holds no episode, of these attempts: {counts}")
    if replays:
        same = "every frame is the recorded one, and so are rewards and ends"
        verdict = f"{len(differing)} episodes differ" if differing else same
        frames = sum(result.frames for result in replays)
        output.print(f"replayed {len(replays)} episodes, {frames:,} frames: {verdict}")
    for line in (*differing, *changes):
        (err.print if output.quiet else output.print)(line, style="yellow", soft_wrap=True)
    values = {"data": str(data), "episodes": len(dataset), "steps": int(dataset.lengths.sum())}
    counted = {"replayed": len(replays)} if replay else {}
    output.result({**values, **counted, "problems": differing, "lost": problems, "version_changes": changes})
    if differing or (replay and not replays):
        raise typer.Exit(1)


@verb(app, trusts=True)
def train(
    experiment: Experiment,
    data: Recorded = None,
    run: Run = None,
    processes: Processes = None,
    set_: Set = None,
    overwrite: Overwrite = False,
    *,
    output: CommandOutput,
) -> None:
    """Train the agent of an experiment on its recorded dataset."""
    resolved = recipes.load_experiment(experiment, set_ or ())
    folder = run or Path("runs") / resolved.name
    stages.check_data(resolved, data)
    resolved = stages.adopt(resolved, data)
    data = data or Path(resolved.trained_on[0].folder)
    from agentgym.training import distributed

    first = distributed.is_first()
    output = CommandOutput(output.quiet or not first, output.json and first)
    output.result(stages.train(resolved, data, folder, processes, output, overwrite=overwrite))


@verb(app, trusts=True)
def evaluate(
    who: Annotated[str, typer.Argument(help="A run, checkpoint or exported folder, an expert, or sb3:PATH.")],
    suite: Annotated[str | None, typer.Option(help="A suite's name or TOML file; a run's own when not given.")] = None,
    to: Annotated[Path | None, typer.Option(help="The folder; the run's, or evaluations/SUITE/WHO.")] = None,
    episodes: Annotated[int | None, typer.Option(help="Episodes a task; the recipe's when not given.")] = None,
    first_seed: Annotated[int | None, typer.Option(help="The first seed; the recipe's when not given.")] = None,
    environments: Annotated[int | None, typer.Option(help="Environments stepped at once.")] = None,
    vector: Annotated[Vector | None, typer.Option(help="Step them in turns, or each in its own process.")] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Draw actions instead of taking the likeliest.")] = False,
    expert: Annotated[
        str | None, typer.Option(help="Whose score is 1; who demonstrated the task, or a usual one, when not given.")
    ] = None,
    expert_seconds: Annotated[
        float | None, typer.Option(min=0.1, help="What an expert's episode may cost, in seconds of a core.")
    ] = None,
    references: References = None,
    data: Recorded = None,
    workers: Workers = None,
    engine: Executor = PROCESSES,
    overwrite: Overwrite = False,
    *,
    output: CommandOutput,
) -> None:
    """Score WHO, the random policy and the expert, on seeds that no demonstration used."""
    from agentgym.evaluation import protocol

    changes: dict[str, Any] = {"episodes": episodes, "first_seed": first_seed, "environments": environments}
    for name, value in changes.items():
        if value is not None and value < (0 if name == "first_seed" else 1):
            raise UserError(f"--{name.replace('_', '-')} {value}: expected at least {0 if name == 'first_seed' else 1}")
    config = protocol.configure_evaluation(
        who,
        suite=suite,
        to=to,
        data=data,
        expert=expert,
        expert_seconds=expert_seconds,
        deterministic=False if sample else None,
        vector=vector,
        **changes,
    )
    output.result(stages.score(config, workers, engine, overwrite, output, references=references))
