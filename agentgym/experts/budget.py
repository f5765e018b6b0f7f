"""The budget of an expert's episode, and how many episodes a worker gets at a time."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from agentgym.environments import Task
from agentgym.errors import Interruption
from agentgym.recipes import BudgetRecipe

SECONDS = 20.0  # of a core: no expert needs as much for a level that it can do
SECONDS_A_STEP = 0.1  # of the longest episode that the task allows: a search in an emulator takes a tenth of that

TURNS = 8  # how often a worker is given episodes: so all are busy to the end, and progress is seen


class OutOfTime(Interruption):
    """Says what was too much. Not an Exception, so that an expert's own `except Exception` cannot swallow it."""


def seconds_for(budget: BudgetRecipe, task: Task) -> float:
    """The seconds of a core that an episode may cost: the budget's, else what fits how long the task's may be."""
    if budget.seconds is not None:
        return budget.seconds
    return max(SECONDS, SECONDS_A_STEP * (task.longest or 0))


def share_of(episodes: int, workers: int) -> int:
    """How many of the episodes a worker is given at once."""
    return max(1, episodes // (TURNS * workers))


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises OutOfTime inside the block after that many seconds of a core, even from an endless loop. Main thread only.

    The processor's time and not the clock's, so that the outcome of an episode does not depend on what else runs.
    """

    def stop(signal_number: int, frame: FrameType | None) -> None:
        raise OutOfTime(f"no end after {seconds:g} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
