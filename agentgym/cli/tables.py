"""Scores and comparisons as people read them in a terminal."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from agentgym.evaluation.comparison import Comparison


def summary(evaluation: dict[str, Any]) -> Iterator[str]:
    """An evaluation.json without its tables: how it acted, over all tasks, on recordings, what went wrong."""
    from agentgym.evaluation.statistics import UNIT, who_is_one  # SciPy, which no other verb waits for

    if evaluation["kind"] != "expert":
        against = evaluation["seeds_checked_against"]
        checked = f"seeds checked against {against}" if against else "what it was trained on is not known"
        yield f"actions: {'the likeliest' if evaluation['deterministic'] else 'sampled'}; {checked}"
    yield f"intervals: 95 %, over {UNIT}; another training run may differ by more"
    overall = evaluation["over_tasks"]
    if overall:
        named = {"iqm": "IQM", "mean": "mean", "optimality_gap": "optimality gap"}
        parts = [
            f"{label} {overall[key]:.3f} [{overall[f'{key}_ci95'][0]:.3f}, {overall[f'{key}_ci95'][1]:.3f}]"
            for key, label in named.items()
        ]
        tasks = "1 task" if overall["tasks"] == 1 else f"{overall['tasks']} tasks"
        yield f"random = 0, {who_is_one(evaluation['tasks'])} = 1, over {tasks}: {', '.join(parts)}"
    for name, over in evaluation.get("over_suites", {}).items():
        yield f"of {name}: mean {over['mean']:.3f} [{over['mean_ci95'][0]:.3f}, {over['mean_ci95'][1]:.3f}]"
    for part in evaluation.get("held_out", ()):
        yield (
            f"next action on {part['actions']:,} held-out steps of {part['part']}: accuracy {part['accuracy']:.1%}; "
            f"always the commonest {part['trivial']['commonest']:.1%}, the last again {part['trivial']['last']:.1%}"
        )
    actions = evaluation["next_action"] if "held_out" not in evaluation else None
    if actions:
        yield (
            f"next action on {actions['actions']:,} held-out steps: accuracy {actions['accuracy']:.1%}, perplexity "
            f"{actions['perplexity']:.3f}, BLEU-4 {actions['bleu4']:.3f} "
            f"({actions['bleu4_with_delimiters']:.3f} with the paper's constant start and end tokens)"
        )
    for task in evaluation["tasks"]:
        expert = task.get("expert")
        for name, scored in {"it": task, **({expert["name"]: expert} if expert else {})}.items():
            if scored["errors"]:
                yield f"{task['task']}: {name} raised in {scored['errors']} episodes, counted as failures"
            if scored.get("cut"):
                yield (
                    f"{task['task']}: the budget cut {name} in {scored['cut']} episodes, which are left out; "
                    "give it more with --expert-seconds"
                )


def comparison_table(compared: "Comparison") -> Table:
    """A against B, task by task."""
    table = Table(title=f"{compared.a} against {compared.b}", title_justify="left")
    for heading in ("task", "score A", "score B", "difference [95 %]", "A better on"):
        table.add_column(heading, justify="left" if heading == "task" else "right", no_wrap=True)
    for task in compared.tasks:
        interval = task.difference_ci95
        table.add_row(
            task.task,
            *task.scores,
            f"{task.difference:+.3f} " + ("[{:.3f}, {:.3f}]".format(*interval) if interval else "(too few)"),
            f"{task.better:.1%} of {task.pairs}",
            style="bold" if task.beyond_chance else None,
        )
    return table


def score_table(task: dict[str, Any], who: str = "agent") -> Table:
    """The scores of one task of an evaluation.json: who was scored and the references, with their 95 % intervals."""
    from agentgym.evaluation.score_rows import plain, read_scores  # SciPy, which no other verb waits for

    rows = list(read_scores({"tasks": [task]}))
    table = Table(title=f"{task['task']}, seeds {rows[0].first_seed} to {rows[0].last_seed}", title_justify="left")
    judged = rows[0].defines_success
    for heading in ("policy", *(("success [95 %]",) if judged else ()), "mean return [95 %]", "mean length"):
        table.add_column(heading, justify="left" if heading == "policy" else "right", no_wrap=True)
    for row in rows:
        low, high = row.success_ci95
        table.add_row(
            who if row.role == "agent" else row.policy,
            *([f"{row.success_rate:.1%} [{low:.1%}, {high:.1%}]"] if judged else []),
            f"{plain(row.return_mean)} [{plain(row.return_ci95[0])}, {plain(row.return_ci95[1])}]",
            f"{row.length_mean:.1f}",
        )
    notes = []
    if task["normalised"] is not None:
        interval = task.get("normalised_ci95")
        between = " [{:.3f}, {:.3f}]".format(*interval) if interval else ""
        notes.append(f"normalised return (random 0, {_one(task)} 1): {task['normalised']:.3f}{between}")
    if task["published"]:
        scores = (
            f"{name} {task['published'][name]:.3f}"
            for name in ("random", "expert", "human")
            if name in task["published"]
        )
        notes.append(f"published returns: {', '.join(scores)}")
    table.caption, table.caption_justify = "\n".join(notes), "left"
    return table


def _one(task: dict[str, Any]) -> str:
    """Whose return is 1 of a task's scale."""
    return "human" if (task["published"] or {}).get("human") is not None else "expert"
