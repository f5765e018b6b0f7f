"""Agents by name: a folder that is here, an agent that ships with the package, or a repository of the Hub."""

from pathlib import Path

from agentgym import hub
from agentgym.errors import UserError, did_you_mean
from agentgym.files import read_json
from agentgym.recipes import shipped_file

SHIPPED = "experiments/agents"


def shipped_agents() -> dict[str, Path]:
    """The folders of the agents that come with the package, by name."""
    folders = sorted(shipped_file(SHIPPED).glob("*/model"))
    return {folder.parent.name: folder.parent for folder in folders}


def default_agent() -> Path | None:
    """The default agent: the one for most worlds. None where none ships."""
    known = shipped_agents()
    return known.get("generalist", next(iter(known.values()), None))


def describe_agents() -> dict[str, str]:
    """What each shipped agent is, in a line."""
    lines = {}
    for name, folder in shipped_agents().items():
        recipe = read_json(folder / "recipe.json", dict)
        lines[name] = str(recipe.get("description", ""))
    return lines


def find_agent(reference: str | Path) -> Path:
    """The folder of a run or a checkpoint: that path, else the shipped agent or the Hub's repository of that name.

    Raises UserError when there is none of the three.
    """
    folder = Path(reference)
    if folder.is_dir():
        return folder
    known = shipped_agents()
    if str(reference) in known:
        return known[str(reference)]
    if isinstance(reference, str) and hub.is_repository(reference) and reference.count("/") == 1:
        if folder.parent.is_dir():  # a misspelt runs/NAME, rather than a repository
            raise UserError(f"{reference}: there is no such folder{did_you_mean(folder.name, _inside(folder.parent))}")
        return hub.download(reference)
    hint = did_you_mean(str(reference), known) or "; name a run (runs/NAME), a checkpoint folder" + (
        f", {' or '.join(known)}" if known else ""
    )
    raise UserError(f"{reference}: there is no such folder or agent{hint}")


def known_agent(reference: str) -> Path | None:
    """As `find_agent`, of what is on this machine; None when it is not."""
    folder = Path(reference)
    if folder.is_dir():
        return folder
    return shipped_agents().get(reference) or (hub.cached(reference) if hub.is_repository(reference) else None)


def _inside(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir() if each.is_dir()]
