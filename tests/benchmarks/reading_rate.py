"""How fast something is read: the one measure of the benchmarks that compare formats."""

import time
from collections.abc import Callable, Sequence
from typing import Any


def rate(read: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """Items a second of this process's processor time."""
    started = time.process_time()
    for item in items:
        read(item)
    return len(items) / (time.process_time() - started)
