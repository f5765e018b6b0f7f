"""Evaluations: a configuration is played and scored, and this is what its folder then holds.

    evaluation.json    the scores            episodes.json    the episodes they come from, those of the references too

The references play the same seeds as who is scored (see `agentgym.evaluation.role_rollouts`). Only what is missing is
played: an interrupted evaluation resumes with the next task or player, and one to which an expert, a task or episodes
are added keeps the others.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentgym import environments, executors
from agentgym.errors import UserError
from agentgym.evaluation.protocol import (
    EvaluationConfig,
    check_seed_overlap,
    check_tasks_fit,
    configure_evaluation,
    present_cache_key,
)
from agentgym.evaluation.references import in_order, with_references
from agentgym.evaluation.role_rollouts import Workers, has_role, play_role
from agentgym.evaluation.statistics import UNIT
from agentgym.evaluation.stored import ROLES, read_episodes, read_evaluation
from agentgym.evaluation.task_scores import score_over_suites, score_over_tasks, score_task
from agentgym.executors import ExecutorName
from agentgym.files import understanding, write_json
from agentgym.folders import check_no_link, claimed
from agentgym.recipes import differences
from agentgym.training.datasets import name_apart
from agentgym.training.run_folder import BUSY
from agentgym.trust import granted
from agentgym.versions import LEARNING, installed_versions

EVALUATION_FORMAT = 2  # 1 knew one suite, one expert and no trivial players

MADE = ("episodes.json", "evaluation.json")
METADATA = {"kind", "deterministic", "seeds_checked_against"}  # in addition to the scores
FIRST_KEYS = (b"protocol", b"format")  # of the two
OnProgress = Callable[[int, str], None]
Episodes = dict[str, Any]  # what episodes.json holds: the protocol, and the episodes of each role as plain values


def evaluate(
    who: EvaluationConfig | str | Path,
    *,
    workers: int | None = None,
    engine: str = ExecutorName.PROCESSES,
    overwrite: bool = False,
    references: str | Path | None = None,
    on_progress: OnProgress = lambda count, note: None,
    **settings: Any,
) -> dict[str, Any]:
    """Scores WHO and its references on the same seeds; writes the folder and returns its evaluation.

    WHO is a run, checkpoint or exported folder, an expert or `sb3:PATH`; `settings` are those of
    `protocol.configure_evaluation`: suite, to, data, expert, trust, and values of the protocol such as episodes.
    Without `workers` experts are played by all cores, and so is an agent on a CPU whose episodes may be long; another
    policy by this process, whose threads it uses. A Ray cluster is used whole. `references` is the folder of another
    evaluation, whose references' episodes are taken over where they are of the same tasks and seeds.
    Raises UserError when seeds overlap the demonstrations', an environment does not fit the policy, the references are
    of none of the tasks, or the folder holds an evaluation by another protocol that may not be overwritten.
    """
    config = who if isinstance(who, EvaluationConfig) else configure_evaluation(str(who), **settings)
    with granted(config.grant):
        beside = None if references is None else Path(references)
        return _evaluate(config, workers, engine, overwrite, beside, on_progress)


def _evaluate(
    config: EvaluationConfig,
    workers: int | None,
    engine: str,
    overwrite: bool,
    references: Path | None,
    on_progress: OnProgress,
) -> dict[str, Any]:
    checked = check_seed_overlap(config)
    check_tasks_fit(config)
    with claimed(config.folder, BUSY):
        return _complete(config, checked, workers, engine, overwrite, references, on_progress)


def _complete(
    config: EvaluationConfig,
    checked: str | None,
    workers: int | None,
    engine: str,
    overwrite: bool,
    references: Path | None,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Plays what is missing and scores it; what evaluation.json then holds."""
    episodes = _known_episodes(config, overwrite)
    if references is not None:
        known, episodes = episodes, with_references(episodes, references, config)
        if episodes != known:
            config.folder.mkdir(parents=True, exist_ok=True)
            write_json(config.folder / "episodes.json", episodes)
    file = config.folder / "evaluation.json"
    if not _play_what_is_missing(config, episodes, workers, engine, on_progress) and file.is_file():
        found = read_evaluation(file)
        if not found.keys() >= METADATA:
            raise UserError(f"{file}: is of an older version or changed; delete it, it is made again of the episodes")
        return found
    packages = {package for play in config.plays for package in environments.packages_of(play.task)}
    evaluation = {
        "format": EVALUATION_FORMAT,
        "policy": config.policy.who,
        "kind": config.policy.kind,
        "name": config.policy.name,
        "suite": ", ".join(config.suites),
        "deterministic": config.protocol.deterministic,
        "seeds_checked_against": checked,
        "unit": UNIT,  # of every interval
        **_device_of(config),
        "versions": installed_versions({*LEARNING, *packages}),
        "tasks": [score_task(play, episodes, config) for play in config.plays],
        "over_tasks": score_over_tasks(episodes, config.plays),
        **score_over_suites(episodes, config),
        **_score_held_out(config),
    }
    write_json(file, evaluation)
    return read_evaluation(file)


def _known_episodes(config: EvaluationConfig, overwrite: bool) -> Episodes:
    """The episodes that the folder has of this configuration. Raises UserError when they are by another protocol."""
    file = config.folder / "episodes.json"
    if overwrite:
        check_no_link(config.folder)
        theirs = [config.folder / name for name in MADE if (config.folder / name).exists()]
        for each in theirs:
            _check_is_ours(each)
        for each in theirs:
            each.unlink()
    if not file.is_file():
        return {"protocol": config.cache_key}
    stored: Episodes = read_episodes(file)
    with understanding(file):
        changed = _changes(stored, config)
    if changed:
        raise UserError(
            f"{config.folder}: holds an evaluation by another protocol ({changed[0]}); --overwrite replaces it"
        )
    return {**stored, "protocol": config.cache_key}


