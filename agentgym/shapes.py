"""The shape of a JSON file, checked once where it is read: which keys with which kinds of values.

A shape is a type, mostly a TypedDict whose `__pydantic_config__` is SHAPE. Keys that it does not name stay as they are,
so that a file of a later version is read as far as it is known.
"""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from agentgym.errors import UserError
from agentgym.files import LARGEST, parse_json, read_text

SHAPE = ConfigDict(extra="allow", strict=True)
CHANGED = "it is not as it was written: delete it, or make it again"
MOST = 2**63 - 1

# Plain JSON has no NaN: what was written of one is null, and reads as one again.
Number = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]
Count = Annotated[int, Field(ge=0, le=MOST)]
Seed = Annotated[int, Field(ge=-MOST - 1, le=MOST)]
Interval = Annotated[list[Number], Field(min_length=2, max_length=2)]


def read_shape(file: Path, shape: Any, *, most: int = LARGEST) -> Any:
    """The values of a JSON file of that shape. Raises UserError naming the place where they are not."""
    return check_shape(parse_json(read_text(file, most=most), file), shape, file)


def check_shape(values: Any, shape: Any, where: object) -> Any:
    """The values, which are of that shape. Raises UserError that says where they are, and which is not."""
    try:
        return _adapter(shape).validate_python(values)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        expected = problem["msg"][0].lower() + problem["msg"][1:]
        found = "" if problem["type"] == "missing" else f" found {_short(problem['input'])};"
        at = f"key '{place}':" if place else ""
        raise UserError(f"{where}: {at}{found} {expected}; {CHANGED}") from None


@lru_cache(maxsize=32)
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more than 4,300 digits
        return "an integer of thousands of digits"
    return text if len(text) <= 80 else f"{text[:79]}…"
