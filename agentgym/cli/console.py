"""How the command speaks: to people on stdout, of progress and errors on stderr, to machines in JSON, or not at all."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

out = Console()
err = Console(stderr=True)


@dataclass(frozen=True)
class CommandOutput:
    """How a command speaks: for people, for machines (one JSON value on stdout at the end), or not at all."""

    quiet: bool
    json: bool

    def print(self, *what: Any, **style: Any) -> None:
        """Prints for people."""
        if not (self.quiet or self.json):
            out.print(*what, **{"highlight": False, "soft_wrap": True, **style})

    def warn(self, line: str) -> None:
        """Prints for people what may not be what they want, on stderr, so that JSON stays clean."""
        if not self.quiet:
            err.print(f"agentgym: {line}", style="yellow", highlight=False, markup=False, soft_wrap=True)

    def result(self, values: dict[str, Any]) -> None:
        """Prints for machines."""
        if self.json:
            sys.stdout.write(json.dumps(values) + "\n")
            sys.stdout.flush()  # some commands go on after it, and what reads them does not wait for their end

    @contextmanager
    def progress(self, description: str, total: int, unit: str) -> Iterator[Callable[[int, str], None]]:
        """A progress bar on stderr, unless quiet."""
        if self.quiet:
            yield lambda count, note: None
        else:
            with _progress_bar(description, total, unit) as on_progress:
                yield on_progress


class _RateColumn(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f} {task.fields['unit']}/s" if speed else "", style="cyan")


@contextmanager
def _progress_bar(description: str, total: int, unit: str) -> Iterator[Callable[[int, str], None]]:
    """A progress bar on stderr: count, rate, time left, note. It appears with the first step, not before an error."""
    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
    )
    progress = Progress(*columns, console=err, refresh_per_second=4)
    task = progress.add_task(description, total=total, unit=unit, note="")

    def on_progress(count: int, note: str) -> None:
        progress.start()
        progress.update(task, advance=count, note=note or progress.tasks[task].fields["note"])

    try:
        yield on_progress
    finally:
        if progress.live.is_started:
            progress.stop()
