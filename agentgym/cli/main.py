"""The command line: verbs, each a few lines of wiring. Errors that a user can mend are one line and exit code 2."""

import os
import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from agentgym import recipes
from agentgym.cli import (
    data_commands,
    experiment_commands,
    expert_commands,
    hub_commands,
    play_commands,
    result_commands,
    run_commands,
)
from agentgym.cli.console import err, out
from agentgym.errors import UserError, did_you_mean

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Record demonstrations, train an agent foundation model on them, score it and look at it.",
)
INTERRUPTED = 130
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


def main() -> None:
    """The entry point of the `agentgym` command."""
    # Threads that spin while they wait starve each other as soon as anything else runs on the same cores: a training
    # slowed down nine times was seen. Read by OpenMP when torch is imported, which no verb has done yet.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = app(standalone_mode=False)
    except UserError as error:
        err.print(f"agentgym: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        code = 2
    except typer._click.exceptions.ClickException as error:
        err.print(f"agentgym: {error.format_message()}", style="red", highlight=False, markup=False, soft_wrap=True)
        code = error.exit_code
    if code == INTERRUPTED:  # what Typer makes of Ctrl-C
        err.print("agentgym: interrupted; the same command goes on from here", highlight=False)
    sys.exit(code or 0)


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
            table.add_row(*map(escape, row))
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
