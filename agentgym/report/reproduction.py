"""The command that makes a run again: the shipped recipe with what `--set` changed, or the run's own recipe.json."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agentgym import recipes
from agentgym.errors import UserError


def command(recipe: Mapping[str, Any], run: Path) -> str:
    """The `agentgym run` that resolves to exactly this recipe."""
    flags = settings(recipe)
    if flags is None:
        return f"agentgym run {shlex.quote(str(run / 'recipe.json'))} --run {shlex.quote(f'{run}-again')}"
    words = ["agentgym", "run", recipe["name"], *(word for flag in flags for word in ("--set", flag))]
    return shlex.join(words)


def settings(recipe: Mapping[str, Any]) -> list[str] | None:
    """What `--set` has to change in the shipped recipe of that name; None when there is none or that cannot do it."""
    name = recipe["name"]
    if name not in {path.stem for path in recipes.shipped("experiment")}:
        return None
    shipped = recipes.load_experiment(name).model_dump(mode="json")
    flags = list(_changed(shipped, recipe))
    try:
        again = recipes.load_experiment(name, flags).model_dump(mode="json")
    except UserError:
        return None
    return None if recipes.differences(again, dict(recipe)) else flags


def _changed(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """`key=value` for every value that differs; a JSON scalar or list is a TOML one too, but for null."""
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            yield from _changed(before, value, f"{prefix}{key}.")
        elif value != before:
            yield f"{prefix}{key}={json.dumps(value)}"
