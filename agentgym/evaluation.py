"""Evaluations: who is scored on which suite by which protocol, and what a folder then holds.

    evaluation.json    the scores            episodes.json    the episodes behind them, those of the references too
    videos/            films of some of them

The random policy and the expert play the same seeds as who is scored. The seeds are none that a demonstration of the
same task came from. An interrupted evaluation goes on with the next policy.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agentgym import environments, experts, films, players, recipes, scores
from agentgym.errors import UserError
from agentgym.held_out import score_next_actions
from agentgym.players import Player
from agentgym.policy import find_checkpoint
from agentgym.recipes import DatasetRecipe, EvaluationRecipe, FrameRecipe, SuiteRecipe, TaskRecipe, differences
from agentgym.rollouts import Episode, chunks, on_workers, rollout, rollout_expert
from agentgym.runs import all_versions, read_json, read_recipe, write_json
from agentgym.store import SampleDataset, locate

EVALUATION_FORMAT = 1
DEFAULT_EXPERT = "babyai-bot"
ROLES = ("agent", "random", "expert")  # "agent" is who is scored, whoever it is

Advance = Callable[[int], None]
AdvanceWithNote = Callable[[int, str], None]


@dataclass(frozen=True)
class Plan:
    """An evaluation before it is done. `data` is the folder of the dataset that an agent was trained on."""

    player: Player
    suite: SuiteRecipe
    expert: str | None
    protocol: EvaluationRecipe
    folder: Path
    trained_on: DatasetRecipe | None
    data: Path | None
    mixture: tuple[Path, ...] = ()  # the folders, where the agent was trained on several

    @property
    def seeds(self) -> range:
        """The seeds of every task."""
        return range(self.protocol.first_seed, self.protocol.first_seed + self.protocol.episodes)

    @property
    def num_episodes(self) -> int:
        """How many episodes there are to advance over, the references' among them."""
        return len(self.suite.tasks) * len(self.seeds) * (3 if self.expert else 2)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the result: everything but how many environments run at once."""
        return {
            **self.protocol.model_dump(mode="json", exclude={"environments"}),
            "player": self.player.name,
            "weights": _fingerprint(self.player),
            "tasks": [task.model_dump(mode="json", exclude={"reference"}) for task in self.suite.tasks],
            "frame": self.suite.frame.model_dump(mode="json"),
            "expert": self.expert,
        }


def make_plan(
    who: str,
    *,
    suite: str | None = None,
    to: Path | None = None,
    data: Path | None = None,
    expert: str | None = None,
    trust: bool = False,
    **changes: Any,
) -> Plan:
    """The plan of scoring WHO on a suite, or a run on its own; `changes` are values of the protocol, None as it is.

    Raises UserError when there is no such player, suite or expert, or nothing says what to play.
    """
    player = players.find(who, trust=trust)
    run = player.run
    recipe = read_recipe(run) if run else None
    if suite:
        tasks = recipes.load_suite(suite)
        environments.check_suite(tasks)
        protocol = (recipe.evaluation if recipe else EvaluationRecipe()).model_copy(update={"videos": 0})
        folder = to or Path("evaluations") / tasks.name / player.name
    elif recipe and run:
        tasks, protocol, folder = recipe.dataset.suite, recipe.evaluation, to or run
    else:
        raise UserError(
            f"{who}: name what to play with --suite NAME; only a run folder (with recipe.json) brings its own"
        )
    trained_on = recipe.dataset if recipe else None
    if data is not None:
        trained_on = _recorded_recipe(data, trained_on)
    return Plan(
        player=player,
        suite=tasks,
        expert=_choose_expert(expert, recipe.dataset.expert if recipe else DEFAULT_EXPERT, tasks),
        protocol=protocol.model_copy(update={k: v for k, v in changes.items() if v is not None}),
        folder=folder,
        trained_on=trained_on,
        data=_data_of(run) if run and data is None else data,
        mixture=tuple(locate(part.data) for part in recipe.mixture) if recipe and data is None else (),
    )


def evaluate(
    plan: Plan,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    advance: AdvanceWithNote = lambda count, note: None,
) -> dict[str, Any]:
    """Plays the plan, the random policy and the expert on the same seeds; writes the folder and returns its evaluation.

    Raises UserError when seeds overlap the demonstrations', an environment does not fit the policy, or the folder
    holds an evaluation by another protocol that may not be overwritten.
    """
    checked = refuse_overlap(plan)
    refuse_misfits(plan)
    _make_room(plan, overwrite)
    if (plan.folder / "evaluation.json").is_file():
        found: dict[str, Any] = read_json(plan.folder / "evaluation.json")
        return found
    plan.folder.mkdir(parents=True, exist_ok=True)
    episodes: dict[str, Any] = {"protocol": plan.identity}
    if (plan.folder / "episodes.json").is_file():
        episodes = read_json(plan.folder / "episodes.json")
    for role in ROLES:
        name = {"agent": plan.player.name, "random": "random", "expert": plan.expert}[role]
        if name is None:
            continue
        if role not in episodes:
            episodes[role] = _episodes_of(role, name, plan, episodes, workers, advance)
            write_json(plan.folder / "episodes.json", episodes)
        else:
            advance(len(episodes[role]), role)
    if plan.protocol.videos:
        film(plan, [Episode.from_json(values) for values in episodes["agent"]], lambda _: advance(0, "filming"))
    evaluation = {
        "format": EVALUATION_FORMAT,
        "policy": plan.player.who,
        "kind": plan.player.kind,
        "name": plan.player.name,
        "suite": plan.suite.name,
        "deterministic": plan.protocol.deterministic,
        "seeds_checked_against": checked,
        "versions": all_versions(),
        "tasks": [_score_task(task, episodes, plan) for task in plan.suite.tasks],
        "over_tasks": _score_over_tasks(episodes, plan),
        "next_action": _score_next_actions(plan),
    }
    write_json(plan.folder / "evaluation.json", evaluation)
    return evaluation


def refuse_overlap(plan: Plan) -> str | None:
    """What the seeds were checked against: the dataset's folder, or "recipe" where that is not there; None for nothing.

    Raises UserError when a demonstration of one of the tasks came from one of the seeds.
    """
    trained_on = plan.trained_on
    if trained_on is None:
        return None
    dataset = _dataset_of(plan)
    if plan.mixture and dataset is None:
        return None
    demonstrated = range(trained_on.first_seed, trained_on.first_seed + trained_on.episodes)
    for task in {task.id for task in plan.suite.tasks} & {task.id for task in trained_on.suite.tasks}:
        seeds = demonstrated if dataset is None else dataset.seeds(task)
        common = [seed for seed in plan.seeds if seed in seeds]
        if common:
            raise UserError(
                f"evaluation seeds [{plan.seeds.start}, {plan.seeds.stop}) overlap the demonstrations' of {task} in "
                f"{len(common)} seeds, from {common[0]} on; choose another evaluation.first_seed (--first-seed)"
            )
    return "recipe" if dataset is None else ", ".join(map(str, plan.mixture or (plan.data,)))


def refuse_misfits(plan: Plan) -> None:
    """Raises UserError when a task does not fit who plays it."""
    sampled = not plan.protocol.deterministic
    policy = None if plan.player.kind == "expert" else players.load(plan.player, sampled=sampled)
    for task in plan.suite.tasks:
        env = environments.make(task, frame=plan.suite.frame)
        if policy is None:
            experts.make(plan.player.who).check(env)
        else:
            players.refuse_misfit(policy, env)
        env.close()


def _make_room(plan: Plan, overwrite: bool) -> None:
    """Makes room for an evaluation. Raises UserError when there is one by another protocol, unless overwriting."""
    file = plan.folder / "episodes.json"
    if overwrite:
        for name in ("episodes.json", "evaluation.json"):
            (plan.folder / name).unlink(missing_ok=True)
    elif file.is_file():
        changed = differences(read_json(file)["protocol"], plan.identity)
        if changed:
            raise UserError(
                f"{plan.folder}: holds an evaluation by another protocol ({changed[0]}); --overwrite replaces it"
            )


def _choose_expert(asked: str | None, usual: str, suite: SuiteRecipe) -> str | None:
    """Whose score is 1: the one asked for, else the usual one where it can act in every task."""
    expert = experts.make(asked or usual)
    try:
        for task in suite.tasks:
            expert.check(environments.make(task, frame=suite.frame))
    except UserError:
        if asked:
            raise
        return None
    return asked or usual


def _recorded_recipe(data: Path, expected: DatasetRecipe | None) -> DatasetRecipe:
    """The recipe of a dataset folder. Raises UserError when it is another than the agent was trained on."""
    recipe = dict(SampleDataset(data).header.recipe)
    changed = differences(recipe, expected.model_dump(mode="json")) if expected else []
    if changed:
        raise UserError(f"{data}: is not the dataset that the agent was trained on ({changed[0]})")
    return DatasetRecipe.model_validate_json(json.dumps(recipe))


def _data_of(run: Path) -> Path | None:
    """The dataset that a run was trained on, by what the run says of it."""
    if not (run / "training.json").is_file():
        return None
    named = read_json(run / "training.json").get("data")  # runs of before it was written down have none
    return locate(named) if named else None


def _dataset_of(plan: Plan) -> SampleDataset | None:
    """The dataset that the agent was trained on, where it is still there and still that one; a mixture as one."""
    if plan.mixture:
        there = all(any(folder.glob("shard-*.arrow")) for folder in plan.mixture)
        return SampleDataset.join([SampleDataset(folder) for folder in plan.mixture]) if there else None
    if plan.data is None or plan.trained_on is None or not any(plan.data.glob("shard-*.arrow")):
        return None
    dataset = SampleDataset(plan.data)
    same = not differences(dict(dataset.header.recipe), plan.trained_on.model_dump(mode="json"))
    return dataset if same else None


def _fingerprint(player: Player) -> str | None:
    """What tells one set of weights from another, so that a new training is not taken for an old one's evaluation."""
    if player.path is None:
        return None
    folder = player.path / "model" if (player.path / "recipe.json").is_file() else player.path
    file = folder / "model.safetensors" if folder.is_dir() else player.path
    if not file.is_file():
        return None  # loading it says what is missing
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def _episodes_of(
    role: str, name: str, plan: Plan, episodes: dict[str, Any], workers: int | None, advance: AdvanceWithNote
) -> list[dict[str, Any]]:
    """The episodes of a role over all tasks; an expert that is scored is its own reference and plays once."""
    if role != "agent" and plan.player.kind == "expert" and plan.player.who == name:
        advance(len(episodes["agent"]), role)
        played: list[dict[str, Any]] = episodes["agent"]
        return played

    def step(count: int) -> None:
        advance(count, role)

    expert = None if role == "agent" and plan.player.kind != "expert" else name
    jobs = workers or os.cpu_count() or 1
    frame = plan.suite.frame
    return [
        episode.to_json()
        for task in plan.suite.tasks
        for episode in (
            rollout_expert(expert, task, frame=frame, seeds=plan.seeds, workers=jobs, advance=step)
            if expert
            else _play(plan, task, workers or 1, step)
        )
    ]


