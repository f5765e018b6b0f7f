"""`python -m agentgym.recipes.reference > docs/recipes.md`: every key of every recipe, from the typed models."""

import sys
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from agentgym.recipes.base import Recipe
from agentgym.recipes.loading import KINDS
from agentgym.recipes.meanings import MEANINGS

HEAD = """# All keys of all recipes

Made by `python -m agentgym.recipes.reference > docs/recipes.md` from the typed models; a test says when it is stale.
A recipe is a TOML file; `--set KEY=VALUE` changes a key for one command, in a list by its place (`parts.0.weight=2`) or
everywhere (`parts.*.dataset.episodes=100`). A key that is misspelt is refused by name. What matters first is in
[learning a new task](learning-a-new-task.md).
"""
TITLES = {
    "suite": "Suites: envs/*.toml",
    "dataset": "Datasets: datasets/*.toml",
    "experiment": "Experiments: experiments/*.toml",
    "expert": "Experts: datasets/experts/*.toml",
    "finetuning": "Reinforcement learning: experiments/ppo/*.toml",
    "dagger": "DAgger: experiments/dagger/*.toml",
    "transfer": "Transfer: experiments/transfer/*.toml",
}


def render() -> str:
    """The page."""
    lines, listed = [HEAD], set[type[Recipe]]()
    for kind, title in TITLES.items():
        lines.append(f"\n## {title}\n")
        for path, model in tables_of(KINDS[kind].recipe):
            if model in listed:
                continue
            listed.add(model)
            lines += [
                *([f"\n### `[{path}]`\n"] if path else []),
                "| key | type | default | what it is, and when to change it |",
            ]
            lines += ["|---|---|---|---|", *_rows(model)]
    return "\n".join(lines) + "\n"


def tables_of(model: type[Recipe], path: str = "") -> Iterator[tuple[str, type[Recipe]]]:
    """The model and the tables below it, by their dotted keys."""
    yield path, model
    for name, field in model.model_fields.items():
        for below in _recipes_in(field.annotation):
            yield from tables_of(below, f"{path}.{name}" if path else name)


def meaning_of(model: type[Recipe], key: str) -> str | None:
    """The meaning of a key; None where none is written."""
    return MEANINGS.get(model.__name__, {}).get(key) or MEANINGS["*"].get(key)


def _rows(model: type[Recipe]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if name != "name":
            yield f"| `{name}` | {_type(field.annotation)} | {_default(field)} | {meaning_of(model, name)} |"


def _recipes_in(annotation: Any) -> list[type[Recipe]]:
    if isinstance(annotation, type) and issubclass(annotation, Recipe):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _recipes_in(argument)]


def _type(annotation: Any) -> str:
    """A type for people: `int`, `float or none`, `"sync", "async"`, table, list of tables."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if _recipes_in(annotation):
        return "list of tables" if origin is list else "table"
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in arguments)
    if annotation is type(None) or annotation is Any:
        return "none" if annotation is type(None) else "any"
    if isinstance(annotation, type) and not arguments:
        return {"str": "text", "bool": "true or false"}.get(annotation.__name__, annotation.__name__)
    if hasattr(annotation, "__metadata__"):
        return _type(arguments[0])
    if origin in (tuple, list):
        inner = dict.fromkeys(_type(argument) for argument in arguments if argument is not Ellipsis)
        return f"list of {' and '.join(inner)}"
    if origin is dict:
        return "table of values"
    kinds = dict.fromkeys(_type(argument) for argument in arguments if argument is not type(None))
    return " or ".join(kinds)


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "empty"
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None or isinstance(field.default, Recipe):
        return "–"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    sys.stdout.write(render())
