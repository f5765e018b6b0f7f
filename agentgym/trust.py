"""Whose code may run: that of installed packages, and what the user has allowed.

A dataset, a run or a recipe of others can name code: a module (`MODULE:ID` of an environment) or a pickle (a zip of
Stable-Baselines3). Whoever loads such a thing asks here, at the place where it is loaded, so that no caller can forget
it. A module is imported when the person typed its name, when a recipe file that he named does, or when he gave
`--trust`; a pickle is read only after `--trust`, since nobody sees what is in it.

What is granted holds for this process, and `executors` hands it to those that work for it.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from agentgym.errors import UserError

FLAG = "--trust"


@dataclass(frozen=True)
class Grant:
    """What may be loaded: all that is named anywhere, or only these modules."""

    everything: bool = False
    modules: frozenset[str] = frozenset()
    closed: bool = False  # nothing is added to it


NOTHING = Grant()
_grant = NOTHING


def current() -> Grant:
    """What may be loaded now."""
    return _grant


@contextmanager
def granted(grant: Grant) -> Iterator[None]:
    """Inside the block exactly that may be loaded."""
    global _grant
    before, _grant = _grant, grant
    try:
        yield
    finally:
        _grant = before


@contextmanager
def trusting(trust: bool) -> Iterator[None]:
    """Inside the block everything may be loaded, if `trust`; else what could be before."""
    with granted(replace(_grant, everything=_grant.everything or trust)):
        yield


@contextmanager
def nothing_more() -> Iterator[None]:
    """Inside the block no module is granted that was not before: for code that acts on arguments of data."""
    with granted(replace(_grant, closed=True)):
        yield


def typed(arguments: Iterable[str]) -> Grant:
    """What the arguments of a command grant: `--trust`, and each `MODULE:ID` that is one, or the value of one."""
    arguments = list(arguments)
    values = [part for argument in arguments for part in (argument, argument.partition("=")[2])]
    return Grant(FLAG in arguments, frozenset(module_of(value.strip("\"' ")) for value in values))


def answer_for(tasks: Iterable[str]) -> None:
    """The modules of these ids may be imported: they are in a recipe file that a person named."""
    global _grant
    if not _grant.closed:
        _grant = replace(_grant, modules=_grant.modules | {module_of(task) for task in tasks})


def module_of(task: str) -> str:
    """The module that an id asks Gymnasium to import: "" for `CartPole-v1`, `mine.envs` for `mine.envs:Room-v0`."""
    return task.rpartition(":")[0]


def ids_in(values: object) -> Iterator[str]:
    """The ids with a module, such as `mine.envs:Room-v0`, among the texts of nested values."""
    if isinstance(values, str) and re.fullmatch(r"[A-Za-z_][\w.]*:[\w/.-]+-v\d+", values):
        yield values
    elif isinstance(values, Mapping):
        yield from ids_in(list(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from ids_in(value)


def check_module(module: str, named_by: str) -> None:
    """Raises UserError for a module that may not be imported. One that is imported already runs no code again.

    A module that passes is granted from here on, so that it is to those who work for this process.
    """
    if not (_grant.everything or module in _grant.modules or module in sys.modules):
        raise UserError(
            f"{named_by}: importing '{module}' runs its code, and data names it, not you; "
            f"give {FLAG} if you know where it comes from"
        )
    answer_for([f"{module}:"])


def check_pickle(path: object) -> None:
    """Raises UserError for a file that runs code as it is loaded, unless everything is trusted."""
    if not _grant.everything:
        raise UserError(f"{path}: loading it runs code that is inside the file; give {FLAG} if you know its origin")
