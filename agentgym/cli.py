"""The command line: verbs, each a few lines of wiring. Errors that a user can mend are one line and exit code 2."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from agentgym import data_verbs, recipes
from agentgym.data_verbs import size
from agentgym.errors import UserError, did_you_mean
from agentgym.recipes import DatasetRecipe, ExperimentRecipe
from agentgym.talk import Json, Quiet, Talk, err, out

if TYPE_CHECKING:
    from agentgym.comparison import Comparison
    from agentgym.evaluation import Plan

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Record demonstrations, train an agent foundation model on them, score it and look at it.",
)
INTERRUPTED = 130
LOCAL = "127.0.0.1"
app.add_typer(data_verbs.app)
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Delete what is in the output folder first.")]
Workers = Annotated[int | None, typer.Option(help="Processes; all cores when not given.")]
Data = Annotated[Path | None, typer.Option(help="The dataset's folder; data/NAME when not given.")]
Run = Annotated[Path | None, typer.Option("--run", help="The run's folder; runs/NAME when not given.")]
Trust = Annotated[bool, typer.Option("--trust", help="Load a file that may run code: sb3:PATH.")]


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

    return ((name, description) for name, (_, description) in experts.EXPERTS.items())


@app.command()
def collect(
    recipe: Annotated[str, typer.Argument(help="A dataset recipe's name, or a path to a TOML file.")],
    to: Annotated[Path | None, typer.Option(help="Where to record; data/NAME when not given.")] = None,
    workers: Workers = None,
    trust: Trust = False,
    set_: Set = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Record an expert's demonstrations into a dataset."""
    resolved = recipes.load_dataset(recipe, set_ or ())
    path = to or Path("data") / resolved.name
    _refuse_unrecordable(resolved, trust)
    _make_room(path, overwrite)
    talk = Talk(quiet, json_)
    talk.result(_collect(resolved, path, workers, trust, talk))


