"""The verbs of live play: a page and a window for people, and a server for other processes."""

from pathlib import Path
from typing import Annotated

import typer

from agentgym.cli.console import CommandOutput
from agentgym.cli.verbs import verb

LOCAL = "127.0.0.1"
app = typer.Typer()


@verb(app, trusts=True)
def playground(
    run: Annotated[Path | None, typer.Argument(help="A run, a checkpoint or a shipped agent.")] = None,
    suite: Annotated[str | None, typer.Option(help="A suite's name or TOML file; the run's own if not given.")] = None,
    record: Annotated[Path | None, typer.Option(help="The dataset that episodes are kept in.")] = None,
    host: Annotated[str, typer.Option(help="Where to listen; another host than the loopback needs a token.")] = LOCAL,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8421,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the address without opening a browser.")] = False,
    *,
    output: CommandOutput,
) -> None:
    """Open a local page: watch the agent act live, instruct it, take over, keep episodes as demonstrations."""
    from agentgym.apps.playground import offer
    from agentgym.apps.playground_app import serve
    from agentgym.policies.agents import default_agent

    run = run or (None if suite else default_agent())

    def announce(address: str) -> None:
        output.print(f"playground: {address} (Ctrl-C ends it)")
        output.result({"address": address})
        if not no_open:
            typer.launch(address)

    serve(offer(run, suite=suite, record=record), host=host, port=port, announce=announce)


@verb(app)
def play(
    task: Annotated[str, typer.Argument(help="A task id, such as BabyAI-GoToRedBall-v0.")],
    record: Annotated[Path | None, typer.Option(help="The dataset that episodes are kept in.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The first level; drawn when not given.")] = None,
    *,
    output: CommandOutput,
) -> None:
    """Play a task in a window with the keyboard; solved episodes, and those kept with K, become demonstrations."""
    from agentgym.apps.window import play_in_window

    kept = play_in_window(task, record=record, seed=seed)
    if record:
        output.print(f"{record}: kept {kept:,} episodes")
    output.result({"data": str(record) if record else None, "kept": kept})


@verb(app)
def serve(
    who: Annotated[str, typer.Argument(metavar="WHO", help="A run, a checkpoint or a shipped agent.")],
    host: Annotated[str, typer.Option(help="Where to listen; another host than the loopback needs a token.")] = LOCAL,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8422,
    max_clients: Annotated[int, typer.Option(min=1, help="Connections at once.")] = 256,
    *,
    output: CommandOutput,
) -> None:
    """Answer `predict` over WebSocket and HTTP; the calls of all clients are computed in batches."""
    from agentgym.apps import serve as serving

    def announce(address: str) -> None:
        output.print(f"serving {who} at {address} (Ctrl-C ends it)")
        output.result({"address": address})

    serving.serve(serving.offer(who, clients=max_clients), host=host, port=port, announce=announce)
