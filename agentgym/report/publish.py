"""publish(run, to): a run's results next to its recipe, as numbers, a table and a figure, never written by hand."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agentgym.errors import UserError
from agentgym.evaluation.score_rows import Score, defines_success, plain, read_scores
from agentgym.evaluation.statistics import UNIT, who_is_one
from agentgym.evaluation.stored import read_evaluation
from agentgym.files import read_json, read_text, replace_file, understanding, write_json
from agentgym.folders import make_folder
from agentgym.report import figures, reproduction
from agentgym.report.training_runs import Scored, compare_runs, mean_of, runs_table
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
        page = _page(recipe, training, evaluation, runs, reproduction.command(recipe, run), drawn=scores is not None)
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
                f"| {_three(row.normalised)} | {row.length_mean:.1f} |"
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
        by_role = {score.role: _value(score) for score in scores if score.task == agent.task}
        between = " [{:.3f}, {:.3f}]".format(*agent.normalised_ci95) if agent.normalised_ci95 else ""
        references = " | ".join(by_role.get(role, "–") for role in ("random", "expert", "constant", "repeat"))
        score = f"{_value(agent)} [{_between(agent)}]"
        lines.append(f"| {agent.task} | {score} | {_three(agent.normalised)}{between} | {references} |")
    return [*lines, ""]


def _value(score: Score) -> str:
    return f"{score.success_rate:.1%}" if score.defines_success else plain(score.return_mean)


def _between(score: Score) -> str:
    if score.defines_success:
        return "{:.1%}, {:.1%}".format(*score.success_ci95)
    return ", ".join(map(plain, score.return_ci95))


def _three(value: float | None) -> str:
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


def update_results(document: Path, name: str, evaluation: dict[str, Any]) -> bool:
    """Puts the table between a document's `<!-- results:NAME -->` marks; whether it has such marks."""
    text = read_text(document)
    pattern = rf"(<!-- results:{re.escape(name)} -->\n).*?(<!-- /results -->)"
    changed, count = re.subn(
        pattern, lambda match: f"{match[1]}{results_table(evaluation)}{match[2]}", text, flags=re.DOTALL
    )
    if count:
        replace_file(document, changed)
    return bool(count)


def scores_table(folder: Path, names: Sequence[str], pages: str = "experiments") -> str:
    """One line for each task of published runs, by their numbers in `folder`, as Markdown, linked to `pages`."""
    stored = {name: read_evaluation(folder / f"{name}.json") for name in names}
    judged = all(defines_success(task) for each in stored.values() for task in each["tasks"])
    several = any("training_runs" in each for each in stored.values())
    lines = [
        f"| task | {'success' if judged else 'score'} [95 %] | random | expert | trained |"
        + (" normalised, over training seeds |" if several else ""),
        "|---|---|---|---|---|" + ("---|" if several else ""),
    ]
    for name, each in stored.items():
        scores = list(read_scores(each))
        for agent in (score for score in scores if score.role == "agent"):
            by_role = {score.role: _value(score) for score in scores if score.task == agent.task}
            trained = f"{each['training']['targets']:,} actions in {each['training']['seconds'] / 60:.0f} min"
            lines.append(
                f"| [{agent.task}]({pages}/{name}.md) | {_value(agent)} [{_between(agent)}] "
                f"| {by_role['random']} | {by_role.get('expert', '–')} | {trained} |"
                + (f" {_over_runs(each, agent.task)} |" if several else "")
            )
    return "\n".join(lines) + "\n"


def _over_runs(stored: dict[str, Any], task: str) -> str:
    runs = stored.get("training_runs", ())
    return f"{mean_of(runs, task)} of {len(runs)}" if runs and task in runs[0]["normalised"] else "–"


def specialists_table(folder: Path, name: str, others: Sequence[str], pages: str = "experiments") -> str:
    """One line for each task of a published run of many: its score next to that of the agent trained for fewer tasks.

    Of the `others`, which are published too, the first that plays the task is next to it.
    """
    specialists: dict[str, tuple[str, Score]] = {}
    for other in others:
        for score in _agents(folder, other):
            specialists.setdefault(score.task, (other, score))
    lines = [f"| task | random | expert | {name} | normalised | specialist | normalised |", "|---" * 7 + "|"]
    stored = list(read_scores(read_evaluation(folder / f"{name}.json")))
    for agent in (score for score in stored if score.role == "agent"):
        by_role = {score.role: _value(score) for score in stored if score.task == agent.task}
        special = "– | –"
        if agent.task in specialists:
            other, theirs = specialists[agent.task]
            special = f"[{_value(theirs)}]({pages}/{other}.md) | {_three(theirs.normalised)}"
        lines.append(
            f"| {agent.task} | {by_role['random']} | {by_role.get('expert', '–')} "
            f"| {_value(agent)} | {_three(agent.normalised)} | {special} |"
        )
    return "\n".join(lines) + "\n"


def _agents(folder: Path, name: str) -> Iterator[Score]:
    stored = read_evaluation(folder / f"{name}.json")
    yield from (score for score in read_scores(stored) if score.role == "agent")


def update_scores(document: Path, folder: Path) -> None:
    """Puts tables between a document's marks, of what is published in `folder`.

    `<!-- scores:NAME,NAME -->` is `scores_table`, `<!-- specialists:NAME:OTHER,OTHER -->` is `specialists_table`.
    """

    pages = os.path.relpath(folder, document.parent)

    def published(names: str) -> list[str]:
        return [name for name in names.split(",") if (folder / f"{name}.json").is_file()]

    def scores(match: re.Match[str]) -> str:
        return f"{match[1]}{scores_table(folder, published(match[2]), pages)}{match[3]}"

    def specialists(match: re.Match[str]) -> str:
        table = specialists_table(folder, match[2], published(match[3]), pages) if published(match[2]) else ""
        return f"{match[1]}{table}{match[4]}"

    text = read_text(document)
    changed = re.sub(r"(<!-- scores:(\S+) -->\n).*?(<!-- /scores -->)", scores, text, flags=re.DOTALL)
    marks = r"(<!-- specialists:([^:\s]+):(\S+) -->\n).*?(<!-- /specialists -->)"
    changed = re.sub(marks, specialists, changed, flags=re.DOTALL)
    if changed != text:
        replace_file(document, changed)


def _page(
    recipe: dict[str, Any],
    training: dict[str, Any],
    evaluation: dict[str, Any],
    runs: Sequence[Scored],
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

{others}![Learning curves]({recipe["name"]}.svg)

Made by `{made_by}`{again} and `agentgym publish {folders}`. {versions}.
"""
