"""survey(expert, suite) -> the outcomes of its episodes on every task, written as a table for people and `collect`.

EXPERT.json    by task: how many episodes were solved, failed, raised or ran out of budget, and why; how its mean return
               lies between the random policy's and a human's, where the suite knows those
EXPERT.md      the same to read
EXPERT.jsonl   the episodes of a survey that is not finished, from which the same command resumes
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentgym import environments, executors, experts
from agentgym.errors import UserError
from agentgym.evaluation.expert_rollouts import play_seeds
from agentgym.evaluation.expert_survey_log import Played, SurveyLog
from agentgym.evaluation.statistics import normalise
from agentgym.experts.outcomes import RELIABLE
from agentgym.files import replace_file, to_json
from agentgym.recipes import BudgetRecipe, FrameRecipe, SuiteRecipe, TaskRecipe
from agentgym.trust import trusting
from agentgym.versions import installed_versions

OUTCOMES = ("solved", "failed", "error", "timeout")

OnProgress = Callable[[int, str], None]
Job = tuple[str, TaskRecipe, FrameRecipe, int, BudgetRecipe]  # an expert, and the seed of a task


@dataclass(frozen=True)
class TaskCheck:
    """What is known about a task before it is played."""

    refusal: str | None  # why the expert cannot act in it
    defines_success: bool
    packages: tuple[str, ...]  # that decide what its episodes look like


def survey(
    expert: str,
    suite: SuiteRecipe,
    *,
    seeds: range,
    budget: BudgetRecipe,
    to: Path,
    workers: int | None = None,
    engine: str = executors.ExecutorName.PROCESSES,
    trust: bool = False,
    on_progress: OnProgress = lambda count, note: None,
) -> dict[str, Any]:
    """The outcomes of an expert's episodes of those seeds in every task of a suite, and what it refuses to act in.

    Each episode is kept in the folder `to` as soon as it has ended; `write_survey` makes a table of them there. What an
    interrupted survey has kept is not played again. `on_progress(count, task)` follows episodes. Raises UserError for
    an unknown expert or task, an expert that is not trusted, and a folder with an unfinished survey of other terms.
    """
    with trusting(trust):
        return _survey(expert, suite, seeds, budget, to, executors.start(engine, workers=workers), on_progress)


def _survey(
    expert: str,
    suite: SuiteRecipe,
    seeds: range,
    budget: BudgetRecipe,
    to: Path,
    starting: AbstractContextManager[executors.Executor],
    on_progress: OnProgress,
) -> dict[str, Any]:
    experts.make(expert)
    environments.check_suite(suite)
    checks = {task.id: _check_task(expert, task, suite.frame) for task in suite.tasks}
    open_tasks = [task for task in suite.tasks if not checks[task.id].refusal]
    versions = installed_versions({package for check in checks.values() for package in check.packages})
    on_progress(len(seeds) * (len(checks) - len(open_tasks)), "")
    jobs = [(expert, task, suite.frame, seed, budget) for task in open_tasks for seed in seeds]
    with (
        SurveyLog(log_file(to, expert), _terms(expert, suite, budget, versions)) as log,
        starting as executor,
    ):
        _play_missing(jobs, log, executor, on_progress)
    by_seed = {(played.task, played.seed): played for played in log.played}
    return {
        "format": 1,
        "expert": expert,
        "suite": suite.name,
        "first_seed": seeds.start,
        "episodes": len(seeds),
        "budget": budget.model_dump(mode="json"),
        "seconds": round(sum(by_seed[task.id, seed].seconds for task in open_tasks for seed in seeds), 1),
        "versions": versions,
        "tasks": [
            _row(task, checks[task.id].defines_success, [by_seed[task.id, seed] for seed in seeds])
            for task in open_tasks
        ],
        "refused": {name: check.refusal for name, check in checks.items() if check.refusal},
    }


def log_file(to: Path, expert: str) -> Path:
    """Where an unfinished survey keeps its episodes."""
    return to / f"{_stem(expert)}.jsonl"


def _check_task(expert: str, task: TaskRecipe, frame: FrameRecipe) -> TaskCheck:
    env = environments.make(task, frame=frame)
    refusal = None
    try:
        experts.make(expert).check(env)
    except UserError as error:
        refusal = str(error)
    finally:
        env.close()
    return TaskCheck(refusal, env.defines_success, tuple(env.packages))


def _terms(expert: str, suite: SuiteRecipe, budget: BudgetRecipe, versions: dict[str, str]) -> dict[str, Any]:
    """What two surveys share whose episodes may be in one table."""
    tasks = {task.id: task.model_dump(mode="json", exclude={"id", "reference"}) for task in suite.tasks}
    return {
        "expert": expert,
        "frame": suite.frame.model_dump(mode="json"),
        "tasks": tasks,
        "budget": budget.model_dump(mode="json"),
        "versions": versions,
    }


def _play_missing(jobs: Sequence[Job], log: SurveyLog, executor: executors.Executor, on_progress: OnProgress) -> None:
    """Whether the journal has the episode of every job."""
    done = {(played.task, played.seed) for played in log.played}
    missing = [job for job in jobs if (job[1].id, job[3]) not in done]
    on_progress(len(jobs) - len(missing), "")
    for played in executor.as_done(_play, missing):
        log.add(played)
        on_progress(1, played.task)


def _play(expert: str, task: TaskRecipe, frame: FrameRecipe, seed: int, budget: BudgetRecipe) -> Played:
    started = time.process_time()
    (episode,) = play_seeds(expert, task, frame, (seed,), budget)
    seconds = round(time.process_time() - started, 3)
    values = (episode.outcome, episode.total_reward, episode.length, episode.error)
    return Played(task.id, seed, *values, seconds)


def _row(task: TaskRecipe, defines_success: bool, episodes: Sequence[Played]) -> dict[str, Any]:
    return {**row_of(task.id, episodes), **_by_return(task, defines_success, episodes)}


def row_of(task: str, episodes: Sequence[Played]) -> dict[str, Any]:
    """One row of the table."""
    found = Counter(episode.outcome for episode in episodes)
    return {
        "task": task,
        **{outcome: found[outcome] for outcome in OUTCOMES},
        "mean_steps": round(sum(episode.length for episode in episodes) / len(episodes), 2),
        "mean_return": round(sum(episode.total_reward for episode in episodes) / len(episodes), 4),
        "reasons": dict(Counter(episode.error for episode in episodes if episode.error).most_common()),
        "unsolved_seeds": [episode.seed for episode in episodes if episode.outcome != "solved"],
    }


def _by_return(task: TaskRecipe, defines_success: bool, episodes: Sequence[Played]) -> dict[str, Any]:
    """What a row also says of a task that has published returns, or no success to count its episodes by."""
    said: dict[str, Any] = {} if defines_success else {"defines_success": False}
    reference = task.reference
    if reference is None or reference.human is None:
        return said
    returns = [episode.total_reward for episode in episodes]
    normalised = normalise(returns, random=reference.random, expert=reference.human)
    return {**said, "returns": returns} | ({} if normalised is None else {"human": round(float(normalised.mean()), 4)})


def write_survey(found: dict[str, Any], to: Path) -> Path:
    """Writes the table into the folder that the survey kept its episodes in, which are no longer needed; the page."""
    stem = _stem(found["expert"])
    replace_file(to / f"{stem}.json", to_json(found, indent=1) + "\n")
    page = to / f"{stem}.md"
    replace_file(page, _page(found))
    log_file(to, found["expert"]).unlink()
    return page


def _stem(expert: str) -> str:
    """How the files of an expert begin: `sb3:zips/pong.zip` is `sb3-pong`."""
    kind, _, path = expert.rpartition(":")
    return f"{kind}-{Path(path).stem}" if kind else path


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
        f"Made by `{_command(found)}` in {found['seconds']:,.0f} s of a core. {versions}.",
    ]
    return "\n".join(lines) + "\n"


def _line(task: dict[str, Any]) -> str:
    judged = task.get("defines_success", True)
    counts = " | ".join(str(task[name]) if judged or name not in ("solved", "failed") else "–" for name in OUTCOMES)
    reasons = "; ".join(f"{reason} ({count})" for reason, count in task["reasons"].items()).replace("|", "\\|")
    normalised = f" (human-normalised {task['human']:.2f})" if "human" in task else ""
    return (
        f"| {task['task']} | {counts} | {task['mean_steps']:.1f} | {task['mean_return']:.3f}{normalised} | {reasons} |"
    )


def _command(found: dict[str, Any]) -> str:
    budget = "".join(f" --expert-{name} {value:g}" for name, value in found["budget"].items())
    trust = " --trust" if found["expert"].startswith(experts.SB3) else ""
    return (
        f"agentgym survey {found['expert']} --suite {found['suite']} --episodes {found['episodes']} "
        f"--first-seed {found['first_seed']}{budget}{trust}"
    )
