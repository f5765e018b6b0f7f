"""Recipes from TOML: by name or path, with what they name in its place and `key=value` overrides applied last.

Everything is checked at once. A wrong recipe is a `UserError` that names the file, the key, the value and the remedy.
"""

import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agentgym.errors import UserError, did_you_mean
from agentgym.recipes.base import Recipe
from agentgym.recipes.datasets import DatasetRecipe, ExpertRecipe
from agentgym.recipes.experiments import ExperimentRecipe, with_later_keys
from agentgym.recipes.finetuning import FinetuningRecipe
from agentgym.recipes.rounds import RoundsRecipe
from agentgym.recipes.suites import ReferenceRecipe, SuiteRecipe


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
    "finetuning": Kind("experiments/ppo", FinetuningRecipe, {"suite": "suite"}),
    "dagger": Kind("experiments/dagger", RoundsRecipe, {"experiment": "experiment"}),
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
    parsed = [_parse_override(override) for override in overrides]
    if reference.endswith(".json"):
        values = _read_resolved(kind, Path(reference), parsed)
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


def _read_resolved(kind: str, path: Path, overrides: list[Override]) -> dict[str, Any]:
    """The raw values of a resolved recipe, such as a run's recipe.json, with the overrides put in."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such recipe") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON: {error}") from None
    if kind == "experiment" and isinstance(values, dict):
        values = with_later_keys(values)
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
    package = Path(__file__).parent.parent
    inside = package / "shipped"
    return inside if inside.is_dir() else package.parent


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
