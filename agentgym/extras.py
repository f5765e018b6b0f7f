"""Packages that only a part of agentgym needs: imported where they are used; a missing one is named with its extra."""

from collections.abc import Iterator
from contextlib import contextmanager

from agentgym.errors import UserError
from agentgym.versions import DISTRIBUTION


@contextmanager
def needs(extra: str, *, what: str) -> Iterator[None]:
    """Imports inside the block belong to that extra; `what` is the subject of the error when one is not installed.

    Raises UserError: "the playground needs fastapi; pip install 'agentgym-ifm[playground]'".
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "agentgym":
            raise
        raise UserError(f"{what} needs {error.name.split('.')[0]}; pip install '{DISTRIBUTION}[{extra}]'") from None
