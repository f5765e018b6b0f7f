"""What Pydantic finds wrong with a recipe, as one line that names the file, the key, the value and the remedy."""

from collections.abc import Mapping
from pathlib import Path
from reprlib import Repr
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agentgym.errors import UserError, did_you_mean
from agentgym.recipes.base import Recipe

R = TypeVar("R", bound=Recipe)
SHORT = Repr()
SHORT.maxstring = SHORT.maxother = 200


def first_problem(
    recipe_type: type[Recipe],
    error: ValidationError,
    files: dict[tuple[str, ...], Path],
    overridden: set[tuple[str, ...]],
) -> str:
    """What is wrong with a recipe, in one line: the file or --set, the key, what was found, what is expected."""
    problems = error.errors()
    # A misspelt key is also missing; the misspelling is the better message.
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    location = tuple(str(part) for part in problem["loc"])
    prefix = max((at for at in files if location[: len(at)] == at), key=len)
    here = [keys for keys in overridden if len(keys) > len(prefix)]  # a shorter one chose the file that is wrong
    by_override = any(keys[: len(location)] == location[: len(keys)] for keys in here)
    where = "--set" if by_override else str(files[prefix])
    key = ".".join(location[len(prefix) :] if where != "--set" else location)
    return f"{where}: key '{key}': {_say(recipe_type, problem, location)}"


def with_values(recipe: R, values: Mapping[str, Any], *, prefix: str = "") -> R:
    """The recipe with those of the values that are not None, checked as the values of a file are.

    Raises UserError naming the first that is not as it has to be, as `prefix` and its key.
    """
    given = {key: str(v) if isinstance(v, str) else v for key, v in values.items() if v is not None}  # no enumerations
    try:
        return type(recipe).model_validate({**recipe.model_dump(), **given})
    except ValidationError as error:
        problem = error.errors()[0]
        location = tuple(str(part) for part in problem["loc"])
        raise UserError(f"{prefix}{'.'.join(location)}: {_say(type(recipe), problem, location)}") from None


def _say(recipe_type: type[Recipe], problem: ErrorDetails, location: tuple[str, ...]) -> str:
    if problem["type"] == "extra_forbidden":
        known = _known_keys(recipe_type, location[:-1])
        hint = did_you_mean(location[-1], known) or f"; known keys: {', '.join(sorted(known))}"
        return f"unknown key (value {_shown(problem['input'])}){hint}"
    if problem["type"] == "missing":
        return "missing; add it"
    expected = problem["msg"][0].lower() + problem["msg"][1:]
    hint = ""
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        hint = did_you_mean(
            problem["input"], problem["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        )
    return f"found {_shown(problem['input'])}; {expected}{hint}"


def _shown(value: Any) -> str:
    """A value as Python writes it, long ones cut."""
    try:
        return SHORT.repr(value)
    except ValueError:  # an integer of more than 4,300 digits
        return "an integer of thousands of digits"


def _known_keys(recipe_type: type[Recipe], location: tuple[str, ...]) -> set[str]:
    """The known keys of the table at a location."""
    here: Any = recipe_type
    for key in location:
        if key.isdigit():
            continue
        if key not in here.model_fields:
            return set()
        annotation = here.model_fields[key].annotation
        arguments = getattr(annotation, "__args__", ())
        here = next((a for a in (annotation, *arguments) if isinstance(a, type) and issubclass(a, Recipe)), Recipe)
    return {name for name in here.model_fields if name != "name"}