def _play(plan: Plan, task: TaskRecipe, workers: int, advance: Advance) -> list[Episode]:
    """A policy's episodes: by one process, whose threads the model uses, or by as many as were asked for."""
    arguments = (plan.player, task, plan.suite.frame, plan.protocol)
    if workers == 1:
        return _play_seeds(*arguments, plan.seeds, advance)
    parts = chunks(plan.seeds, math.ceil(len(plan.seeds) / workers))
    return on_workers(_play_seeds, [(*arguments, part) for part in parts], workers, advance)


def _play_seeds(
    player: Player,
    task: TaskRecipe,
    frame: FrameRecipe,
    protocol: EvaluationRecipe,
    seeds: Sequence[int],
    advance: Advance = lambda count: None,
) -> list[Episode]:
    return rollout(
        players.load(player, sampled=not protocol.deterministic),
        task,
        frame=frame,
        seeds=seeds,
        num_environments=protocol.environments,
        deterministic=protocol.deterministic,
        advance=advance,
    )


def _score_task(task: TaskRecipe, episodes: dict[str, Any], plan: Plan) -> dict[str, Any]:
    def scored(role: str) -> dict[str, Any]:
        mine = [episode for episode in episodes[role] if episode["task"] == task.id]
        found = scores.score(
            [e["success"] for e in mine], [e["total_reward"] for e in mine], [e["length"] for e in mine]
        )
        return {**found, "errors": sum(e["error"] is not None for e in mine)}

    normalised = normalised_returns(task, episodes)
    published = task.reference or recipes.published_reference(task.id)
    return {
        "task": task.id,
        "first_seed": plan.protocol.first_seed,
        **scored("agent"),
        "normalised": None if normalised is None else float(normalised.mean()),
        "random": scored("random"),
        **({"expert": {"name": plan.expert, **scored("expert")}} if plan.expert else {}),
        "published": published.model_dump(mode="json") if published else None,
    }


