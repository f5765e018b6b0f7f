"""The references' episodes of another evaluation: they are the same whoever is scored, and may cost more to play."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentgym import environments
from agentgym.errors import UserError
from agentgym.evaluation.protocol import EvaluationConfig, present_cache_key
from agentgym.evaluation.stored import ROLES, read_episodes, read_evaluation
from agentgym.files import understanding
from agentgym.recipes import differences
from agentgym.versions import installed_versions


def check_references(folder: Path) -> None:
    """Raises UserError when the folder holds no evaluation."""
    if not all((folder / name).is_file() for name in ("episodes.json", "evaluation.json")):
        raise UserError(f"--references {folder}: holds no evaluation; 'agentgym evaluate' makes one")


def with_references(episodes: dict[str, Any], folder: Path, config: EvaluationConfig) -> dict[str, Any]:
    """The `episodes`, as of episodes.json, and those of the references in `folder` that are missing and fit.

    They fit where the other evaluation played a task in the same way, with the same expert and the packages that are
    installed. Raises UserError where it played none so, or is not whole.
    """
    check_references(folder)
    file = folder / "episodes.json"
    theirs, versions = read_episodes(file), read_evaluation(folder / "evaluation.json")["versions"]
    with understanding(file):
        known = present_cache_key(theirs["protocol"])["tasks"]
    found, unlike, ours = dict(episodes), dict[str, str](), config.cache_key["tasks"]
    for play in config.plays:
        difference = _difference(known.get(play.task.id), ours[play.task.id], versions, play.task)
        if difference:
            unlike[play.task.id] = difference
            continue
        wanted = set(config.seeds(play))
        for role in ROLES[1:]:
            there = {episode["seed"] for episode in found.get(role, ()) if episode["task"] == play.task.id}
            more = [e for e in theirs.get(role, ()) if e["task"] == play.task.id and e["seed"] in wanted - there]
            found |= {role: in_order(config, [*found.get(role, ()), *more])} if more else {}
    if len(unlike) == len(config.plays):
        task, difference = next(iter(unlike.items()))
        raise UserError(f"--references {folder}: played no task in this way ({task}: {difference})")
    return found


def in_order(config: EvaluationConfig, episodes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Task by task, seed by seed, however they came to be played."""
    places = {play.task.id: place for place, play in enumerate(config.plays)}
    return sorted(episodes, key=lambda episode: (places[episode["task"]], episode["seed"]))


def _difference(
    theirs: Mapping[str, Any] | None, ours: Mapping[str, Any], versions: Mapping[str, str], task: Any
) -> str | None:
    """In what another evaluation played a task otherwise; None where it did not."""
    if theirs is None:
        return "it is not there"
    without = {"episodes": None}
    installed = installed_versions(environments.packages_of(task))
    then = {f"{name} {version}" for name, version in versions.items() if name in installed}
    now = {f"{name} {version}" for name, version in installed.items()}
    changed = differences({**theirs, **without}, {**ours, **without})
    if changed or now <= then:
        return changed[0] if changed else None
    return f"{min(now - then)} is installed now"
