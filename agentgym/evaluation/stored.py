"""The contents of evaluation.json and episodes.json, checked when they are read; an error says what is wrong.

Everything that shows scores or continues an evaluation reads them here, so that no page and no verb checks again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from agentgym.errors import UserError
from agentgym.shapes import CHANGED, SHAPE, Count, Interval, Number, Seed, read_shape

ROLES = ("agent", "random", "expert", "constant", "repeat")
CLOSED = ConfigDict(extra="forbid", strict=True)
Text = Annotated[str, Field(max_length=100_000)]
Some = Annotated[int, Field(ge=1, le=2**63 - 1)]


class _Scored(TypedDict):
    """What one player reached on one task."""

    __pydantic_config__ = SHAPE  # type: ignore[misc]
    episodes: Some
    success_rate: Number
    success_ci95: Interval
    return_mean: Number
    return_ci95: Interval
    length_mean: Number
    errors: Count
    cut: NotRequired[Count]
    name: NotRequired[Text]


class _Expert(_Scored):
    name: Text  # type: ignore[misc]  # always there, of an expert


class _Published(TypedDict):
    __pydantic_config__ = SHAPE  # type: ignore[misc]
    random: float
    expert: NotRequired[float | None]
    human: NotRequired[float | None]
    source: NotRequired[Text | None]


class _Task(_Scored):
    task: Text
    suite: NotRequired[Text]
    defines_success: NotRequired[bool]
    first_seed: Seed
    normalised: float | None
    normalised_ci95: NotRequired[Interval | None]
    random: NotRequired[_Scored]
    expert: NotRequired[_Expert]
    constant: NotRequired[_Expert]
    repeat: NotRequired[_Scored]
    published: _Published | None


class _Profile(TypedDict):
    __pydantic_config__ = SHAPE  # type: ignore[misc]
    thresholds: list[Number]
    shares: list[Number]


class _Over(TypedDict):
    __pydantic_config__ = SHAPE  # type: ignore[misc]
    tasks: Count
    iqm: Number
    iqm_ci95: Interval
    mean: Number
    mean_ci95: Interval
    optimality_gap: Number
    optimality_gap_ci95: Interval
    profile: NotRequired[_Profile]


class _Trivial(TypedDict):
    __pydantic_config__ = SHAPE  # type: ignore[misc]
    commonest: Number
    last: Number


class _Action(TypedDict):
    __pydantic_config__ = SHAPE  # type: ignore[misc]
    episodes: NotRequired[Count]
    actions: Count
    accuracy: Number
    perplexity: Number
    bleu4: Number
    bleu4_with_delimiters: Number
    trivial: NotRequired[_Trivial]


class _Part(_Action):
    part: Text
    trivial: _Trivial  # type: ignore[misc]


class _Majority(TypedDict):
    __pydantic_config__ = SHAPE  # type: ignore[misc]
    answer: Text
    exact_match: Number
    word_accuracy: Number


class _Captions(TypedDict):
    __pydantic_config__ = SHAPE  # type: ignore[misc]
    task: Text
    episodes: Count
    exact_match: Number
    word_accuracy: Number
    majority: _Majority


class _Evaluation(TypedDict):
    __pydantic_config__ = SHAPE  # type: ignore[misc]
    policy: NotRequired[Text]
    kind: NotRequired[Text]
    name: NotRequired[Text]
    suite: NotRequired[Text]
    deterministic: NotRequired[bool]
    seeds_checked_against: NotRequired[Text | None]
    versions: dict[str, Text]
    device: NotRequired[Text]
    unit: NotRequired[Text]
    tasks: Annotated[list[_Task], Field(min_length=1)]
    over_tasks: _Over | None
    over_suites: NotRequired[dict[str, _Over]]
    next_action: _Action | None
    held_out: NotRequired[list[_Part]]
    captions: NotRequired[list[_Captions]]


class StoredEpisode(TypedDict):
    """One episode of episodes.json."""

    __pydantic_config__ = CLOSED  # type: ignore[misc]
    task: Text
    seed: Seed
    instruction: Text
    success: bool
    total_reward: Number
    length: Count
    actions: list[Any]
    error: NotRequired[str | None]
    over_budget: NotRequired[bool]


class _Protocol(TypedDict):
    __pydantic_config__ = SHAPE  # type: ignore[misc]
    deterministic: bool
    player: Text
    weights: Text | None
    first_seed: Seed
    episodes: Some
    tasks: dict[str, dict[str, Any]] | list[dict[str, Any]]  # the latter in older ones


class _Episodes(TypedDict):
    __pydantic_config__ = SHAPE  # type: ignore[misc]
    protocol: NotRequired[_Protocol]
    agent: NotRequired[list[StoredEpisode]]
    random: NotRequired[list[StoredEpisode]]
    expert: NotRequired[list[StoredEpisode]]
    constant: NotRequired[list[StoredEpisode]]
    repeat: NotRequired[list[StoredEpisode]]


def read_evaluation(file: Path) -> dict[str, Any]:
    """What evaluation.json says. Raises UserError when it is not as it was written."""
    found: dict[str, Any] = read_shape(file, _Evaluation)
    for place, task in enumerate(found["tasks"]):
        random, expert = task.get("random"), task.get("expert")
        human = (task["published"] or {}).get("human")
        scale = random and expert and (random["return_mean"], expert["return_mean"])
        scale = (task["published"]["random"], human) if human is not None else scale
        if task["normalised"] is not None and not (scale and scale[0] < scale[1]):
            what = "there is no expert above random to normalise by"
            raise UserError(f"{file}: key 'tasks.{place}.normalised': {what}; {CHANGED}")
    return found


def read_episodes(file: Path) -> dict[str, Any]:
    """What episodes.json says. Raises UserError when it is not as it was written."""
    found: dict[str, Any] = read_shape(file, _Episodes)
    for role in ROLES:
        problem = _problem(found.get(role, ()), found.get("protocol"))
        if problem:
            raise UserError(
                f"{file}: key '{role}': {problem}; it is not as it was written: delete it, or make it again"
            )
    return found


def _problem(episodes: Sequence[StoredEpisode], protocol: _Protocol | None) -> str | None:
    """A problem that no evaluation writes: an episode twice, of another task or seed, or with a wrong length."""
    seen: set[tuple[str, int]] = set()
    for place, episode in enumerate(episodes):
        key = episode["task"], episode["seed"]
        if episode["length"] != len(episode["actions"]):
            return f"episode {place} says {episode['length']} steps and has {len(episode['actions'])} actions"
        if key in seen:
            return f"seed {key[1]} of {key[0]} is there twice"
        if protocol and not _is_of(protocol, *key):
            return f"episode {place}, seed {key[1]} of {key[0]}, is not of its protocol"
        seen.add(key)
    return None


def _is_of(protocol: _Protocol, task: str, seed: int) -> bool:
    tasks = protocol["tasks"]
    names = tasks if isinstance(tasks, dict) else {each.get("id") for each in tasks}
    return task in names and 0 <= seed - protocol["first_seed"] < protocol["episodes"]
