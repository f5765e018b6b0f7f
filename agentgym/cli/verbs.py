"""The options of every verb: `--quiet` and `--json`, and `--trust` where its input may name code."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from agentgym.cli.console import CommandOutput, alone_on_stdout

Quiet = Annotated[bool, typer.Option("--quiet", help="Print only errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else on stdout.")]
Trust = Annotated[  # `main.Verbs` reads it, for all that a verb does: the verbs themselves need not
    bool, typer.Option("--trust", help="Run code that a run, a dataset or a recipe names: sb3:PATH, MODULE:ID.")
]

Verb = Callable[..., None]


def verb(app: typer.Typer, name: str | None = None, *, trusts: bool = False) -> Callable[[Verb], Verb]:
    """Registers a function as a verb: its parameters but `output`, which the shared options make."""
    shared = {**({"trust": Trust} if trusts else {}), "quiet": Quiet, "json": Json}

    def register(function: Verb) -> Verb:
        def run(**given: Any) -> None:
            given.pop("trust", None)
            output = CommandOutput(quiet=given.pop("quiet"), json=given.pop("json"))
            with alone_on_stdout():
                function(**given, output=output)

        own = [each for each in inspect.signature(function).parameters.values() if each.name != "output"]
        options = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
            for option, annotation in shared.items()
        ]
        run.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]  # what Typer reads
        run.__annotations__ = {each.name: each.annotation for each in (*own, *options)}
        run.__doc__ = function.__doc__
        app.command(name or function.__name__)(run)
        return function

    return register
