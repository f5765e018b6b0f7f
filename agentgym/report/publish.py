"""publish(run, to): a run's results next to its recipe, as numbers, a table and a figure, never written by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentgym.errors import UserError
from agentgym.evaluation.score_rows import Score, plain, read_scores
from agentgym.evaluation.statistics import UNIT, who_is_one
from agentgym.evaluation.stored import read_evaluation
from agentgym.files import read_json, replace_file, understanding, write_json
from agentgym.folders import make_folder
from agentgym.report import figures, reproduction
from agentgym.report.failures import Group, failures_by_task
from agentgym.report.run_results import read_run
from agentgym.report.training_runs import Scored, compare_runs, runs_table
from agentgym.training.run_folder import read_metrics, read_recipe, read_training


def publish(run: Path, to: Path, others: Sequence[Path] = ()) -> Path:
    """Writes a run's NAME.json, NAME.svg and NAME.md into `to`; the page. Raises UserError if it is not scored.

    NAME-scores.svg has the normalised scores of several tasks. `others` are runs of the same recipe with other training
    seeds, whose scores are put beside it.
    """
    files = {name: run / name for name in ("recipe.json", "training.json", "evaluation.json", "metrics.jsonl")}
    for file in files.values():
        if not file.is_file():
            raise UserError(f"{file}: is missing; publish a run that is trained and evaluated")
    recipe = read_json(files["recipe.json"], dict)
    training, evaluation = read_training(files["training.json"]), read_evaluation(files["evaluation.json"])
    metrics, runs = read_metrics(run), compare_runs(run, others)
    name = read_recipe(run).name  # which is one of a file in `to`, not a path out of it
    with understanding(run):
        figure = figures.training_figure(metrics)
        scores = _scores_figure(evaluation)
        page = _page(
            *(recipe, training, evaluation, runs, failures_table(failures_by_task(read_run(run)))),
            reproduction.command(recipe, run),
            drawn=scores is not None,
        )
    make_folder(to)
    if scores is not None:
        replace_file(to / f"{name}-scores.svg", scores)
    write_json(to / f"{name}.json", {**evaluation, "training": training} | ({"training_runs": runs} if runs else {}))
    replace_file(to / f"{name}.svg", figure)
    replace_file(to / f"{name}.md", page)
    return to / f"{name}.md"


def _scores_figure(evaluation: dict[str, Any]) -> str | None:
    """The figure of the normalised scores; None where fewer than two tasks have one."""
    scored = [task for task in evaluation["tasks"] if task["normalised"] is not None]
    if len(scored) < 2:
        return None
    one = who_is_one(evaluation["tasks"])
    return figures.normalised_figure(list(read_scores(evaluation)), "expert or human" if "(" in one else one)


def results_table(evaluation: dict[str, Any]) -> str:
    """The scores of every task as Markdown; of several tasks one line each before them."""
    scores = list(read_scores(evaluation))
    lines = _overview(scores) if len(evaluation["tasks"]) > 1 else []
    for task in dict.fromkeys(score.task for score in scores):
        rows = [score for score in scores if score.task == task]
        judged = rows[0].defines_success
        lines += [
            f"| {task}, seeds {rows[0].first_seed} to {rows[0].last_seed} "
            f"{'| success [95 %] ' if judged else ''}| mean return [95 %] | normalised | mean length |",
            f"|---|{'---|' if judged else ''}---|---|---|",
        ]
        for row in rows:
            low, high = row.success_ci95
            solved = f"| {row.success_rate:.1%} [{low:.1%}, {high:.1%}] " if judged else ""
            lines.append(
                f"| {row.policy} {solved}| {row.return_mean:.3f} [{row.return_ci95[0]:.3f}, {row.return_ci95[1]:.3f}] "
                f"| {three(row.normalised)} | {row.length_mean:.1f} |"
            )
        lines.append("")
    return "\n".join(lines)


def _overview(scores: Sequence[Score]) -> list[str]:
    """One line for each task: the agent and its references."""
    lines = [
        "| task | agent [95 %] | normalised [95 %] | random | expert | best constant | last action again |",
        "|---|---|---|---|---|---|---|",
    ]
    for agent in (score for score in scores if score.role == "agent"):
        by_role = {score.role: score_of(score) for score in scores if score.task == agent.task}
        interval = " [{:.3f}, {:.3f}]".format(*agent.normalised_ci95) if agent.normalised_ci95 else ""
        references = " | ".join(by_role.get(role, "–") for role in ("random", "expert", "constant", "repeat"))
        score = f"{score_of(agent)} [{between(agent)}]"
        lines.append(f"| {agent.task} | {score} | {three(agent.normalised)}{interval} | {references} |")
    return [*lines, ""]


def score_of(score: Score) -> str:
    """The share solved, or the return where a task does not say what success is."""
    return f"{score.success_rate:.1%}" if score.defines_success else plain(score.return_mean)


def between(score: Score) -> str:
    """The ends of its 95 % interval."""
    if score.defines_success:
        return "{:.1%}, {:.1%}".format(*score.success_ci95)
    return ", ".join(map(plain, score.return_ci95))


def three(value: float | None) -> str:
    """Three decimals, or a dash."""
    return "–" if value is None else f"{value:.3f}"


def summary(evaluation: dict[str, Any]) -> str:
    """The evaluation without its tables, as Markdown: over all tasks, next actions, errors, references."""
    lines = []
    overall, action = evaluation["over_tasks"], evaluation["next_action"]
    if overall:
        named = {"iqm": "interquartile mean", "mean": "mean", "optimality_gap": "optimality gap"}
        parts = [
            f"{label} {overall[key]:.3f} [{overall[f'{key}_ci95'][0]:.3f}, {overall[f'{key}_ci95'][1]:.3f}]"
            for key, label in named.items()
        ]
        tasks = "1 task" if overall["tasks"] == 1 else f"{overall['tasks']} tasks"
        one = who_is_one(evaluation["tasks"])
        lines.append(f"* Over {tasks}, random = 0 and {one} = 1: {', '.join(parts)}.")
    for part in evaluation.get("held_out", ()):
        lines.append(
            f"* Next action on {part['actions']:,} held-out recorded steps of {part['part']}: accuracy "
            f"{part['accuracy']:.1%}; always the commonest {part['trivial']['commonest']:.1%}, the last action again "
            f"{part['trivial']['last']:.1%}."
        )
    if action and "held_out" not in evaluation:
        lines.append(
            f"* Next action on {action['actions']:,} held-out recorded steps: accuracy {action['accuracy']:.1%}, "
            f"perplexity {action['perplexity']:.3f}, BLEU-4 {action['bleu4']:.3f} "
            f"({action['bleu4_with_delimiters']:.3f} with the paper's constant start and end tokens)."
        )
    for task in evaluation.get("captions", ()):
        most = task["majority"]
        lines.append(
            f"* Captions of {task['episodes']:,} held-out episodes of {task['task']}: exact match "
            f"{task['exact_match']:.1%}, words {task['word_accuracy']:.1%}; "
            f"always '{most['answer']}': {most['exact_match']:.1%} and {most['word_accuracy']:.1%}."
        )
    for task in evaluation["tasks"]:
        for who, scored in (("the agent", task), ("the expert", task.get("expert", {"errors": 0}))):
            if scored["errors"]:
                lines.append(f"* {task['task']}: {who} failed by an error in {scored['errors']} episodes.")
            if scored.get("cut"):
                lines.append(f"* {task['task']}: the budget cut {who} in {scored['cut']} episodes, which are left out.")
        if task["published"]:
            published = task["published"]
            returns = [f"{name} {published[name]:.3f}" for name in ("random", "expert", "human") if name in published]
            lines.append(f"* {task['task']}, published returns: {', '.join(returns)} ({published['source']}).")
    return "\n".join(lines) + "\n" if lines else ""


def failures_table(by_task: Mapping[str, Sequence[Group]]) -> str:
    """Each kind of group of a task that is not always solved, as Markdown; empty where there is none."""
    lines = []
    for task, groups in by_task.items():
        kinds = dict.fromkeys(group.by for group in groups if group.solved < group.episodes)
        for kind in kinds:
            shares = (f"{g.name.strip()} {g.rate:.0%} of {g.episodes}" for g in groups if g.by == kind)
            lines.append(f"| {task} | {kind} | {'; '.join(shares)} |")
    if not lines:
        return ""
    told = (
        "Levels solved, by what they differ in. Plan: the expert's steps; parts: how many things the instruction asks "
        "for; distance and first view: of the nearest object that it begins with, at the start."
    )
    return "\n".join([told, "", "| task | by | solved |", "|---|---|---|", *lines, "", ""])


def _page(
    recipe: dict[str, Any],
    training: dict[str, Any],
    evaluation: dict[str, Any],
    runs: Sequence[Scored],
    failures: str,
    made_by: str,
    *,
    drawn: bool,
) -> str:
    versions = ", ".join(f"{package} {number}" for package, number in evaluation["versions"].items())
    loop = recipe["training"]
    windows = loop["batch_size"] * loop.get("accumulation", 1)
    figure = f"![Normalised scores, 95 % intervals over episodes]({recipe['name']}-scores.svg)\n\n" if drawn else ""
    others = f"{runs_table(runs)}\n" if runs else ""
    seeds = [run["seed"] for run in runs if run["seed"] != loop["seed"]]
    again = f" (again with each `--set training.seed=SEED --run runs/{recipe['name']}-SEED`)" if seeds else ""
    folders = " ".join([f"runs/{recipe['name']}", *(f"runs/{recipe['name']}-{seed}" for seed in seeds)])
    return f"""# {recipe["name"]}

{recipe["description"]}.

{results_table(evaluation)}
{figure}{summary(evaluation)}
Trained for {training["updates"]:,} updates of {windows} windows ({training["targets"]:,} action targets)
in {training["seconds"]:,.0f} s, {training["precision"]}, {training["parameters"]:,} parameters, seed {loop["seed"]}.
Intervals are over {UNIT}.

{others}{failures}![Learning curves]({recipe["name"]}.svg)

Made by `{made_by}`{again} and `agentgym publish {folders}`. {versions}.
"""