def normalised_returns(task: TaskRecipe, episodes: dict[str, Any]) -> np.ndarray | None:
    """Who is scored, episode by episode, on the scale of random = 0 and expert = 1, or of the published human = 1.

    None without an expert above and a human's return.
    """

    def returns(role: str) -> list[float]:
        return [episode["total_reward"] for episode in episodes[role] if episode["task"] == task.id]

    if task.reference and task.reference.human is not None:
        return scores.normalise(returns("agent"), random=task.reference.random, expert=task.reference.human)
    if "expert" not in episodes:
        return None
    random, expert = float(np.mean(returns("random"))), float(np.mean(returns("expert")))
    return scores.normalise(returns("agent"), random=random, expert=expert)


def _score_over_tasks(episodes: dict[str, Any], plan: Plan) -> dict[str, Any] | None:
    """The scores over the tasks that have a normalised one; None when none has."""
    found = [normalised_returns(task, episodes) for task in plan.suite.tasks]
    normalised = [task for task in found if task is not None]
    return scores.over_tasks(normalised) if normalised else None


def _score_next_actions(plan: Plan) -> dict[str, Any] | None:
    """The agent on the held-out recordings of its dataset, where that is there."""
    dataset, run = _dataset_of(plan), plan.player.run
    if dataset is None or run is None or plan.trained_on is None:
        return None
    return score_next_actions(run / "model", dataset, plan.trained_on.held_out)


def film(plan: Plan, played: Sequence[Episode], advance: Advance) -> None:
    """Films of some failures and successes, into the evaluation's folder."""
    player = plan.player
    checkpoint = find_checkpoint(player.path) if player.kind == "agent" and player.path else None
    chosen = films.choose(played, plan.protocol.videos)
    films.write_films(plan.folder / "videos", chosen, plan.suite, checkpoint, advance)