@app.command()
def check(
    data: Annotated[Path, typer.Argument(help="A dataset folder.")],
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
    data: Data = None,
    run: Run = None,
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
    _make_room(folder, overwrite)
    talk = Talk(quiet, json_)
    talk.result(_train(resolved, data, folder, talk))


@app.command("train-expert")
def train_expert(
    recipe: Annotated[str, typer.Argument(help="An expert recipe's name, or a path to a TOML file.")],
    task: Annotated[str | None, typer.Option(help="This task of the recipe's suite alone.")] = None,
    to: Annotated[Path, typer.Option(help="The folder of the zips.")] = Path("runs/experts"),
    set_: Set = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Train experts with Stable-Baselines3 on an environment's own state: a zip for each task, good as sb3:PATH."""
    resolved = recipes.load_expert(recipe, set_ or ())
    from agentgym import expert_training

    talk, chosen = Talk(quiet, json_), expert_training.choose_tasks(resolved, task)
    made = {}
    for each in chosen:
        with talk.bar(each.id, resolved.steps, "steps") as advance:
            path = expert_training.train_expert(resolved, each, to, advance=advance)
        talk.say(f"{each.id}: {path}", markup=False)
        made[each.id] = str(path)
    talk.result(made)


@app.command()
def evaluate(
    who: Annotated[str, typer.Argument(help="A run, checkpoint or exported folder, an expert, or sb3:PATH.")],
    suite: Annotated[str | None, typer.Option(help="A suite's name or TOML file; a run's own when not given.")] = None,
    to: Annotated[Path | None, typer.Option(help="The folder; the run's, or evaluations/SUITE/WHO.")] = None,
    episodes: Annotated[int | None, typer.Option(help="Episodes a task; the recipe's when not given.")] = None,
    first_seed: Annotated[int | None, typer.Option(help="The first seed; the recipe's when not given.")] = None,
    environments: Annotated[int | None, typer.Option(help="Environments stepped at once.")] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Draw actions instead of taking the likeliest.")] = False,
    expert: Annotated[str | None, typer.Option(help="Whose score is 1; the run's, or the BabyAI bot.")] = None,
    data: Annotated[Path | None, typer.Option(help="The dataset that the agent was trained on.")] = None,
    trust: Trust = False,
    workers: Workers = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Score WHO beside the random policy and the expert, on seeds that no demonstration used."""
    from agentgym import evaluation

    changes = {"episodes": episodes, "first_seed": first_seed, "environments": environments}
    for name, value in {**changes, "workers": workers}.items():
        if value is not None and value < (0 if name == "first_seed" else 1):
            raise UserError(f"--{name.replace('_', '-')} {value}: expected at least {0 if name == 'first_seed' else 1}")
    plan = evaluation.make_plan(
        who,
        suite=suite,
        to=to,
        data=data,
        expert=expert,
        trust=trust,
        deterministic=False if sample else None,
        **changes,
    )
    talk = Talk(quiet, json_)
    talk.result(_evaluate(plan, workers, overwrite, talk))


@app.command()
def survey(
    expert: Annotated[str, typer.Argument(help="An expert's name; 'agentgym list experts' shows them.")],
    suite: Annotated[str, typer.Option(help="A suite's name or TOML file.")],
    episodes: Annotated[int, typer.Option(min=1, help="Episodes a task.")] = 50,
    first_seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    seconds: Annotated[float, typer.Option(min=0.1, help="After how long an episode is given up.")] = 20.0,
    steps: Annotated[int | None, typer.Option(min=1, help="After how many steps an episode is given up.")] = None,
    to: Annotated[Path, typer.Option(help="The folder for EXPERT.json and EXPERT.md.")] = Path("datasets/experts"),
    workers: Workers = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Write down what an expert solves: its outcomes on every task of a suite."""
    from agentgym import survey as surveying

    tasks = recipes.load_suite(suite)
    talk, budget = Talk(quiet, json_), recipes.BudgetRecipe(seconds=seconds, steps=steps)
    seeds = range(first_seed, first_seed + episodes)
    with talk.bar("surveying", len(tasks.tasks) * episodes, "episodes") as advance:
        found = surveying.survey(expert, tasks, seeds=seeds, budget=budget, workers=workers, advance=advance)
    page = surveying.write_survey(found, to)
    talk.say(f"outcomes: {page}", markup=False)
    talk.result({"page": str(page), **found})


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
    talk = Talk(quiet, json_)
    talk.say(f"results: {page}", markup=False)
    talk.result({"results": str(page)})


@app.command()
def finetune(
    recipe: Annotated[str, typer.Argument(help="A fine-tuning recipe's name, or a path to a TOML file.")],
    run: Run = None,
    beside: Annotated[list[Path] | None, typer.Option(help="Runs whose curves the figure shows too.")] = None,
    set_: Set = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Train an agent further by reinforcement learning (PPO). Goes on where it was interrupted."""
    from agentgym import finetuning

    resolved = recipes.load_finetuning(recipe, set_ or ())
    folder, talk = run or Path("runs") / resolved.name, Talk(quiet, json_)
    others = {other.name: finetuning.read_points(other) for other in beside or ()}
    with talk.bar("fine-tuning", resolved.ppo.steps, "steps") as advance:
        curve = finetuning.finetune(resolved, folder, advance=advance)
    figure = finetuning.draw({folder.name: curve, **others}, folder)
    first, last = curve[0], curve[-1]
    talk.say(
        f"{folder}: success {first['success_rate']:.1%} before, {last['success_rate']:.1%} after {last['steps']:,} "
        f"steps and {last['cpu_seconds'] / 60:.1f} minutes of a core; curves: {figure}",
        markup=False,
    )
    talk.result({"run": str(folder), "curve": curve, "figure": str(figure)})


@app.command()
def playground(
    run: Annotated[Path | None, typer.Argument(help="A run or checkpoint folder; people alone without it.")] = None,
    suite: Annotated[str | None, typer.Option(help="A suite's name or TOML file; the run's own if not given.")] = None,
    record: Annotated[Path | None, typer.Option(help="The dataset that episodes are kept in.")] = None,
    host: Annotated[str, typer.Option(help="Where to listen; another host than the loopback needs a token.")] = LOCAL,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8421,
    max_sessions: Annotated[int, typer.Option(min=1, help="Visitors at once.")] = 8,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the address without opening a browser.")] = False,
) -> None:
    """Open a local page: watch the agent act live, instruct it, take over, keep episodes as demonstrations."""
    from agentgym import playground as pages

    def announce(address: str) -> None:
        Talk(quiet=False, json=False).say(f"playground: {address} (Ctrl-C ends it)", markup=False)
        if not no_open:
            typer.launch(address)

    pages.serve(
        pages.offer(run, suite=suite, record=record, max_sessions=max_sessions), host=host, port=port, announce=announce
    )


@app.command()
def play(
    task: Annotated[str, typer.Argument(help="A task id, such as BabyAI-GoToRedBall-v0.")],
    record: Annotated[Path | None, typer.Option(help="The dataset that episodes are kept in.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The first level; drawn when not given.")] = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Play a task in a window with the keyboard; solved episodes, and those kept with K, become demonstrations."""
    from agentgym.play import play_in_window

    talk, kept = Talk(quiet, json_), play_in_window(task, record=record, seed=seed)
    if record:
        talk.say(f"{record}: kept {kept:,} episodes", markup=False)
    talk.result({"data": str(record) if record else None, "kept": kept})


@app.command("run")
def run_experiment(
    experiment: Annotated[str, typer.Argument(help="An experiment recipe's name, or a path to a TOML file.")],
    data: Data = None,
    run: Run = None,
    workers: Workers = None,
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
    _refuse_unrecordable(resolved.dataset, trust)
    for path in (data_folder, folder):
        _make_room(path, overwrite)
    from agentgym import evaluation

    talk, page = Talk(quiet, json_), folder / "report.html"
    done = page.is_file()
    found = {
        "collect": _collect(resolved.dataset, data_folder, workers, trust, talk),
        "train": _train(resolved, data_folder, folder, talk),
        "evaluate": _evaluate(evaluation.make_plan(str(folder)), workers, overwrite=False, talk=talk),
        "report": str(page),
    }
    if done:
        talk.say(f"{folder} is complete; nothing was done again", markup=False)
    else:
        from agentgym.report import write_report

        write_report(folder)
    talk.say(f"report: {page}", markup=False)
    talk.result(found)


def _collect(recipe: DatasetRecipe, path: Path, workers: int | None, trust: bool, talk: Talk) -> dict[str, Any]:
    from agentgym import collection, store

    collection.refuse_other_recipe(path, recipe)
    if collection.is_complete(recipe, path):
        outcomes = store.SampleDataset(path).outcomes()
        talk.say(f"{path} is complete", markup=False)
    else:
        for doubt in collection.doubts(recipe):
            talk.warn(doubt)
        total = recipe.episodes * len(recipe.suite.tasks)
        make_agent = _agent_maker(recipe)
        with talk.bar("recording", total, "episodes") as advance:
            outcomes = collection.collect(
                recipe,
                path,
                workers=workers,
                trust=trust,
                advance=lambda count: advance(count, ""),
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


def _train(recipe: ExperimentRecipe, data: Path, run: Path, talk: Talk) -> dict[str, Any]:
    from agentgym import runs

    runs.open_run(run, recipe)
    if (run / "training.json").is_file():
        talk.say(f"{run}/model is trained", markup=False)
    else:
        with talk.bar("training", recipe.training.updates, "updates") as advance:
            runs.train_run(recipe, data, run, advance=advance)
        talk.say(f"{run}/model: trained for {recipe.training.updates:,} updates", markup=False)
    return {"run": str(run), "training": runs.read_json(run / "training.json")}


def _evaluate(plan: "Plan", workers: int | None, overwrite: bool, talk: Talk) -> dict[str, Any]:
    from agentgym import evaluation

    with talk.bar("evaluating", plan.num_episodes, "episodes") as advance:
        found = evaluation.evaluate(plan, workers=workers, overwrite=overwrite, advance=advance)
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
    from agentgym.policy import find_checkpoint
    from agentgym.rollouts import Episode

    recipe = runs.read_recipe(run)
    if not (run / "evaluation.json").is_file():
        raise UserError(f"{run}: is not evaluated yet; 'agentgym evaluate {run}' plays the episodes to film")
    played = [Episode.from_json(values) for values in runs.read_json(run / "episodes.json")["agent"]]
    chosen = films.choose(played, count)
    with talk.bar("filming", len(chosen), "films") as advance:
        films.write_films(
            run / "videos", chosen, recipe.dataset.suite, find_checkpoint(run), lambda count: advance(count, "")
        )


def summary(evaluation: dict[str, Any]) -> Iterator[str]:
    """What an evaluation.json says beside its tables: how it acted, over all tasks, on recordings, what went wrong."""
    if evaluation["kind"] != "expert":
        against = evaluation["seeds_checked_against"]
        checked = f"seeds checked against {against}" if against else "what it was trained on is not known"
        yield f"actions: {'the likeliest' if evaluation['deterministic'] else 'sampled'}; {checked}"
    overall = evaluation["over_tasks"]
    if overall:
        named = {"iqm": "IQM", "mean": "mean", "optimality_gap": "optimality gap"}
        parts = [
            f"{label} {overall[key]:.3f} [{overall[f'{key}_ci95'][0]:.3f}, {overall[f'{key}_ci95'][1]:.3f}]"
            for key, label in named.items()
        ]
        tasks = "1 task" if overall["tasks"] == 1 else f"{overall['tasks']} tasks"
        yield f"random = 0, expert = 1, over {tasks}: {', '.join(parts)}"
    actions = evaluation["next_action"]
    if actions:
        yield (
            f"next action on {actions['actions']:,} held-out steps: accuracy {actions['accuracy']:.1%}, perplexity "
            f"{actions['perplexity']:.3f}, BLEU-4 {actions['bleu4']:.3f} "
            f"({actions['bleu4_with_delimiters']:.3f} with the paper's constant start and end tokens)"
        )
    for task in evaluation["tasks"]:
        expert = task.get("expert")
        for name, errors in {"it": task["errors"], **({expert["name"]: expert["errors"]} if expert else {})}.items():
            if errors:
                yield f"{task['task']}: {name} raised or took too long in {errors} episodes, counted as failures"


def comparison_table(compared: "Comparison") -> Table:
    """A against B, task by task."""
    table = Table(title=escape(f"{compared.a} against {compared.b}"), title_justify="left")
    for heading in ("task", "success A", "success B", "difference [95 %]", "A better on"):
        table.add_column(heading, justify="left" if heading == "task" else "right", no_wrap=True)
    for task in compared.tasks:
        low, high = task.difference_ci95
        table.add_row(
            escape(task.task),
            f"{task.success[0]:.1%}",
            f"{task.success[1]:.1%}",
            escape(f"{task.difference:+.3f} [{low:.3f}, {high:.3f}]"),
            f"{task.better:.1%} of {task.pairs}",
            style="bold" if task.beyond_chance else None,
        )
    return table


def score_table(task: dict[str, Any], who: str = "agent") -> Table:
    """The scores of one task of an evaluation.json: who was scored, random and expert, with their 95 % intervals."""
    title = f"{task['task']}, seeds {task['first_seed']} to {task['first_seed'] + task['episodes'] - 1}"
    table = Table(title=escape(title), title_justify="left")
    for heading in ("policy", "success [95 %]", "mean return [95 %]", "mean length"):
        table.add_column(heading, justify="left" if heading == "policy" else "right", no_wrap=True)
    rows = [(who, task), ("random", task["random"])]
    if "expert" in task:
        rows.append((task["expert"]["name"], task["expert"]))
    for policy, score in rows:
        low, high = score["success_ci95"]
        return_low, return_high = score["return_ci95"]
        table.add_row(
            escape(policy),
            escape(f"{score['success_rate']:.1%} [{low:.1%}, {high:.1%}]"),
            escape(f"{score['return_mean']:.3f} [{return_low:.3f}, {return_high:.3f}]"),
            f"{score['length_mean']:.1f}",
        )
    notes = []
    if task["normalised"] is not None:
        notes.append(f"normalised return (random 0, expert 1): {task['normalised']:.3f}")
    if task["published"]:
        scores = (
            f"{name} {task['published'][name]:.3f}"
            for name in ("random", "expert", "human")
            if name in task["published"]
        )
        notes.append(f"published returns: {', '.join(scores)}")
    table.caption, table.caption_justify = escape("\n".join(notes)), "left"
    return table


def _refuse_unrecordable(recipe: DatasetRecipe, trust: bool) -> None:
    """Whatever is wrong with the recipe's environments, expert or agent is said before anything is deleted or made."""
    from agentgym import collection, experts

    experts.refuse_untrusted(recipe.expert, trust=trust)
    collection.make_header(recipe)
    _agent_maker(recipe)


def _refuse_untrainable(recipe: ExperimentRecipe, data: Path) -> None:
    """Whatever is wrong with the dataset is said before anything is deleted or made."""
    from agentgym import runs

    runs.open_dataset(data, recipe)


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
