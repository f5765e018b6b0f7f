"""Configurations of evaluations: who plays which tasks by which protocol, checked before anything is played.

Seeds of demonstrations and tasks that do not fit the policy are refused. What decides the result is the `cache_key`. A
configuration may have several suites, whose tasks differ in actions, frames and experts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agentgym import environments, experts, recipes
from agentgym.data.store import locate
from agentgym.errors import UserError
from agentgym.evaluation import policy_registry
from agentgym.evaluation.demonstrations import Demonstrations, demonstrations_of
from agentgym.evaluation.frame_notes import other_frames
from agentgym.evaluation.policy_registry import PolicySpec
from agentgym.policies.agents import shipped_agents
from agentgym.recipes import (
    BudgetRecipe,
    DatasetRecipe,
    EvaluationRecipe,
    ExperimentRecipe,
    FrameRecipe,
    SuiteRecipe,
    TaskRecipe,
)
from agentgym.training.run_folder import read_recipe
from agentgym.trust import NOTHING, Grant, current, trusting

USUAL_EXPERTS = ("babyai-bot", "minigrid-planner", "trained", "atari-ram")  # the first that can act in a task


@dataclass(frozen=True)
class Play:
    """One task as it is played: its suite, its frames, and the expert whose score is 1, with its budget.

    `episodes` where it has fewer or more than the protocol says.
    """

    suite: str
    task: TaskRecipe
    frame: FrameRecipe
    expert: str | None
    budget: BudgetRecipe
    episodes: int | None = None


@dataclass(frozen=True)
class EvaluationConfig:
    """An evaluation before it is done. `trained_on` is what an agent, and those that it came from, were trained on."""

    policy: PolicySpec
    plays: tuple[Play, ...]
    protocol: EvaluationRecipe
    folder: Path
    trained_on: tuple[Demonstrations, ...] = ()
    grant: Grant = NOTHING  # what code may be loaded to play it
    notes: tuple[str, ...] = ()  # what a person should know who reads the scores

    @property
    def suites(self) -> tuple[str, ...]:
        """The names of the suites."""
        return tuple(dict.fromkeys(play.suite for play in self.plays))

    def seeds(self, play: Play) -> range:
        """The seeds of a task."""
        return range(self.protocol.first_seed, self.protocol.first_seed + (play.episodes or self.protocol.episodes))

    @property
    def num_episodes(self) -> int:
        """How many episodes there are to advance over, the references' among them."""
        return sum(len(self.seeds(play)) * (5 if play.expert else 4) for play in self.plays)

    @property
    def cache_key(self) -> dict[str, Any]:
        """What decides the result: everything but how many environments run at once, and where."""
        return {
            "deterministic": self.protocol.deterministic,
            "player": self.policy.name,
            "weights": self.policy.fingerprint,
            "first_seed": self.protocol.first_seed,
            "episodes": self.protocol.episodes,
            "tasks": {
                play.task.id: {
                    **play.task.model_dump(mode="json", exclude={"id", "reference"}),
                    "frame": play.frame.model_dump(mode="json"),
                    "expert": play.expert,
                    **({"episodes": play.episodes} if play.episodes else {}),
                }
                for play in self.plays
            },
        }

    def play(self, task: str) -> Play:
        """How that task is played."""
        return {play.task.id: play for play in self.plays}[task]


def configure_evaluation(
    who: str,
    *,
    suite: str | None = None,
    to: Path | None = None,
    data: Path | str | None = None,
    expert: str | None = None,
    expert_seconds: float | None = None,
    trust: bool = False,
    **changes: Any,
) -> EvaluationConfig:
    """The configuration of scoring WHO on a suite, or a run on those of all its parts; `changes` are values of the
    protocol.

    Without `expert`, a task's is the one that demonstrated it, or the first usual one that can act there. An expert may
    spend `expert_seconds` of a core on an episode. Raises UserError when there is no such player, suite or expert, or
    nothing says what to play.
    """
    with trusting(trust):
        return _configure(who, suite, to, data, expert, expert_seconds, changes)


def _configure(
    who: str,
    suite: str | None,
    to: Path | None,
    data: Path | str | None,
    expert: str | None,
    expert_seconds: float | None,
    changes: Mapping[str, Any],
) -> EvaluationConfig:
    spec = policy_registry.resolve_policy(who)
    run = spec.run
    recipe = read_recipe(run) if run else None
    trained_on = demonstrations_of(run, locate(data) if data else None)
    own = [each.recipe for each in trained_on if each.own and each.recipe]
    demonstrated = [*(recipe.datasets if recipe else ()), *own]
    if suite:
        suites = [recipes.load_suite(suite)]
        protocol = (recipe.evaluation if recipe else EvaluationRecipe()).model_copy(update={"videos": 0})
        folder = to or Path("evaluations") / suites[0].name / spec.name
    elif recipe and run:
        suites, protocol = _each_once(each.suite for each in demonstrated), recipe.evaluation
        folder = to or _folder_of(run)
        if not suites:
            raise UserError(f"{run}: none of its parts says what it was recorded in; name what to play with --suite")
    else:
        raise UserError(
            f"{who}: name what to play with --suite NAME; only a run folder (with recipe.json) brings its own"
        )
    for each in suites:
        environments.check_suite(each)
    notes = [
        f"seeds are not checked against what {each.folder} was trained on, which is not known here"
        for each in trained_on
        if not each.known
    ]
    plays = _plays(suites, demonstrated, expert, expert_seconds, notes)
    episodes = _episodes_by_task(recipe) if recipe and changes.get("episodes") is None else {}
    return EvaluationConfig(
        policy=spec,
        plays=tuple(replace(play, episodes=episodes.get(play.task.id)) for play in plays),
        protocol=recipes.with_values(protocol, changes),
        folder=folder,
        trained_on=tuple(trained_on),
        grant=current(),
        notes=tuple(dict.fromkeys(notes)),
    )


