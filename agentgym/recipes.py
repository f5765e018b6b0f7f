"""Typed recipes from TOML: suites of environments, datasets and experiments.

A recipe file is the one place where a thing is set. Loading resolves what it names (an experiment names a dataset, a
dataset names a suite) into one nested value, applies `key=value` overrides last, and checks everything at once. A wrong
recipe is a `UserError` that names the file, the key, the value and the remedy. This module knows no environment, no
model and no file format but TOML.
"""

import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from agentgym.errors import UserError, did_you_mean


class Recipe(BaseModel):
    """What all recipes share: unknown keys are errors, a value of another type too, and values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _absent() -> Any:
    """None by default, and then left out of the stored recipe."""
    return Field(default=None, exclude_if=lambda value: value is None)


Side = Annotated[int, Field(ge=1, le=1024)]


class FrameRecipe(Recipe):
    """How a frame looks. Grid worlds: `view` (default partial) and `tile_size` (default 8 pixels); others: `size`.

    `size` is [height, width] in pixels, absent: the family's own. What does not fit a family is refused there.
    """

    view: Literal["partial", "full"] | None = _absent()
    tile_size: Annotated[int, Field(ge=1, le=64)] | None = _absent()
    size: Annotated[tuple[Side, Side], Field(strict=False)] | None = _absent()


class ReferenceRecipe(Recipe):
    """Published mean returns on a task, shown beside those that an evaluation measures, and where they come from.

    With `human` (Atari) returns are normalised to these two numbers, as is usual there; with `expert` they are shown
    alone, and returns are normalised to what the expert reaches here.
    """

    random: float
    expert: float | None = _absent()
    human: float | None = _absent()
    source: str


Strings = Annotated[tuple[str, ...], Field(strict=False, exclude_if=lambda names: not names)]


class TaskRecipe(Recipe):
    """One task of a suite: a Gymnasium id, what it needs besides, and what others reached on it.

    `instructions` are wordings of one instruction, where the environment has no language; the episode's seed decides
    which is shown. `limit` is a time limit in steps. `success_return` says from which return on an episode has
    succeeded. `action_names` name the actions of a Discrete space. `arguments` go to `gymnasium.make`.
    """

    id: str
    instructions: Strings = ()
    limit: Annotated[int, Field(ge=1)] | None = _absent()
    success_return: float | None = _absent()
    action_names: Strings = ()
    arguments: Annotated[dict[str, Any], Field(exclude_if=lambda arguments: not arguments)] = {}
    reference: ReferenceRecipe | None = _absent()


class SuiteRecipe(Recipe):
    """envs/*.toml: the tasks and how their frames look."""

    name: str
    description: str
    frame: FrameRecipe = FrameRecipe()
    tasks: Annotated[list[TaskRecipe], Field(min_length=1)]

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        ids = [task.id for task in self.tasks]
        twice = next((task for task in ids if ids.count(task) > 1), None)
        if twice:
            raise ValueError(f"task {twice} is named twice; name each once")
        return self

    def task(self, name: str) -> TaskRecipe:
        """The task of that id. Raises KeyError when the suite has none."""
        return {task.id: task for task in self.tasks}[name]


class BudgetRecipe(Recipe):
    """What one episode of the expert may cost before it is given up.

    `seconds` are of a core, whatever else runs beside it; `steps` absent: as many as the level lasts.
    """

    seconds: Annotated[float, Field(gt=0)] = 20.0
    steps: Annotated[int, Field(ge=1)] | None = _absent()


class DaggerRecipe(Recipe):
    """DAgger: the agent of a run or checkpoint folder acts with that probability at each step, the expert labels."""

    agent: str
    probability: Annotated[float, Field(gt=0, le=1)] = 0.5


class DatasetRecipe(Recipe):
    """datasets/*.toml: who acts where, for how many episodes, and what is kept.

    `episodes` counts attempts, so the seeds [first_seed, first_seed + episodes) of each task are fixed beforehand.
    `held_out` is the fraction of episodes that training never sees. `noise` is the probability that a step executes a
    random action. With it or with `dagger` the expert labels every step, and its labels are what training predicts.
    """

    name: str
    description: str
    suite: SuiteRecipe
    expert: str
    episodes: Annotated[int, Field(ge=1)]
    first_seed: Annotated[int, Field(ge=0)] = 1_000_000
    keep: Literal["solved", "all"] = "solved"
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.02
    budget: BudgetRecipe = BudgetRecipe()
    noise: Annotated[float, Field(ge=0, lt=1, exclude_if=lambda noise: noise == 0)] = 0.0
    dagger: Annotated[DaggerRecipe | None, Field(exclude_if=lambda dagger: dagger is None)] = None


class ExpertRecipe(Recipe):
    """datasets/experts/*.toml: experts to be trained by Stable-Baselines3, one for each task of the suite.

    They read the environment's own state, not its frames. `settings` are what the algorithm takes besides; a learning
    rate falls to zero over the `steps`, which are those of all `environments` together. `network` "grid" reads the
    state by convolutions before the `layers`.
    """

    name: str
    description: str
    suite: SuiteRecipe
    algorithm: Literal["ppo", "dqn"] = "ppo"
    steps: Annotated[int, Field(ge=1)]
    environments: Annotated[int, Field(ge=1)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    settings: dict[str, Any] = {}
    network: Literal["layers", "grid"] = "layers"
    layers: Annotated[tuple[int, ...], Field(strict=False)] = (64, 64)
    seed: Annotated[int, Field(ge=0)] = 0


class InitRecipe(Recipe):
    """What to start from: published models for E_θ and F_φ, local folders or Hub ids (see `agentgym.model.pretrained`).

    Or an `agent` to fine-tune: a run folder or a checkpoint folder, whose sizes and text tokens stay. Actions of the
    dataset that it does not know get new rows in its table (see `agentgym.model.adapting`).
    """

    vision: str | None = None
    language: str | None = None
    agent: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = self.vision is not None, self.language is not None, self.agent is not None
        if given not in ((True, True, False), (False, False, True)):
            raise ValueError("expected both 'vision' and 'language', or 'agent' alone")
        return self


class ModelRecipe(Recipe):
    """Which preset, and the few sizes that an experiment may change. With `init`, E_θ and F_φ have published sizes."""

    preset: Literal["tiny", "small", "paper"] = "tiny"
    patch_merge: Annotated[int, Field(ge=1)] | None = None
    init: InitRecipe | None = None


class LossRecipe(Recipe):
    """The weight of each loss and how the masked-image loss is taken (see `agentgym.losses`)."""

    language: Annotated[float, Field(ge=0)] = 1.0
    masked_image: Annotated[float, Field(ge=0)] = 1.0
    action: Annotated[float, Field(ge=0)] = 1.0
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.75
    pixel_reduction: Literal["mean", "sum"] = "mean"


class PartRates(Recipe):
    """What the learning rate is multiplied with in each part of the model; 0 freezes the part."""

    vision: Annotated[float, Field(ge=0)] = 1.0
    projector: Annotated[float, Field(ge=0)] = 1.0
    language: Annotated[float, Field(ge=0)] = 1.0
    decoder: Annotated[float, Field(ge=0)] = 1.0


Factors = Annotated[tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]], Field(strict=False)]


class ColourJitter(Recipe):
    """Between which factors the colours of a window vary (see `agentgym.augmentation`); hue in turns, both ways."""

    brightness: Factors = (0.7, 1.4)
    contrast: Factors = (0.7, 1.4)
    saturation: Factors = (0.7, 1.4)
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.05


class TrainingRecipe(Recipe):
    """The loop: one update is `accumulation` batches of `batch_size` windows of `window` steps.

    `gradient_checkpointing` computes activations twice instead of keeping them. `colour_jitter` absent: none.
    """

    window: Annotated[int, Field(ge=1)] = 8
    batch_size: Annotated[int, Field(ge=1)] = 16
    accumulation: Annotated[int, Field(ge=1)] = 1
    updates: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    final_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    warmup_updates: Annotated[int, Field(ge=0)] = 100
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    betas: Annotated[tuple[float, float], Field(strict=False)] = (0.9, 0.98)  # TOML has lists, no tuples
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    part_rates: PartRates = PartRates()
    colour_jitter: ColourJitter | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    gradient_checkpointing: bool = False
    seed: Annotated[int, Field(ge=0)] = 0
    log_every: Annotated[int, Field(ge=1)] = 20
    checkpoint_every: Annotated[int, Field(ge=1)] = 200
    evaluate_every: Annotated[int, Field(ge=1)] = 400
    evaluate_episodes: Annotated[int, Field(ge=0)] = 64


class EvaluationRecipe(Recipe):
    """Which seeds are rolled out and how: the seeds [first_seed, first_seed + episodes) of each task."""

    episodes: Annotated[int, Field(ge=1)] = 500
    first_seed: Annotated[int, Field(ge=0)] = 0
    environments: Annotated[int, Field(ge=1)] = 50
    deterministic: bool = True
    videos: Annotated[int, Field(ge=0)] = 6


class PartRecipe(Recipe):
    """A part of a mixture: the folder of a dataset that is there, and its share of the windows beside the others'."""

    data: str
    weight: Annotated[float, Field(gt=0)] = 1.0


class ExperimentRecipe(Recipe):
    """experiments/*.toml: data, model, losses, training and evaluation: everything that makes a run.

    A `mixture` is what is trained on in place of the dataset's own folder; the suite stays the dataset's.
    """

    name: str
    description: str
    dataset: DatasetRecipe
    mixture: Annotated[list[PartRecipe], Field(exclude_if=lambda parts: not parts)] = []
    model: ModelRecipe = ModelRecipe()
    losses: LossRecipe = LossRecipe()
    training: TrainingRecipe
    evaluation: EvaluationRecipe = EvaluationRecipe()


class PPORecipe(Recipe):
    """PPO as Stable-Baselines3 has it: `steps` in all, `environments` x `rollout_steps` of them between updates.

    `value_rate` multiplies the value head's learning rate. In the first `value_warmup_rollouts` that head alone learns.
    `tether` weighs the divergence from the agent that was started from, `entropy` the entropy bonus: one of the two.
    `freeze_vision`: frames are encoded as they were, the language model alone learns.
    """

    steps: Annotated[int, Field(ge=1)]
    environments: Annotated[int, Field(ge=1)] = 16
    rollout_steps: Annotated[int, Field(ge=1)] = 64
    batch_size: Annotated[int, Field(ge=2)] = 256
    epochs: Annotated[int, Field(ge=1)] = 3
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    value_rate: Annotated[float, Field(gt=0)] = 5.0
    value_warmup_rollouts: Annotated[int, Field(ge=0)] = 0
    tether: Annotated[float, Field(ge=0)] = 0.0
    entropy: Annotated[float, Field(ge=0)] = 0.0
    freeze_vision: bool = False
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.99
    gae_lambda: Annotated[float, Field(gt=0, le=1)] = 0.95
    clip: Annotated[float, Field(gt=0)] = 0.2
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _one_bonus(self) -> Self:
        if self.tether and self.entropy:
            raise ValueError("expected 'tether' or 'entropy' to be 0")
        return self


class CurveRecipe(Recipe):
    """The points of a learning curve: after `every` steps, [first_seed, first_seed + episodes) of each task."""

    episodes: Annotated[int, Field(ge=1)] = 100
    first_seed: Annotated[int, Field(ge=0)] = 500_000
    every: Annotated[int, Field(ge=1)] = 10_240


class FinetuningRecipe(Recipe):
    """finetuning/*.toml: reinforcement learning on a suite, from the run `init`.

    `start` "agent" is that agent, "random" one of the same sizes with random weights, "cnn" Stable-Baselines3's
    CnnPolicy, which sees the latest frame alone.
    """

    name: str
    description: str
    suite: SuiteRecipe
    init: str
    start: Literal["agent", "random", "cnn"] = "agent"
    ppo: PPORecipe
    evaluation: CurveRecipe = CurveRecipe()

    @model_validator(mode="after")
    def _something_to_hold_to(self) -> Self:
        if self.ppo.tether and self.start != "agent":
            raise ValueError(f"start '{self.start}' knows nothing to be held to: expected ppo.tether to be 0")
        return self


@dataclass(frozen=True)
class Kind:
    """A kind of recipe: its folder, its type, and the keys by which it names recipes of other kinds."""

    folder: str
    recipe: type[Recipe]
    references: dict[str, str]


KINDS = {
    "suite": Kind("envs", SuiteRecipe, {}),
    "dataset": Kind("datasets", DatasetRecipe, {"suite": "suite"}),
    "expert": Kind("datasets/experts", ExpertRecipe, {"suite": "suite"}),
    "experiment": Kind("experiments", ExperimentRecipe, {"dataset": "dataset"}),
    "finetuning": Kind("finetuning", FinetuningRecipe, {"suite": "suite"}),
}

R = TypeVar("R", bound=Recipe)
Override = tuple[tuple[str, ...], Any]  # the parts of a dotted key, and the value


def load_suite(reference: str, overrides: Sequence[str] = ()) -> SuiteRecipe:
    """The suite of that name or TOML path. Raises UserError."""
    return _load(SuiteRecipe, "suite", reference, overrides)


def load_dataset(reference: str, overrides: Sequence[str] = ()) -> DatasetRecipe:
    """The dataset recipe of that name or TOML path (or a resolved JSON one), its suite resolved. Raises UserError."""
    return _load(DatasetRecipe, "dataset", reference, overrides)


def load_expert(reference: str, overrides: Sequence[str] = ()) -> ExpertRecipe:
    """The recipe of trained experts of that name or TOML path, its suite resolved. Raises UserError."""
    return _load(ExpertRecipe, "expert", reference, overrides)


def load_experiment(reference: str, overrides: Sequence[str] = ()) -> ExperimentRecipe:
    """The experiment of that name, TOML path or recipe.json of a run, dataset and suite resolved. Raises UserError."""
    return _load(ExperimentRecipe, "experiment", reference, overrides)


def shipped_expert(task: str) -> Path:
    """Where the zip of the trained expert for a task is, when it comes with the package."""
    return _shipped_root() / KINDS["expert"].folder / expert_file(task)


def expert_file(task: str) -> str:
    """The name of the zip of a task's trained expert."""
    return f"{task.lower().replace('/', '-')}.zip"


def load_finetuning(reference: str, overrides: Sequence[str] = ()) -> FinetuningRecipe:
    """The fine-tuning recipe of that name or TOML path, its suite resolved. Raises UserError."""
    return _load(FinetuningRecipe, "finetuning", reference, overrides)


def shipped(kind: str) -> Iterator[Path]:
    """The TOML files of that kind that come with the package, by name."""
    yield from sorted((_shipped_root() / KINDS[kind].folder).glob("*.toml"))


def shipped_file(name: str) -> Path:
    """Where a file that comes with the package is, such as `datasets/experts/babyai-bot.json`; it may be missing."""
    return _shipped_root() / name


def published_reference(task: str) -> ReferenceRecipe | None:
    """The published returns on a task that one of the shipped suites names, or None."""
    return _published_references().get(task)


@cache
def _published_references() -> dict[str, ReferenceRecipe]:
    tasks = (each for path in shipped("suite") for each in load_suite(path.stem).tasks)
    return {each.id: each.reference for each in tasks if each.reference}


def describe(path: Path) -> str:
    """The description line of a recipe file."""
    return str(_read_toml(path).get("description", ""))


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys whose values differ between two dumped recipes, as `key: old -> new`."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}: {a!r} -> {b!r}")
    return found


def _load(recipe_type: type[R], kind: str, reference: str, overrides: Sequence[str]) -> R:
    files: dict[tuple[str, ...], Path] = {}
    parsed = [_parse_override(override) for override in overrides]
    if reference.endswith(".json"):
        values = _read_resolved(Path(reference), parsed)
        files[()] = Path(reference)
    else:
        values = _resolve(kind, reference, parsed, at=(), relative_to=None, files=files)
    try:
        return recipe_type.model_validate(values)
    except ValidationError as error:
        overridden = {path for path, _ in parsed}
        raise UserError(_first_problem(recipe_type, error, files, overridden)) from None


def _resolve(
    kind: str,
    reference: str,
    overrides: list[Override],
    *,
    at: tuple[str, ...],
    relative_to: Path | None,
    files: dict[tuple[str, ...], Path],
) -> dict[str, Any]:
    """The raw values of a recipe with everything it names put in its place; remembers which file each part is from."""
    path = _find(kind, reference, relative_to)
    files[at] = path
    values = _read_toml(path)
    for keys, value in overrides:
        if len(keys) == 1:
            _put(values, keys, value, path)
    if "name" in values:
        raise UserError(f"{path}: key 'name': a recipe is named by its file; remove the key")
    below: dict[str, list[Override]] = {key: [] for key in KINDS[kind].references if isinstance(values.get(key), str)}
    for keys, value in overrides:
        if len(keys) > 1 and keys[0] in below:
            below[keys[0]].append((keys[1:], value))
        elif len(keys) > 1:
            _put(values, keys, value, path)
    for key, deeper in below.items():
        other = KINDS[kind].references[key]
        values[key] = _resolve(other, values[key], deeper, at=(*at, key), relative_to=path.parent, files=files)
    return {"name": path.stem, **values}


def _read_resolved(path: Path, overrides: list[Override]) -> dict[str, Any]:
    """The raw values of a resolved recipe, such as a run's recipe.json, with the overrides put in."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such recipe") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON: {error}") from None
    for keys, value in overrides:
        _put(values, keys, value, path)
    return values


def _find(kind: str, reference: str, relative_to: Path | None) -> Path:
    if reference.endswith(".toml"):
        path = (relative_to or Path()) / reference
        if not path.is_file():
            raise UserError(f"{path}: there is no such {kind} recipe")
        return path
    known = {path.stem: path for path in shipped(kind)}
    if reference not in known:
        hint = (
            did_you_mean(reference, known) or f"; 'agentgym list' shows them, a path ends in .toml ({len(known)} known)"
        )
        raise UserError(f"no {kind} recipe is named '{reference}'{hint}")
    return known[reference]


def _shipped_root() -> Path:
    """Where the recipes are: inside an installed wheel, or at the top of the source tree."""
    inside = Path(__file__).parent / "shipped"
    return inside if inside.is_dir() else Path(__file__).parent.parent


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None


def _parse_override(override: str) -> Override:
    """`a.b=1` as (("a", "b"), 1); what is no TOML value is taken as a string."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {override}: expected key=value, for example --set training.updates=100")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    return tuple(key.strip().split(".")), value


def _put(values: dict[str, Any], keys: tuple[str, ...], value: Any, path: Path) -> None:
    """Sets the value at a dotted key; tables that are missing are made, places in a list have to be there."""
    table: Any = values
    for depth, key in enumerate(keys):
        if isinstance(table, list):
            if not (key.isdecimal() and int(key) < len(table)):
                places = f"0 to {len(table) - 1}"
                raise UserError(f"--set {'.'.join(keys)}: '{key}' is no place in a list of {path}; known: {places}")
            place: Any = int(key)
        elif isinstance(table, dict):
            place = key
        else:
            raise UserError(f"--set {'.'.join(keys)}: '{keys[depth - 1]}' of {path} is a value, not a table")
        if depth == len(keys) - 1:
            table[place] = value
        elif isinstance(table, dict):
            table = table.setdefault(place, {})
        else:
            table = table[place]


def _first_problem(
    recipe_type: type[Recipe],
    error: ValidationError,
    files: dict[tuple[str, ...], Path],
    overridden: set[tuple[str, ...]],
) -> str:
    problems = error.errors()
    # A key that is misspelt is missing too; the misspelling is what to tell.
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    location = tuple(str(part) for part in problem["loc"])
    prefix = max((at for at in files if location[: len(at)] == at), key=len)
    here = [keys for keys in overridden if len(keys) > len(prefix)]  # a shorter one chose the file that is wrong
    by_override = any(keys[: len(location)] == location[: len(keys)] for keys in here)
    where = "--set" if by_override else str(files[prefix])
    key = ".".join(location[len(prefix) :] if where != "--set" else location)
    return f"{where}: key '{key}': {_say(recipe_type, problem, location)}"


def _say(recipe_type: type[Recipe], problem: ErrorDetails, location: tuple[str, ...]) -> str:
    if problem["type"] == "extra_forbidden":
        known = _fields_at(recipe_type, location[:-1])
        hint = did_you_mean(location[-1], known) or f"; known keys: {', '.join(sorted(known))}"
        return f"unknown key (value {problem['input']!r}){hint}"
    if problem["type"] == "missing":
        return "missing; add it"
    expected = problem["msg"][0].lower() + problem["msg"][1:]
    hint = ""
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        hint = did_you_mean(
            problem["input"], problem["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        )
    return f"found {problem['input']!r}; {expected}{hint}"


def _fields_at(recipe_type: type[Recipe], location: tuple[str, ...]) -> set[str]:
    """The known keys of the table at a location."""
    here: Any = recipe_type
    for key in location:
        if key.isdigit():
            continue
        annotation = here.model_fields[key].annotation
        arguments = getattr(annotation, "__args__", ())
        here = next((a for a in (annotation, *arguments) if isinstance(a, type) and issubclass(a, Recipe)), Recipe)
    return {name for name in here.model_fields if name != "name"}