def _changes(stored: Episodes, config: EvaluationConfig) -> list[str]:
    return _contradictions(present_cache_key(stored["protocol"]), config.cache_key)


def _check_is_ours(file: Path) -> None:
    """Raises UserError for a file that no evaluation has begun to write, by what it begins with."""
    with file.open("rb") as stream:
        head = stream.read(200)
    if not any(head.startswith(b'{\n "' + key) for key in FIRST_KEYS):
        raise UserError(f"{file}: is not of an evaluation, so --overwrite does not delete it; choose another --to")


def _contradictions(stored: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What of a stored protocol cannot stay in the wanted one, which may have more episodes, tasks and experts."""
    stored, wanted = _with_episodes_by_task(stored), _with_episodes_by_task(wanted)
    agreed: dict[str, Any] = {**stored, "tasks": {}}
    for name, task in wanted["tasks"].items():
        before = stored["tasks"].get(name, task)
        grown = max(before["episodes"], task["episodes"])
        episodes = grown if stored["first_seed"] == wanted["first_seed"] else before["episodes"]
        agreed["tasks"][name] = {**before, "expert": before["expert"] or task["expert"], "episodes": episodes}
    gone = {name: task for name, task in stored["tasks"].items() if name not in wanted["tasks"]}
    return differences({**agreed, "tasks": {**agreed["tasks"], **gone}}, wanted)


def _with_episodes_by_task(key: dict[str, Any]) -> dict[str, Any]:
    """A protocol whose tasks each say how many episodes they have."""
    tasks = {name: {"episodes": key["episodes"], **task} for name, task in key["tasks"].items()}
    return {**{name: value for name, value in key.items() if name != "episodes"}, "tasks": tasks}


def _play_what_is_missing(
    config: EvaluationConfig, episodes: Episodes, workers: int | None, engine: str, on_progress: OnProgress
) -> bool:
    """Completes the episodes of every role, and the file with them; whether anything was missing."""
    missing = {}
    for role in ROLES:
        there = {(episode["task"], episode["seed"]) for episode in episodes.get(role, ())}
        for play in config.plays:
            if has_role(play, role):
                wanted = config.seeds(play)
                seeds = [seed for seed in wanted if (play.task.id, seed) not in there]
                on_progress(len(wanted) - len(seeds), role)
                if seeds:
                    missing[role, play.task.id] = seeds
    if not missing:
        return False
    config.folder.mkdir(parents=True, exist_ok=True)
    with executors.start(engine, workers=workers) as started:
        undecided = workers is None and engine == ExecutorName.PROCESSES
        pool = Workers(started, None if undecided else started.workers > 1 or engine != ExecutorName.PROCESSES)
        for (role, task), seeds in missing.items():
            played = _played(config, role, task, seeds, episodes, pool, on_progress)
            episodes[role] = in_order(config, [*episodes.get(role, ()), *played])
            write_json(config.folder / "episodes.json", episodes)
    return True


def _played(
    config: EvaluationConfig,
    role: str,
    task: str,
    seeds: list[int],
    episodes: Episodes,
    workers: Workers,
    on_progress: OnProgress,
) -> list[dict[str, Any]]:
    """The missing episodes of a role; an expert that is scored is its own reference and plays once."""
    play = config.play(task)
    same = {"random": "random", "repeat": "repeat", "expert": play.expert}.get(role)
    if role != "agent" and config.policy.kind == "expert" and config.policy.who == same:
        on_progress(len(seeds), role)
        return [e for e in episodes["agent"] if e["task"] == task and e["seed"] in set(seeds)]
    found = play_role(config, play, role, seeds, workers, lambda count: on_progress(count, role))
    return [episode.to_json() for episode in found]


def _device_of(config: EvaluationConfig) -> dict[str, str]:
    """Where an agent computed; torch is imported for agents only."""
    if config.policy.kind != "agent":
        return {}
    from agentgym.model.device import default_device, describe_device

    return {"device": describe_device(default_device())}


def _score_held_out(config: EvaluationConfig) -> dict[str, Any]:
    """The agent on the held-out recordings of each part whose tasks are played, as far as they are there.

    `next_action` is of the first part, `held_out` of each by its name.
    """
    run, played = config.policy.run, {play.task.id for play in config.plays}
    parts = name_apart([part for each in config.trained_on if each.own for part in each.parts])
    own = [part for part in parts if played & set(part.tasks)]
    if run is None or not own:
        return {"next_action": None}
    from agentgym.evaluation.held_out import score_captions, score_next_actions

    scored = {
        part.name: score_next_actions(
            run / "model", part.dataset, part.held_out, part.held_out_hash, window=part.window
        )
        for part in own
        if not part.caption
    }
    acted = [{"part": name, **scores} for name, scores in scored.items() if scores]
    captions = [
        score_captions(run / "model", part.dataset, part.held_out, part.held_out_hash) for part in own if part.caption
    ]
    said = [task for tasks in captions for task in tasks or []]
    return {
        "next_action": next(iter(scored.values()), None),
        **({"held_out": acted} if len(scored) > 1 else {}),
        **({"captions": said} if captions else {}),
    }
