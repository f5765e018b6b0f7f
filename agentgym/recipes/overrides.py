"""`--set a.b=1`: dotted keys, reading what is at them, and writing it. It knows no recipe."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agentgym.errors import UserError

Override = tuple[tuple[str, ...], Any]  # the parts of a dotted key, and the value
DEEPEST = 16  # tables in each other
EVERY = "*"  # in a dotted key: every place of a list


def parse(override: str) -> Override:
    """`a.b=1` as (("a", "b"), 1); what is not a TOML value is a string. Raises UserError unless it is `key=value`."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {override}: expected key=value, for example --set training.updates=100")
    if key.count(".") > DEEPEST:
        raise UserError(f"--set {key[:80]}…: no recipe has {key.count('.')} tables in each other")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except RecursionError:
        raise UserError(f"--set {key}: is nested too deeply to be read") from None
    except ValueError:  # no TOML, or an integer of five thousand digits
        value = text
    return tuple(key.strip().split(".")), value


def everywhere(overrides: Sequence[Override], values: Mapping[str, Any]) -> Iterator[Override]:
    """The overrides, those with a `*` once for each place of the list there."""
    for keys, value in overrides:
        there = value_at(values, keys[: keys.index(EVERY)]) if EVERY in keys else None
        if isinstance(there, list):
            cut = keys.index(EVERY)
            places = [(*keys[:cut], str(place), *keys[cut + 1 :]) for place in range(len(there))]
            yield from everywhere([(place, value) for place in places], values)
        else:
            yield keys, value


def value_at(values: Any, place: tuple[str, ...]) -> Any:
    """The value at a place; None where there is none."""
    for key in place:
        if isinstance(values, list) and key.isdecimal() and len(key) < 10 and int(key) < len(values):
            values = values[int(key)]
        else:
            values = values.get(key) if isinstance(values, Mapping) else None
    return values


def put(values: dict[str, Any], keys: tuple[str, ...], value: Any, path: Path) -> None:
    """Sets the value at a dotted key; missing tables are made. Raises UserError for a place that a list lacks."""
    table: Any = values
    for depth, key in enumerate(keys):
        if isinstance(table, list):
            if not (key.isdecimal() and len(key) < 10 and int(key) < len(table)):
                places = f"0 to {len(table) - 1}"
                raise UserError(f"--set {'.'.join(keys)}: '{key}' is not a place in a list of {path}; known: {places}")
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
