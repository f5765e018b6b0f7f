"""publish(run, to): a run's results beside its recipe, as numbers, a table and a figure, never written by hand."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agentgym.errors import UserError
from agentgym.evaluation.statistics import UNIT, normalised_mean
from agentgym.files import replace_file
from agentgym.report import plots, reproduction


def publish(run: Path, to: Path) -> Path:
    """Writes a run's NAME.json, NAME.svg and NAME.md into `to`; the page. Raises UserError if it is not scored."""
    files = {name: run / name for name in ("recipe.json", "training.json", "evaluation.json", "metrics.jsonl")}
    for file in files.values():
        if not file.is_file():
            raise UserError(f"{file}: is missing; publish a run that is trained and evaluated")
    recipe, training, evaluation = (json.loads(files[f"{name}.json"].read_text()) for name in _STORED)
    metrics = [json.loads(line) for line in files["metrics.jsonl"].read_text().splitlines()]
    name = recipe["name"]
    to.mkdir(parents=True, exist_ok=True)
    made_by = reproduction.command(recipe, run)
    replace_file(to / f"{name}.json", json.dumps({**evaluation, "training": training}, indent=1) + "\n")
    replace_file(to / f"{name}.svg", plots.learning_curves(metrics))
    page = to / f"{name}.md"
    replace_file(page, _page(recipe, training, evaluation, made_by))
    return page


def results_table(evaluation: dict[str, Any]) -> str:
    """The scores of every task as Markdown; success only where the task says what that is."""
    lines = []
    for task in evaluation["tasks"]:
        last = task["first_seed"] + task["episodes"] - 1
        success = task.get("defines_success", True)
        lines += [
            f"| {task['task']}, seeds {task['first_seed']} to {last} "
            f"|{' success [95 %] |' if success else ''} mean return [95 %] | normalised | mean length |",
            "|---|---|---|---|---|" if success else "|---|---|---|---|",
            *(_row(who, task, scored, success=success) for who, scored in _who_played(task)),
            "",
        ]
    return "\n".join(lines)


def _who_played(task: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The agent and the references beside it, by their names."""
    yield "agent", task
    yield "random", task["random"]
    if "expert" in task:
        yield task["expert"]["name"], task["expert"]
    if "constant" in task:
        yield f"always {task['constant']['name']}", task["constant"]
    if "repeat" in task:
        yield "the last action again", task["repeat"]


def _row(who: str, task: dict[str, Any], scored: dict[str, Any], *, success: bool) -> str:
    normalised = normalised_mean(task, scored)
    low, high = scored["success_ci95"]
    return_low, return_high = scored["return_ci95"]
    solved = f" {scored['success_rate']:.1%} [{low:.1%}, {high:.1%}] |" if success else ""
    return (
        f"| {who} |{solved} {scored['return_mean']:.3f} [{return_low:.3f}, {return_high:.3f}] "
        f"| {'–' if normalised is None else f'{normalised:.3f}'} | {scored['length_mean']:.1f} |"
    )


def summary(evaluation: dict[str, Any]) -> str:
    """What the evaluation says beside its tables, as Markdown: over all tasks, next actions, errors, references."""
    lines = []
    overall, action = evaluation["over_tasks"], evaluation["next_action"]
    if overall:
        named = {"iqm": "interquartile mean", "mean": "mean", "optimality_gap": "optimality gap"}
        parts = [
            f"{label} {overall[key]:.3f} [{overall[f'{key}_ci95'][0]:.3f}, {overall[f'{key}_ci95'][1]:.3f}]"
            for key, label in named.items()
        ]
        tasks = "1 task" if overall["tasks"] == 1 else f"{overall['tasks']} tasks"
        lines.append(f"* Over {tasks}, random = 0 and expert = 1: {', '.join(parts)}.")
    if action:
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
    text = document.read_text(encoding="utf-8")
    pattern = rf"(<!-- results:{re.escape(name)} -->\n).*?(<!-- /results -->)"
    changed, count = re.subn(
        pattern, lambda match: f"{match[1]}{results_table(evaluation)}{match[2]}", text, flags=re.DOTALL
    )
    if count:
        replace_file(document, changed)
    return bool(count)


def scores_table(folder: Path, names: Sequence[str]) -> str:
    """One line for each task of published runs, by their numbers in `folder`, as Markdown."""
    lines = ["| task | success [95 %] | random | expert | trained |", "|---|---|---|---|---|"]
    for name in names:
        stored = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for task in stored["tasks"]:
            low, high = task["success_ci95"]
            expert = f"{task['expert']['success_rate']:.1%}" if "expert" in task else "–"
            trained = f"{stored['training']['targets']:,} actions in {stored['training']['seconds'] / 60:.0f} min"
            lines.append(
                f"| [{task['task']}]({folder.name}/{name}.md) | {task['success_rate']:.1%} [{low:.1%}, {high:.1%}] "
                f"| {task['random']['success_rate']:.1%} | {expert} | {trained} |"
            )
    return "\n".join(lines) + "\n"


def update_scores(document: Path, folder: Path) -> None:
    """Puts the table of scores between a document's `<!-- scores:NAME,NAME -->` marks, of those that are published."""

    def fill(match: re.Match[str]) -> str:
        names = [name for name in match[2].split(",") if (folder / f"{name}.json").is_file()]
        return f"{match[1]}{scores_table(folder, names)}{match[3]}"

    text = document.read_text(encoding="utf-8")
    changed = re.sub(r"(<!-- scores:(\S+) -->\n).*?(<!-- /scores -->)", fill, text, flags=re.DOTALL)
    if changed != text:
        replace_file(document, changed)


_STORED = ("recipe", "training", "evaluation")


def _page(recipe: dict[str, Any], training: dict[str, Any], evaluation: dict[str, Any], made_by: str) -> str:
    versions = ", ".join(f"{package} {number}" for package, number in evaluation["versions"].items())
    loop = recipe["training"]
    return f"""# {recipe["name"]}

{recipe["description"]}.

{results_table(evaluation)}
{summary(evaluation)}
Trained for {training["updates"]:,} updates of {loop["batch_size"]} windows ({training["targets"]:,} action targets)
in {training["seconds"]:,.0f} s, {training["precision"]}, {training["parameters"]:,} parameters, seed {loop["seed"]}.
Intervals are over {UNIT}.

![Learning curves]({recipe["name"]}.svg)

Made by `{made_by}` and `agentgym publish runs/{recipe["name"]}`. {versions}.
"""
