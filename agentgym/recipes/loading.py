"""Recipes from TOML: by name or path, with what they name in its place and `key=value` overrides applied last.

Everything is checked at once. A wrong recipe is a `UserError` that names the file, the key, the value and the remedy.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from agentgym.errors import UserError, did_you_mean
from agentgym.files import LARGEST_SETTINGS, read_json, read_text
from agentgym.recipes.base import Recipe
from agentgym.recipes.datasets import DatasetRecipe, ExpertRecipe
from agentgym.recipes.experiments import ExperimentRecipe, with_later_keys
from agentgym.recipes.finetuning import FinetuningRecipe
from agentgym.recipes.overrides import EVERY, Override, everywhere, parse, put, value_at
from agentgym.recipes.problems import first_problem
from agentgym.recipes.rounds import RoundsRecipe
from agentgym.recipes.suites import ReferenceRecipe, SuiteRecipe
from agentgym.recipes.transfer import TransferRecipe
from agentgym.trust import answer_for, ids_in


@dataclass(frozen=True)
class Kind:
    """A kind of recipe: its folder, its type, and the keys by which it names recipes of other kinds.

    A key is dotted; `*` in it means every place of a list.
    """

    folder: str
    recipe: type[Recipe]
    references: dict[str, str]


KINDS = {
    "suite": Kind("envs", SuiteRecipe, {}),
    "dataset": Kind("datasets", DatasetRecipe, {"suite": "suite"}),
    "expert": Kind("datasets/experts", ExpertRecipe, {"suite": "suite"}),
    "experiment": Kind("experiments", ExperimentRecipe, {"dataset": "dataset", "parts.*.dataset": "dataset"}),
    "finetuning": Kind("experiments/ppo", FinetuningRecipe, {"suite": "suite"}),
    "dagger": Kind("experiments/dagger", RoundsRecipe, {"experiment": "experiment"}),
    "transfer": Kind("experiments/transfer", TransferRecipe, {"tasks.*.dataset": "dataset"}),
}

R = TypeVar("R", bound=Recipe)


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
    """Where the weights of the trained expert for a task are, when it comes with the package."""
    return _shipped_root() / KINDS["expert"].folder / expert_file(task)


def expert_file(task: str) -> str:
    """The name of the weights of a task's trained expert."""
    return f"{task.lower().replace('/', '-')}.safetensors"


def load_finetuning(reference: str, overrides: Sequence[str] = ()) -> FinetuningRecipe:
    """The fine-tuning recipe of that name or TOML path, its suite resolved. Raises UserError."""
    return _load(FinetuningRecipe, "finetuning", reference, overrides)


def load_rounds(reference: str, overrides: Sequence[str] = ()) -> RoundsRecipe:
    """The DAgger recipe of that name or TOML path, its experiment resolved. Raises UserError."""
    return _load(RoundsRecipe, "dagger", reference, overrides)


def load_transfer(reference: str, overrides: Sequence[str] = ()) -> TransferRecipe:
    """The comparison of starts of that name or TOML path, its datasets resolved. Raises UserError."""
    return _load(TransferRecipe, "transfer", reference, overrides)


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


def _load(recipe_type: type[R], kind: str, reference: str, overrides: Sequence[str]) -> R:
    files: dict[tuple[str, ...], Path] = {}
    parsed = [parse(override) for override in overrides]
    if reference.endswith(".json"):
        values = _read_resolved(kind, Path(reference), parsed)
        files[()] = Path(reference)
    else:
        values = _resolve(kind, reference, parsed, at=(), relative_to=None, files=files)
    overridden = {path for path, _ in parsed}
    recipe = _validate(recipe_type, values, files, overridden)
    if not reference.endswith(".json"):  # which says what somebody has run, maybe somebody else
        answer_for(_task_ids(recipe.model_dump()))
    return recipe


def read_resolved(recipe_type: type[R], file: Path) -> R:
    """The recipe that a run or a dataset keeps, as it was resolved. Raises UserError naming the file and the key."""
    return check_resolved(recipe_type, read_json(file, dict, most=LARGEST_SETTINGS), file)


