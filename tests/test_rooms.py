"""The plan of the package: rooms that import only from rooms below, no circle of imports, and three walls."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "agentgym"

# From the top down. A room imports from itself and from rooms below it; a new file in a room needs no entry here.
ROOMS = (
    "cli",
    "apps",
    "report",
    "experiments",
    "evaluation",
    "training",
    "experts",
    "policies",
    "data",
    "model",
    "environments",
    "spaces",
    "recipes",
)
# What any room may import, and what imports no room.
ROOT = {
    "client",
    "errors",
    "executors",
    "extras",
    "files",
    "folders",
    "hub",
    "lazy",
    "registration",
    "shapes",
    "trust",
    "versions",
}

WITHOUT_TORCH = [
    "recipes",
    "environments",
    "data.store",
    "data.recorder",
    "data.vector_recorder",
    "experts",
    "experts.collection",
    "evaluation.statistics",
    "evaluation.comparison",
    "evaluation.rollouts",
    "evaluation.expert_rollouts",
    "evaluation.expert_survey",
    "executors",
]
WITHOUT_GYMNASIUM = [
    "model.agent",
    "model.presets",
    "model.tokenizer",
    "training.losses",
    "training.windows",
    "training.loop",
]


def name_of(file):
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


FILES = {name_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def imports(file):
    """The modules of agentgym that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("agentgym."):
            module = node.module.removeprefix("agentgym.")
            found |= {inner if (inner := f"{module}.{alias.name}") in FILES else module for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "agentgym":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("agentgym.") for alias in node.names if "agentgym." in alias.name}
    return found


def room_of(module):
    return module.split(".")[0]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_rooms_below_it(room):
    below = {*ROOMS[ROOMS.index(room) :], *ROOT}
    wrong = {
        f"{name} imports {other}"
        for name, file in FILES.items()
        if room_of(name) == room
        for other in imports(file)
        if room_of(other) not in below
    }
    assert not wrong


def test_every_folder_of_the_package_is_a_room():
    folders = {file.parent.relative_to(PACKAGE).parts[0] for file in FILES.values() if file.parent != PACKAGE}
    assert folders == set(ROOMS)


@pytest.mark.parametrize("name", sorted(ROOT))
def test_what_every_room_may_import_imports_no_room(name):
    assert {room_of(other) for other in imports(FILES[name])} <= ROOT


def test_no_module_imports_itself_by_way_of_others():
    graph = {
        name: {other for other in imports(file) if other in FILES and other != name} for name, file in FILES.items()
    }
    while free := {name for name, others in graph.items() if not others}:
        graph = {name: others - free for name, others in graph.items() if name not in free}
    assert not graph, "these are on a circle of imports, or above one"


@pytest.mark.parametrize(
    ("names", "library"),
    [(WITHOUT_TORCH, "torch"), (WITHOUT_GYMNASIUM, "gymnasium")],
    ids=["recording and scoring without torch", "model and training without gymnasium"],
)
def test_the_walls_stand(names, library):
    lines = [f"import agentgym.{name}; assert '{library}' not in sys.modules, '{name}'" for name in names]
    result = subprocess.run([sys.executable, "-c", "\n".join(["import sys", *lines])], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_no_two_classes_share_a_name():
    found = {}
    for name, file in FILES.items():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(name)
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_a_map_at_its_door(room):
    door = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text()))
    assert door is not None
    assert len(door.splitlines()) >= 3


DOORS = [name for name, file in FILES.items() if file.name == "__init__.py" and "__all__ = " in file.read_text()]


@pytest.mark.parametrize("door", DOORS)
def test_what_a_door_offers_is_there(door):
    package = importlib.import_module(f"agentgym.{door}".removesuffix(".__init__"))
    assert [name for name in package.__all__ if not hasattr(package, name)] == []


ARCHITECTURE = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_page_of_the_architecture_has_the_rooms_in_their_order_and_what_lies_beside_them():
    table = re.findall(r"^\| `(\w+)/` \| (.*) \|$", ARCHITECTURE, re.MULTILINE)
    assert tuple(room for room, _ in table) == ROOMS
    beside = ARCHITECTURE.partition("Next to the rooms are")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", beside)) == ROOT


def test_every_file_that_the_page_of_the_architecture_names_is_there():
    named = re.findall(r"`(?:agentgym/)?((?:\w+/)+\w+\.(?:py|toml|md))`", ARCHITECTURE)
    assert len(named) > 20
    assert [name for name in named if not ((PACKAGE / name).is_file() or (PACKAGE.parent / name).is_file())] == []
    table = re.findall(r"^\| `(\w+)/` \| (.*) \|$", ARCHITECTURE, re.MULTILINE)
    modules = [f"{room}.{name}" for room, owns in table for name in re.findall(r"`([a-z_]+)`", owns)]
    assert [name for name in modules if name not in FILES] == []
