"""Evaluations: a plan is played and scored, and this is what its folder then holds.

    evaluation.json    the scores            episodes.json    the episodes behind them, those of the references too

The random policy and the expert play the same seeds as who is scored. An interrupted evaluation goes on with the next
of the three.
"""

from collections.abc import Callable
from typing import Any

from agentgym import executors
from agentgym.data.store import EpisodeDataset
from agentgym.errors import UserError
from agentgym.evaluation.held_out import score_captions, score_next_actions
from agentgym.evaluation.protocol import EvaluationConfig, datasets_of, refuse_misfits, refuse_overlap
from agentgym.evaluation.role_rollouts import play_agent, play_reference
from agentgym.evaluation.task_scores import score_over_tasks, score_task
from agentgym.executors import ExecutorName
from agentgym.files import read_json, write_json
from agentgym.recipes import differences
from agentgym.versions import LEARNING, installed_versions

EVALUATION_FORMAT = 1
ROLES = ("agent", "random", "expert")  # "agent" is who is scored, whoever it is

OnProgress = Callable[[int, str], None]


def evaluate(
    plan: EvaluationConfig,
    *,
    workers: int | None = None,
    engine: str = ExecutorName.PROCESSES,
    overwrite: bool = False,
    advance: OnProgress = lambda count, note: None,
) -> dict[str, Any]:
    """Plays the plan, the random policy and the expert on the same seeds; writes the folder and returns its evaluation.

    Without `workers` a policy is played by this process, whose threads it uses, and experts by all cores; a Ray cluster
    is used whole. Raises UserError when seeds overlap the demonstrations', an environment does not fit the policy, or
    the folder holds an evaluation by another protocol that may not be overwritten.
    """
    checked = refuse_overlap(plan)
    refuse_misfits(plan)
    _make_room(plan, overwrite)
    if (plan.folder / "evaluation.json").is_file():
        found: dict[str, Any] = read_json(plan.folder / "evaluation.json")
        return found
    episodes = _play_what_is_missing(plan, workers, engine, advance)
    evaluation = {
        "format": EVALUATION_FORMAT,
        "policy": plan.player.who,
        "kind": plan.player.kind,
        "name": plan.player.name,
        "suite": plan.suite.name,
        "deterministic": plan.protocol.deterministic,
        "seeds_checked_against": checked,
        "versions": installed_versions(LEARNING),
        "tasks": [score_task(task, episodes, plan) for task in plan.suite.tasks],
        "over_tasks": score_over_tasks(episodes, plan),
        "next_action": _score_next_actions(plan),
        **_score_captions(plan),
    }
    write_json(plan.folder / "evaluation.json", evaluation)
    return evaluation


def _make_room(plan: EvaluationConfig, overwrite: bool) -> None:
    """Makes room for an evaluation. Raises UserError when there is one by another protocol, unless overwriting."""
    file = plan.folder / "episodes.json"
    if overwrite:
        for name in ("episodes.json", "evaluation.json"):
            (plan.folder / name).unlink(missing_ok=True)
    elif file.is_file():
        changed = differences(read_json(file)["protocol"], plan.cache_key)
        if changed:
            raise UserError(
                f"{plan.folder}: holds an evaluation by another protocol ({changed[0]}); --overwrite replaces it"
            )


def _play_what_is_missing(
    plan: EvaluationConfig, workers: int | None, engine: str, advance: OnProgress
) -> dict[str, Any]:
    """What is in episodes.json once every role has played."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    file = plan.folder / "episodes.json"
    episodes = read_json(file) if file.is_file() else {"protocol": plan.cache_key}
    roles = [role for role in ROLES if role != "expert" or plan.expert]
    for role in roles:
        if role in episodes:
            advance(len(episodes[role]), role)
    missing = [role for role in roles if role not in episodes]
    if missing:
        with executors.start(engine, workers=workers) as crew:
            alone = workers in (None, 1) and engine == ExecutorName.PROCESSES
            for role in missing:
                episodes[role] = _play(plan, role, episodes, crew, alone, advance)
                write_json(file, episodes)
    return episodes


def _play(
    plan: EvaluationConfig,
    role: str,
    episodes: dict[str, Any],
    crew: executors.Executor,
    alone: bool,
    advance: OnProgress,
) -> list[dict[str, Any]]:
    """The episodes of a role over all tasks; an expert that is scored is its own reference and plays once."""
    expert = {"agent": plan.player.who if plan.player.kind == "expert" else None, "expert": plan.expert}.get(role, role)
    if role != "agent" and plan.player.kind == "expert" and plan.player.who == expert:
        advance(len(episodes["agent"]), role)
        played: list[dict[str, Any]] = episodes["agent"]
        return played

    def step(count: int) -> None:
        advance(count, role)

    found = play_reference(plan, expert, crew, step) if expert else play_agent(plan, None if alone else crew, step)
    return [episode.to_json() for episode in found]


def _score_next_actions(plan: EvaluationConfig) -> dict[str, Any] | None:
    """The agent on the held-out recordings of its dataset, where that is there."""
    datasets, run = datasets_of(plan), plan.player.run
    if not datasets or run is None or plan.trained_on is None:
        return None
    like = [dataset for dataset in datasets if _shapes(dataset) == _shapes(datasets[0])]
    return score_next_actions(run / "model", EpisodeDataset.join(like), plan.trained_on.held_out)


def _shapes(dataset: EpisodeDataset) -> tuple[Any, ...]:
    return dataset.header.space, dataset.header.frame_shape


def _score_captions(plan: EvaluationConfig) -> dict[str, Any]:
    """What the agent says of the held-out episodes that it was trained to caption, by task; nothing of other agents."""
    run, trained_on = plan.player.run, plan.trained_on
    there = all(any(folder.glob("shard-*.arrow")) for folder in plan.captioned)
    if run is None or trained_on is None or not plan.captioned or not there:
        return {}
    scored = [score_captions(run / "model", EpisodeDataset(folder), trained_on.held_out) for folder in plan.captioned]
    return {"captions": [task for tasks in scored for task in tasks or []]}
