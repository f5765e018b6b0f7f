"""Plans of evaluations: who plays which suite by which protocol, and what may not be: seeds of demonstrations, misfits.

A plan is known before anything is played, and what in it decides the result is its `identity`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentgym import environments, experts, recipes
from agentgym.data.store import EpisodeDataset, locate
from agentgym.errors import UserError
from agentgym.evaluation import policy_registry
from agentgym.evaluation.policy_registry import PolicySpec
from agentgym.files import read_json
from agentgym.recipes import DatasetRecipe, EvaluationRecipe, SuiteRecipe, differences
from agentgym.training.run_folder import read_recipe

DEFAULT_EXPERT = "babyai-bot"


@dataclass(frozen=True)
class EvaluationConfig:
    """An evaluation before it is done. `data` is the folder of the dataset that an agent was trained on."""

    policy: PolicySpec
    suite: SuiteRecipe
    expert: str | None
    protocol: EvaluationRecipe
    folder: Path
    trained_on: DatasetRecipe | None
    data: Path | None
    mixture: tuple[Path, ...] = ()  # the folders, where the agent was trained on several
    captioned: tuple[Path, ...] = ()  # those that it was trained to caption

    @property
    def seeds(self) -> range:
        """The seeds of every task."""
        return range(self.protocol.first_seed, self.protocol.first_seed + self.protocol.episodes)

    @property
    def num_episodes(self) -> int:
        """How many episodes there are to advance over, the references' among them."""
        return len(self.suite.tasks) * len(self.seeds) * (3 if self.expert else 2)

    @property
    def cache_key(self) -> dict[str, Any]:
        """What decides the result: everything but how many environments run at once, and where."""
        return {
            **self.protocol.model_dump(mode="json", exclude={"environments", "vector"}),
            "player": self.policy.name,
            "weights": self.policy.fingerprint,
            "tasks": [task.model_dump(mode="json", exclude={"reference"}) for task in self.suite.tasks],
            "frame": self.suite.frame.model_dump(mode="json"),
            "expert": self.expert,
        }


def configure_evaluation(
    who: str,
    *,
    suite: str | None = None,
    to: Path | None = None,
    data: Path | None = None,
    expert: str | None = None,
    trust: bool = False,
    **changes: Any,
) -> EvaluationConfig:
    """The plan of scoring WHO on a suite, or a run on its own; `changes` are values of the protocol, None as it is.

    Raises UserError when there is no such player, suite or expert, or nothing says what to play.
    """
    spec = policy_registry.resolve_policy(who, trust=trust)
    run = spec.run
    recipe = read_recipe(run) if run else None
    if suite:
        tasks = recipes.load_suite(suite)
        environments.check_suite(tasks)
        protocol = (recipe.evaluation if recipe else EvaluationRecipe()).model_copy(update={"videos": 0})
        folder = to or Path("evaluations") / tasks.name / spec.name
    elif recipe and run:
        tasks, protocol, folder = recipe.dataset.suite, recipe.evaluation, to or run
    else:
        raise UserError(
            f"{who}: name what to play with --suite NAME; only a run folder (with recipe.json) brings its own"
        )
    trained_on = recipe.dataset if recipe else None
    if data is not None:
        trained_on = _recorded_recipe(data, trained_on)
    return EvaluationConfig(
        policy=spec,
        suite=tasks,
        expert=_choose_expert(expert, recipe.dataset.expert if recipe else DEFAULT_EXPERT, tasks),
        protocol=protocol.model_copy(update={k: v for k, v in changes.items() if v is not None}),
        folder=folder,
        trained_on=trained_on,
        data=_data_of(run) if run and data is None else data,
        mixture=tuple(dict.fromkeys(locate(part.data) for part in recipe.mixture)) if recipe and data is None else (),
        captioned=tuple(dict.fromkeys(locate(part.data) for part in recipe.mixture if part.caption)) if recipe else (),
    )


def check_seed_overlap(config: EvaluationConfig) -> str | None:
    """What the seeds were checked against: the dataset's folder, or "recipe" where that is not there; None for nothing.

    Raises UserError when a demonstration of one of the tasks came from one of the seeds.
    """
    trained_on = config.trained_on
    if trained_on is None:
        return None
    datasets = datasets_of(config)
    if config.mixture and not datasets:
        return None
    demonstrated = range(trained_on.first_seed, trained_on.first_seed + trained_on.episodes)
    for task in {task.id for task in config.suite.tasks} & {task.id for task in trained_on.suite.tasks}:
        seeds = set[int]().union(*(dataset.seeds(task) for dataset in datasets)) if datasets else demonstrated
        common = [seed for seed in config.seeds if seed in seeds]
        if common:
            raise UserError(
                f"evaluation seeds [{config.seeds.start}, {config.seeds.stop}) overlap the demonstrations' of {task} "
                f"in {len(common)} seeds, from {common[0]} on; choose another evaluation.first_seed (--first-seed)"
            )
    return "recipe" if not datasets else ", ".join(map(str, config.mixture or (config.data,)))


def check_tasks_fit(config: EvaluationConfig) -> None:
    """Raises UserError when a task does not fit who plays it."""
    sampled = not config.protocol.deterministic
    policy = None if config.policy.kind == "expert" else policy_registry.load_once(config.policy, sampled=sampled)
    for task in config.suite.tasks:
        env = environments.make(task, frame=config.suite.frame)
        if policy is None:
            experts.make(config.policy.who).check(env)
        else:
            policy_registry.check_fit(policy, env)
        env.close()


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
    recipe = dict(EpisodeDataset(data).header.recipe)
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


def datasets_of(config: EvaluationConfig) -> list[EpisodeDataset]:
    """The datasets that the agent was trained on, where they are all still there and still those; else none."""
    if config.mixture:
        there = all(any(folder.glob("shard-*.arrow")) for folder in config.mixture)
        return [EpisodeDataset(folder) for folder in config.mixture] if there else []
    if config.data is None or config.trained_on is None or not any(config.data.glob("shard-*.arrow")):
        return []
    dataset = EpisodeDataset(config.data)
    same = not differences(dict(dataset.header.recipe), config.trained_on.model_dump(mode="json"))
    return [dataset] if same else []
