"""The three files in which an experiment's results are next to its recipe: NAME.json, NAME.svg and NAME.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentgym.files import replace_file, to_json
from agentgym.folders import make_folder
from agentgym.recipes.base import Recipe


def write_result_files(recipe: Recipe, name: str, values: Mapping[str, Any], figure: str, page: str, to: Path) -> Path:
    """Writes the numbers with the recipe they are of, the figure and the page; the page's file. Raises OSError."""
    make_folder(to)
    everything = {"recipe": recipe.model_dump(mode="json"), **values}
    replace_file(to / f"{name}.json", to_json(everything, indent=1) + "\n")
    replace_file(to / f"{name}.svg", figure)
    replace_file(to / f"{name}.md", page)
    return to / f"{name}.md"
