"""The command line: verbs, each a few lines of wiring. Errors that a user can fix are one line and exit code 2."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from agentgym import recipes, trust
from agentgym.cli import (
    data_commands,
    experiment_commands,
    expert_commands,
    hub_commands,
    play_commands,
    result_commands,
    run_commands,
)
from agentgym.cli.console import complain, err, out
from agentgym.errors import UserError, complaint_of, did_you_mean, first_line
from agentgym.files import REMEDIES

INTERRUPTED = 130
PATIENCE_S = 3.0  # seconds that a command has to end cleanly after Ctrl-C


class Verbs(TyperGroup):
    """The verbs. Whoever types their arguments answers for the code that they name (see `agentgym.trust`)."""

    def parse_args(self, context: Any, arguments: list[str]) -> list[str]:
        """As Typer's, with what was typed granted until the verb ends."""
        context.with_resource(trust.granted(trust.typed(arguments)))
        return super().parse_args(context, arguments)


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Record demonstrations, train an agent foundation model on them, score it and look at it.",
)
OTHERS = {"experts": "agentgym collect, evaluate, survey", "agents": "agentgym playground, evaluate, serve"}
for more in (
    experiment_commands,
    result_commands,
    run_commands,
    data_commands,
    hub_commands,
    expert_commands,
    play_commands,
):
    app.add_typer(more.app)


def _print_version(asked: bool) -> None:
    if asked:
        from agentgym.versions import installed_versions

        out.print(f"agentgym {installed_versions(())['agentgym']}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and nothing else.")
]


@app.callback()
def _with_version(version: Version = False) -> None:
    """Record demonstrations, train an agent foundation model on them, score it and look at it."""


def main() -> None:
    """The entry point of the `agentgym` command."""
    # Threads that spin while they wait starve each other as soon as anything else runs on the same cores: a training
    # slowed down nine times was seen. Read by OpenMP when torch is imported, which no verb has done yet.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _Interrupts())
    code = _run()
    if code == INTERRUPTED:  # what Typer makes of Ctrl-C
        err.print("agentgym: interrupted; the same command resumes from here")
    sys.exit(code)


def _run() -> int:
    """The exit code of the verb; what a user can fix, or the machine lacks, is one line."""
    try:
        return int(app(standalone_mode=False) or 0)
    except UserError as error:
        complain(str(error))
    except typer.TyperException as error:
        complain(error.format_message())
        return int(error.exit_code)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        explained = _explained(error)
        if explained is None:
            raise
        complain(explained)
    return 2


def _explained(error: Exception) -> str | None:
    """The line for an error about which somebody can do something; None for a fault of agentgym's own."""
    if complaint := complaint_of(error):
        return f"{complaint}; fix that code"
    if isinstance(error, OSError):
        return _of_the_disk(error)
    if isinstance(error, RecursionError):
        return "what was read is nested too deeply"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):  # torch's MemoryError
        return f"there is not enough memory: {first_line(error)}; fewer, shorter or smaller ones need less"
    return None


def _of_the_disk(error: OSError) -> str:
    """The message for an error of the disk or the system, with what helps."""
    reason = error.strerror or first_line(error)
    remedy = REMEDIES.get(error.errno or 0)
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return f"{place}{reason}{f'; {remedy}' if remedy else ''}"


class _Interrupts:
    """The first Ctrl-C ends the command; those that come while it ends change nothing, unless it takes too long."""

    def __init__(self) -> None:
        self._first: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._first is None:
            self._first = time.monotonic()
            raise KeyboardInterrupt
        if time.monotonic() - self._first > PATIENCE_S:
            os._exit(INTERRUPTED)  # nothing is lost: every file is there whole or not at all


@app.command("list")
def list_recipes(
    what: Annotated[str | None, typer.Argument(help="envs, experts, agents, ...; else all.")] = None,
) -> None:
    """Show every recipe and every expert with one line each."""
    kinds = {details.folder: kind for kind, details in recipes.KINDS.items()}
    known = [*kinds, *OTHERS]
    if what not in (None, *known):
        hint = did_you_mean(str(what), known) or f"; known: {', '.join(known)}"
        raise UserError(f"there is no list of '{what}'{hint}")
    for name in [what] if what else known:
        title = f"{name}/ ({kinds[name]} recipes)" if name in kinds else f"{name} ({OTHERS[name]})"
        table = Table(title=title, title_justify="left", box=None, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        lines = {"experts": _expert_lines, "agents": _agent_lines}
        for row in _recipe_lines(kinds[name]) if name in kinds else lines[name]():
            table.add_row(*row)
        out.print(table, "")


def _recipe_lines(kind: str) -> Iterator[tuple[str, str]]:
    return ((path.stem, recipes.describe(path)) for path in recipes.shipped(kind))


def _expert_lines() -> Iterator[tuple[str, str]]:
    from agentgym import experts

    by_name = {name: description for name, (_, description) in experts.EXPERTS.items()}
    return iter((by_name | experts.BY_PATH).items())


def _agent_lines() -> Iterator[tuple[str, str]]:
    from agentgym.policies.agents import describe_agents

    return iter(describe_agents().items())
