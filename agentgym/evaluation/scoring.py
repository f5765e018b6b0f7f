"""Evaluations: a plan is played and scored, and this is what its folder then holds.

    evaluation.json    the scores            episodes.json    the episodes behind them, those of the references too

The random policy and the expert play the same seeds as who is scored. An interrupted evaluation goes on with the next
of the three.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentgym import executors
from agentgym.data.store import EpisodeDataset
from agentgym.errors import UserError
from agentgym.evaluation.held_out import score_captions, score_next_actions
from agentgym.evaluation.protocol import (
    EvaluationConfig,
    check_seed_overlap,
    check_tasks_fit,
    configure_evaluation,
    datasets_of,
)
from agentgym.evaluation.role_rollouts import rollout_agent, rollout_reference
from agentgym.evaluation.task_scores import score_over_tasks, score_task
from agentgym.executors import ExecutorName
from agentgym.files import read_json, write_json
from agentgym.recipes import differences
from agentgym.versions import LEARNING, installed_versions

EVALUATION_FORMAT = 1
ROLES = ("agent", "random", "expert")  # "agent" is who is scored, whoever it is

OnProgress = Callable[[int, str], None]


def evaluate(
    who: EvaluationConfig | str | Path,
    *,
    workers: int | None = None,
    engine: str = ExecutorName.PROCESSES,
    overwrite: bool = False,
    on_progress: OnProgress = lambda count, note: None,
    **settings: Any,
) -> dict[str, Any]:
    """Scores WHO beside the random policy and the expert on the same seeds; writes the folder, returns its evaluation.

    WHO is a run, checkpoint or exported folder, an expert or `sb3:PATH`; `settings` are those of
    `protocol.configure_evaluation`: suite, to, data, expert, trust, and values of the protocol such as episodes.
    Without `workers` a policy is played by this process, whose threads it uses, and experts by all cores; a Ray cluster
    is used whole. Raises UserError when seeds overlap the demonstrations', an environment does not fit the policy, or
    the folder holds an evaluation by another protocol that may not be overwritten.
    """
    config = who if isinstance(who, EvaluationConfig) else configure_evaluation(str(who), **settings)
    checked = check_seed_overlap(config)
    check_tasks_fit(config)
    _make_room(config, overwrite)
    if (config.folder / "evaluation.json").is_file():
        found: dict[str, Any] = read_json(config.folder / "evaluation.json")
        return found
    episodes = _play_missing_roles(config, workers, engine, on_progress)
    evaluation = {
        "format": EVALUATION_FORMAT,
        "policy": config.policy.who,
        "kind": config.policy.kind,
        "name": config.policy.name,
        "suite": config.suite.name,
        "deterministic": config.protocol.deterministic,
        "seeds_checked_against": checked,
        "versions": installed_versions(LEARNING),
        "tasks": [score_task(task, episodes, config) for task in config.suite.tasks],
        "over_tasks": score_over_tasks(episodes, config),
        "next_action": _score_next_actions(config),
        **_score_captions(config),
    }
    write_json(config.folder / "evaluation.json", evaluation)
    return evaluation


def _make_room(config: EvaluationConfig, overwrite: bool) -> None:
    """Makes room for an evaluation. Raises UserError when there is one by another protocol, unless overwriting."""
    file = config.folder / "episodes.json"
    if overwrite:
        for name in ("episodes.json", "evaluation.json"):
            (config.folder / name).unlink(missing_ok=True)
    elif file.is_file():
        changed = differences(read_json(file)["protocol"], config.cache_key)
        if changed:
            raise UserError(
                f"{config.folder}: holds an evaluation by another protocol ({changed[0]}); --overwrite replaces it"
            )


def _play_missing_roles(
    config: EvaluationConfig, workers: int | None, engine: str, on_progress: OnProgress
) -> dict[str, Any]:
    """What is in episodes.json once every role has played."""
    config.folder.mkdir(parents=True, exist_ok=True)
    file = config.folder / "episodes.json"
    episodes = read_json(file) if file.is_file() else {"protocol": config.cache_key}
    roles = [role for role in ROLES if role != "expert" or config.expert]
    for role in roles:
        if role in episodes:
            on_progress(len(episodes[role]), role)
    missing = [role for role in roles if role not in episodes]
    if missing:
        with executors.start(engine, workers=workers) as executor:
            alone = workers in (None, 1) and engine == ExecutorName.PROCESSES
            for role in missing:
                episodes[role] = _play(config, role, episodes, executor, alone, on_progress)
                write_json(file, episodes)
    return episodes


def _play(
    config: EvaluationConfig,
    role: str,
    episodes: dict[str, Any],
    executor: executors.Executor,
    alone: bool,
    on_progress: OnProgress,
) -> list[dict[str, Any]]:
    """The episodes of a role over all tasks; an expert that is scored is its own reference and plays once."""
    expert = {"agent": config.policy.who if config.policy.kind == "expert" else None, "expert": config.expert}.get(
        role, role
    )
    if role != "agent" and config.policy.kind == "expert" and config.policy.who == expert:
        on_progress(len(episodes["agent"]), role)
        played: list[dict[str, Any]] = episodes["agent"]
        return played

    def step(count: int) -> None:
        on_progress(count, role)

    found = (
        rollout_reference(config, expert, executor, step)
        if expert
        else rollout_agent(config, None if alone else executor, step)
    )
    return [episode.to_json() for episode in found]


def _score_next_actions(config: EvaluationConfig) -> dict[str, Any] | None:
    """The agent on the held-out recordings of its dataset, where that is there."""
    datasets, run = datasets_of(config), config.policy.run
    if not datasets or run is None or config.trained_on is None:
        return None
    like = [dataset for dataset in datasets if _shapes(dataset) == _shapes(datasets[0])]
    return score_next_actions(run / "model", EpisodeDataset.join(like), config.trained_on.held_out)


def _shapes(dataset: EpisodeDataset) -> tuple[Any, ...]:
    return dataset.header.space, dataset.header.frame_shape


def _score_captions(config: EvaluationConfig) -> dict[str, Any]:
    """What the agent says of the held-out episodes that it was trained to caption, by task; nothing of other agents."""
    run, trained_on = config.policy.run, config.trained_on
    there = all(any(folder.glob("shard-*.arrow")) for folder in config.captioned)
    if run is None or trained_on is None or not config.captioned or not there:
        return {}
    scored = [score_captions(run / "model", EpisodeDataset(folder), trained_on.held_out) for folder in config.captioned]
    return {"captions": [task for tasks in scored for task in tasks or []]}
