"""The command's output: for people on stdout, progress and errors on stderr, JSON for machines, or nothing."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from agentgym.errors import printable
from agentgym.files import to_json

STDOUT, STDERR = 1, 2
LINE_EVERY_S = 30.0  # where progress goes into a file

# Names of folders, tasks and modules are shown as they are: nothing in them is markup, nor :smile: an emoji.
out = Console(markup=False, emoji=False, highlight=False)
err = Console(stderr=True, markup=False, emoji=False, highlight=False)


@contextmanager
def alone_on_stdout() -> Iterator[None]:
    """Inside the block only `out` writes to stdout; what environments and libraries print there goes to stderr.

    That of processes which are begun there, too.
    """
    stdout = sys.stdout
    try:
        stdout.flush()
        saved = os.dup(STDOUT)
        os.dup2(STDERR, STDOUT)
    except (AttributeError, OSError):  # one of the two is closed
        yield
        return
    try:
        is_real = stdout.fileno() == STDOUT
    except (OSError, ValueError):  # of a test, say
        is_real = False
    kept = os.fdopen(os.dup(saved), "w", encoding=stdout.encoding, errors=stdout.errors) if is_real else stdout
    out.file = kept
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(saved, STDOUT)
        os.close(saved)
        out.file = None  # type: ignore[assignment]  # sys.stdout again, whatever it is then
        if is_real:
            kept.close()


@dataclass(frozen=True)
class CommandOutput:
    """What a command prints: text for people, one JSON value on stdout at the end for machines, or nothing."""

    quiet: bool
    json: bool

    def print(self, *what: Any, **style: Any) -> None:
        """Prints for people."""
        if not (self.quiet or self.json):
            shown = [printable(each) if isinstance(each, str) else each for each in what]
            out.print(*shown, **{"soft_wrap": True, **style})

    def warn(self, line: str) -> None:
        """Prints a warning for people on stderr, so that JSON stays clean."""
        if not self.quiet:
            complain(line, style="yellow")

    def result(self, values: dict[str, Any]) -> None:
        """Prints for machines."""
        if self.json:
            out.file.write(to_json(values) + "\n")
            out.file.flush()  # some commands continue after it, and a reader does not wait for their end

    @contextmanager
    def progress(self, description: str, total: int, unit: str) -> Iterator[Callable[[int, str], None]]:
        """Progress on stderr, unless quiet: a bar for a terminal, a line now and then for a file."""
        if self.quiet:
            yield lambda count, note: None
        else:
            with (_progress_bar if err.is_terminal else _lines)(description, total, unit) as on_progress:
                yield on_progress


def complain(line: str, style: str = "red") -> None:
    """One line on stderr."""
    err.print(f"agentgym: {printable(line)}", style=style, soft_wrap=True)


class _RateColumn(ProgressColumn):
    """How many a second, or how many seconds each."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(_rate(speed, task.fields["unit"]) if speed else "", style="cyan")


def _rate(speed: float, unit: str) -> str:
    """How many a second; of what takes long, how many seconds each."""
    return f"{speed:,.1f} {unit}/s" if speed >= 0.1 else f"{1 / speed:,.0f} s each"


@contextmanager
def _progress_bar(description: str, total: int, unit: str) -> Iterator[Callable[[int, str], None]]:
    """A progress bar: count, rate, time left, note. It appears with the first step, not before an error."""
    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", markup=False),
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


@contextmanager
def _lines(description: str, total: int, unit: str) -> Iterator[Callable[[int, str], None]]:
    """A line every LINE_EVERY_S seconds, and one at the end of what was begun."""
    began = said = time.monotonic()
    done, before, latest, printed = 0, 0, "", -1

    def print_line(now: float) -> None:
        nonlocal printed
        printed = done
        rate = f", {_rate((done - before) / (now - began), unit)}" if done > before and now > began else ""
        line = f"{description}: {done:,} of {total:,} {unit}{rate}{f', {latest}' if latest else ''}"
        err.print(printable(line), soft_wrap=True)

    def on_progress(count: int, note: str) -> None:
        nonlocal began, before, done, latest, said
        now = time.monotonic()
        if count and not done:  # what is there at first was maybe done long ago
            began, before = now, count
        done, latest = done + count, note or latest
        if now - said >= LINE_EVERY_S:
            said = now
            print_line(now)

    try:
        yield on_progress
    finally:
        if done not in (0, printed):
            print_line(time.monotonic())