def check_resolved(recipe_type: type[R], values: Mapping[str, Any], file: Path) -> R:
    """The recipe of the plain values in that file. Raises UserError naming the file and the key."""
    return _validate(recipe_type, dict(values), {(): file}, set())


def _validate(
    recipe_type: type[R],
    values: dict[str, Any],
    files: dict[tuple[str, ...], Path],
    overridden: set[tuple[str, ...]],
) -> R:
    try:
        return recipe_type.model_validate(values)
    except ValidationError as error:
        raise UserError(first_problem(recipe_type, error, files, overridden)) from None
    except RecursionError:
        raise UserError(f"{files[()]}: is nested too deeply to be read") from None


def _task_ids(values: Any) -> Iterator[str]:
    """The ids of all tasks in a dumped recipe, and those that are among their arguments."""
    if isinstance(values, dict):
        tasks = values.get("tasks", ())
        yield from (task["id"] for task in tasks if "id" in task)
        yield from (each for task in tasks for each in ids_in(task.get("arguments")))
        of_datasets = (task for task in tasks if "id" not in task)
        for value in (*values.values(), *of_datasets):
            yield from _task_ids(value)


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
    values = KINDS[kind].recipe.with_present_names(_read_toml(path))
    deeper = []
    for override in everywhere(_present(kind, overrides), values):
        if _reference(kind, override[0][:-1], within=True):  # it goes to the recipe that is there in the end
            deeper.append(override)
        else:
            put(values, *override, path)
    if "name" in values:
        raise UserError(f"{path}: key 'name': a recipe is named by its file; remove the key")
    below: dict[tuple[str, ...], list[Override]] = {place: [] for place in _named(kind, values)}
    for keys, value in deeper:
        place = next((place for place in below if keys[: len(place)] == place), None)
        if place:
            below[place].append((keys[len(place) :], value))
        else:
            put(values, keys, value, path)
    for place, more in below.items():
        other = _reference(kind, place)
        assert other
        name = value_at(values, place)
        found = _resolve(other, name, more, at=(*at, *place), relative_to=path.parent, files=files)
        put(values, place, found, path)
    return {"name": path.stem, **values}


def _present(kind: str, overrides: Sequence[Override]) -> list[Override]:
    """The overrides by the present names of the keys."""
    names = KINDS[kind].recipe.former_names
    return [((names.get(keys[0], keys[0]), *keys[1:]), value) for keys, value in overrides]


def _reference(kind: str, place: tuple[str, ...], *, within: bool = False) -> str | None:
    """The kind of recipe that is named at a place, or, `within`, at it or above it; None where there is none."""
    for pattern, other in KINDS[kind].references.items():
        keys = pattern.split(".")
        here = place[: len(keys)] if within else place
        if len(here) == len(keys) and all(key in (EVERY, own) for key, own in zip(keys, here, strict=True)):
            return other
    return None


def _named(kind: str, values: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The places at which another recipe is named."""
    for pattern in KINDS[kind].references:
        for keys, _ in everywhere([(tuple(pattern.split(".")), None)], values):
            if isinstance(value_at(values, keys), str):
                yield keys


def _read_resolved(kind: str, path: Path, overrides: list[Override]) -> dict[str, Any]:
    """The raw values of a resolved recipe, such as a run's recipe.json, with the overrides put in."""
    values: dict[str, Any] = read_json(path, dict, most=LARGEST_SETTINGS)
    if kind == "experiment":
        values = with_later_keys(values)
    values = KINDS[kind].recipe.with_present_names(values)
    for keys, value in everywhere(_present(kind, overrides), values):
        put(values, keys, value, path)
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
    package = Path(__file__).parent.parent
    inside = package / "shipped"
    return inside if inside.is_dir() else package.parent


def _read_toml(path: Path) -> dict[str, Any]:
    text = read_text(path, most=LARGEST_SETTINGS)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply to be read") from None
    except ValueError as error:  # no TOML, or an integer of five thousand digits
        raise UserError(f"{path}: not valid TOML: {error}") from None
