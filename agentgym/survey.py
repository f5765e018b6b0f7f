"""survey(expert, suite) -> what became of its episodes on every task; written as a table, for people and for `collect`.

EXPERT.json    by task: how many episodes were solved, failed, raised or ran out of budget, and why; how its mean return
               stands between the random policy's and a human's, where the suite knows those
EXPERT.md      the same to read
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agentgym import engines, environments, experts
from agentgym.episodes import Episode
from agentgym.errors import UserError
from agentgym.expert_rollouts import rollout_expert
from agentgym.experts.outcomes import RELIABLE
from agentgym.recipes import BudgetRecipe, SuiteRecipe, TaskRecipe
from agentgym.scores import normalise
from agentgym.store import replace_file

OUTCOMES = ("solved", "failed", "error", "timeout")

Advance = Callable[[int, str], None]


def survey(
    expert: str,
    suite: SuiteRecipe,
    *,
    seeds: range,
    budget: BudgetRecipe,
    workers: int | None = None,
    engine: str = engines.EngineName.PROCESSES,
    advance: Advance = lambda count, note: None,
) -> dict[str, Any]:
    """The outcomes of an expert's episodes of those seeds in every task of a suite, and what it refuses to act in.

    `advance(count, task)` follows the episodes. Raises UserError for an unknown expert or task.
    """
    environments.check_suite(suite)
    reasons = {task.id: _refusal(expert, task, suite) for task in suite.tasks}
    tasks, packages, started = [], set(), time.monotonic()
    with engines.start(engine, workers=workers) as crew:
        for task in suite.tasks:
            if reasons[task.id]:
                advance(len(seeds), task.id)
                continue
            row, needed = _survey_task(expert, task, suite, seeds, budget, crew, advance)
            tasks.append(row)
            packages |= needed
    return {
        "format": 1,
        "expert": expert,
        "suite": suite.name,
        "first_seed": seeds.start,
        "episodes": len(seeds),
        "budget": budget.model_dump(mode="json"),
        "seconds": round(time.monotonic() - started, 1),
        "versions": environments.versions(packages),
        "tasks": tasks,
        "refused": {name: reason for name, reason in reasons.items() if reason},
    }


def _survey_task(
    expert: str,
    task: TaskRecipe,
    suite: SuiteRecipe,
    seeds: range,
    budget: BudgetRecipe,
    crew: engines.Engine,
    advance: Advance,
) -> tuple[dict[str, Any], set[str]]:
    """The row of a task, and the packages that decide what its episodes look like."""

    def step(count: int) -> None:
        advance(count, task.id)

    played = rollout_expert(expert, task, frame=suite.frame, seeds=seeds, engine=crew, budget=budget, advance=step)
    env = environments.make(task, frame=suite.frame)
    row = {**row_of(task.id, played), **_by_return(task, env.defines_success, played)}
    env.close()
    return row, set(env.packages)


def row_of(task: str, episodes: Sequence[Episode]) -> dict[str, Any]:
    """One row of the table."""
    found = Counter(episode.outcome for episode in episodes)
    return {
        "task": task,
        **{outcome: found[outcome] for outcome in OUTCOMES},
        "mean_steps": round(sum(episode.length for episode in episodes) / len(episodes), 2),
        "mean_return": round(sum(episode.total_reward for episode in episodes) / len(episodes), 4),
        "reasons": dict(Counter(episode.error for episode in episodes if episode.error).most_common()),
        "unsolved_seeds": [episode.seed for episode in episodes if not episode.success],
    }


def _by_return(task: TaskRecipe, defines_success: bool, episodes: Sequence[Episode]) -> dict[str, Any]:
    """What a row says besides of a task that has published returns, or no success by which to count its episodes."""
    said: dict[str, Any] = {} if defines_success else {"defines_success": False}
    reference = task.reference
    if reference is None or reference.human is None:
        return said
    returns = [episode.total_reward for episode in episodes]
    normalised = normalise(returns, random=reference.random, expert=reference.human)
    return {**said, "returns": returns} | ({} if normalised is None else {"human": round(float(normalised.mean()), 4)})


def write_survey(found: dict[str, Any], to: Path) -> Path:
    """Writes both files into a folder; the page."""
    to.mkdir(parents=True, exist_ok=True)
    replace_file(to / f"{found['expert']}.json", json.dumps(found, indent=1) + "\n")
    page = to / f"{found['expert']}.md"
    replace_file(page, _page(found))
    return page


def _refusal(expert: str, task: TaskRecipe, suite: SuiteRecipe) -> str | None:
    env = environments.make(task, frame=suite.frame)
    try:
        experts.make(expert).check(env)
    except UserError as error:
        return str(error)
    finally:
        env.close()
    return None


def _page(found: dict[str, Any]) -> str:
    last = found["first_seed"] + found["episodes"] - 1
    versions = ", ".join(f"{package} {number}" for package, number in found["versions"].items())
    judged = [task for task in found["tasks"] if task.get("defines_success", True)]
    shares = [task["solved"] / found["episodes"] for task in judged]
    doubtful = sum(share < RELIABLE for share in shares)
    lines = [
        f"# {found['expert']}",
        "",
        f"Seeds {found['first_seed']} to {last} of each task of suite `{found['suite']}`.",
        f"Solved: at least 95 % of them in {sum(share >= 0.95 for share in shares)} of {len(shares)} tasks, all in "
        f"{shares.count(1)}, less than half in {doubtful}, none in {shares.count(0)}."
        if judged
        else "Nothing says when an episode has succeeded: what counts is the return (human-normalised: 0 is the random "
        "policy's, 1 a human's).",
        "",
        "| task | solved | failed | error | timeout | mean steps | mean return | why not |",
        "|---|---|---|---|---|---|---|---|",
        *map(_line, found["tasks"]),
        "",
        *(f"Not played: {reason}." for reason in found["refused"].values()),
        *([""] if found["refused"] else []),
        f"Made by `{_command(found)}` in {found['seconds']:,.0f} s. {versions}.",
    ]
    return "\n".join(lines) + "\n"


def _line(task: dict[str, Any]) -> str:
    counts = " | ".join(str(task[outcome]) for outcome in OUTCOMES)
    reasons = "; ".join(f"{reason} ({count})" for reason, count in task["reasons"].items()).replace("|", "\\|")
    normalised = f" (human-normalised {task['human']:.2f})" if "human" in task else ""
    return (
        f"| {task['task']} | {counts} | {task['mean_steps']:.1f} | {task['mean_return']:.3f}{normalised} | {reasons} |"
    )


def _command(found: dict[str, Any]) -> str:
    steps = f" --steps {found['budget']['steps']}" if "steps" in found["budget"] else ""
    return (
        f"agentgym survey {found['expert']} --suite {found['suite']} --episodes {found['episodes']} "
        f"--first-seed {found['first_seed']} --seconds {found['budget']['seconds']:g}{steps}"
    )
