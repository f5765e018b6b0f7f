"""Gymnasium's `make` knows every task as `agentgym/ID` once both packages are imported, in either order.

Gymnasium looks ids up only in its registry, so they have to be in it; and `import agentgym` must not import Gymnasium,
which would be most of its time. So the ids are in a file, and an import hook registers them when Gymnasium comes.
"""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

IDS = Path(__file__).parent / "environments" / "task_ids.txt"  # a test compares it with the installed packages


def register_with_gymnasium() -> None:
    """Registers the ids: now, where Gymnasium is imported already, else when it is."""
    if "gymnasium" in sys.modules:
        _register(sys.modules["gymnasium"])
    elif not any(isinstance(finder, _RegisterOnImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RegisterOnImport())


class _RegisterOnImport:
    """A finder that leaves finding to the others, and adds the ids once the module has been executed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "gymnasium":
            return None
        from importlib.util import find_spec

        sys.meta_path.remove(self)
        spec = find_spec(name)
        loader: Any = spec and spec.loader
        if loader is not None:
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _register(module)

            loader.exec_module = exec_module
        return spec


def _register(gymnasium: Any) -> None:
    make_spec = gymnasium.envs.registration.EnvSpec
    for task in IDS.read_text(encoding="utf-8").split():
        name = f"agentgym/{task.replace('/', '-')}"
        gymnasium.registry[name] = make_spec(name, "agentgym.environments:remake", kwargs={"task": task})