def _episodes_by_task(recipe: ExperimentRecipe) -> dict[str, int]:
    """How many episodes the parts of a recipe say that their tasks are scored over, of those that say it."""
    return {
        task.id: part.episodes
        for part in recipe.parts
        if part.dataset and part.episodes
        for task in part.dataset.suite.tasks
    }


def _each_once(suites: Iterator[SuiteRecipe]) -> list[SuiteRecipe]:
    found: list[SuiteRecipe] = []
    for suite in suites:
        found += [] if any(suite.is_within(other) for other in found) else [suite]
    return found


def _plays(
    suites: Sequence[SuiteRecipe],
    demonstrated: Sequence[DatasetRecipe],
    asked: str | None,
    seconds: float | None,
    notes: list[str],
) -> Iterator[Play]:
    """Every task of every suite; a note is added for each whose demonstrator cannot play, or whose frames are others.

    Raises UserError when a task is in two suites that play it otherwise.
    """
    played: dict[str, Play] = {}
    for suite in suites:
        for task in suite.tasks:
            named = next((each for each in demonstrated if any(map(task.plays_like, each.suite.tasks))), None)
            notes += other_frames(task, suite.frame, demonstrated)
            expert = _choose_expert(asked, named, task, suite.frame, notes)
            budget = named.budget if named and named.expert == expert else BudgetRecipe()
            if seconds is not None:
                budget = recipes.with_values(budget, {"seconds": seconds}, prefix="expert_")
            play = Play(suite.name, task, suite.frame, expert, budget)
            before = played.setdefault(task.id, play)
            if before.frame != suite.frame or not before.task.plays_like(task):
                raise UserError(
                    f"{task.id} is in the suites {before.suite} and {suite.name}, which play it otherwise: "
                    "evaluate them one at a time, with --suite"
                )
            if before is play:
                yield play


def _choose_expert(
    asked: str | None, named: DatasetRecipe | None, task: TaskRecipe, frame: FrameRecipe, notes: list[str]
) -> str | None:
    """The expert: the one asked for, else the one that demonstrated the task, else a usual one; None without.

    Where the demonstrator cannot play, because it has to be trusted or is gone, a note says why.
    """
    env = environments.make(task, frame=frame)
    try:
        if asked:
            experts.make(asked).check(env)
            return asked
        for name in dict.fromkeys([*([named.expert] if named else ()), *USUAL_EXPERTS]):
            reason = _why_not(name, env)
            if reason is None:
                return name
            if named and name == named.expert:
                notes.append(f"{name}, which demonstrated {task.id}, is not the reference: {reason}")
        return None
    finally:
        env.close()


def _why_not(expert: str, env: environments.Task) -> str | None:
    """Why an expert does not act in an environment: it cannot, or has to be trusted and is not. None: it does."""
    try:
        experts.make(expert).check(env)
    except UserError as error:
        return str(error)
    return None


def check_seed_overlap(config: EvaluationConfig) -> str | None:
    """What the seeds were checked against: the folders of datasets, or "recipe" where one is gone; None for nothing.

    Raises UserError when a demonstration of one of the tasks came from one of the seeds.
    """
    for each in config.trained_on:
        for play in config.plays:
            seeds = config.seeds(play)
            common = sorted(each.seeds(play.task.id) & set(seeds))
            if common:
                whose = "" if each.own else f" ({each.name}, of the agent that it started from)"
                raise UserError(
                    f"evaluation seeds [{seeds.start}, {seeds.stop}) overlap the demonstrations' of "
                    f"{play.task.id} in {len(common)} seeds, from {common[0]} on{whose}; choose another "
                    "evaluation.first_seed (--first-seed)"
                )
    return ", ".join(dict.fromkeys(each.name for each in config.trained_on if each.known)) or None


def check_tasks_fit(config: EvaluationConfig) -> None:
    """Raises UserError when a task does not fit who plays it."""
    sampled = not config.protocol.deterministic
    policy = None if config.policy.kind == "expert" else policy_registry.load_once(config.policy, sampled=sampled)
    for play in config.plays:
        env = environments.make(play.task, frame=play.frame)
        if policy is None:
            experts.make(config.policy.who).check(env)
        else:
            policy_registry.check_fit(policy, env)
        env.close()


def present_cache_key(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The cache key of a stored evaluation as it is written now; older ones had one suite and one expert."""
    if isinstance(stored["tasks"], dict):
        return dict(stored)
    kept = {key: stored[key] for key in ("deterministic", "player", "weights", "first_seed", "episodes")}
    common = {"frame": stored["frame"], "expert": stored["expert"]}
    tasks = {each["id"]: {**{k: v for k, v in each.items() if k != "id"}, **common} for each in stored["tasks"]}
    return {**kept, "tasks": tasks}


def _folder_of(run: Path) -> Path:
    """Where a run's own evaluation goes: into the run; that of an agent that ships with the package into runs/."""
    return Path("evaluations") / run.name if run in shipped_agents().values() else run
