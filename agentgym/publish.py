"""publish(run, to): a run's results beside its recipe, as numbers, a table and a figure, never written by hand."""

import json
import re
from pathlib import Path
from typing import Any

from agentgym import pictures
from agentgym.errors import UserError


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
    (to / f"{name}.json").write_text(json.dumps({**evaluation, "training": training}, indent=1) + "\n")
    (to / f"{name}.svg").write_text(pictures.learning_curves(metrics))
    page = to / f"{name}.md"
    page.write_text(_page(recipe, training, evaluation))
    return page


def results_table(evaluation: dict[str, Any]) -> str:
    """The scores of every task as Markdown."""
    lines = []
    for task in evaluation["tasks"]:
        last = task["first_seed"] + task["episodes"] - 1
        lines += [
            f"| {task['task']}, seeds {task['first_seed']} to {last} "
            "| success [95 %] | mean return [95 %] | mean length |",
            "|---|---|---|---|",
        ]
        for policy, scored in (("agent", task), ("random", task["random"]), (task["expert"]["name"], task["expert"])):
            low, high = scored["success_ci95"]
            return_low, return_high = scored["return_ci95"]
            lines.append(
                f"| {policy} | {scored['success_rate']:.1%} [{low:.1%}, {high:.1%}] "
                f"| {scored['return_mean']:.3f} [{return_low:.3f}, {return_high:.3f}] | {scored['length_mean']:.1f} |"
            )
        lines.append("")
    return "\n".join(lines)


def update_results(document: Path, name: str, evaluation: dict[str, Any]) -> bool:
    """Puts the table between a document's `<!-- results:NAME -->` marks; whether it has such marks."""
    text = document.read_text(encoding="utf-8")
    pattern = rf"(<!-- results:{re.escape(name)} -->\n).*?(<!-- /results -->)"
    changed, count = re.subn(
        pattern, lambda match: f"{match[1]}{results_table(evaluation)}{match[2]}", text, flags=re.DOTALL
    )
    if count:
        document.write_text(changed, encoding="utf-8")
    return bool(count)


_STORED = ("recipe", "training", "evaluation")


def _page(recipe: dict[str, Any], training: dict[str, Any], evaluation: dict[str, Any]) -> str:
    versions = ", ".join(f"{package} {number}" for package, number in evaluation["versions"].items())
    loop = recipe["training"]
    return f"""# {recipe["name"]}

{recipe["description"]}.

{results_table(evaluation)}
Trained for {training["updates"]:,} updates of {loop["batch_size"]} windows ({training["targets"]:,} action targets)
in {training["seconds"]:,.0f} s, {training["precision"]}, {training["parameters"]:,} parameters, seed {loop["seed"]}.

![Learning curves]({recipe["name"]}.svg)

Made by `agentgym run {recipe["name"]}` and `agentgym publish runs/{recipe["name"]}`. {versions}.
"""
