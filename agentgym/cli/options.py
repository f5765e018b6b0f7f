"""Options that several verbs share: one name, one meaning, one line of help."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from agentgym.executors import ExecutorName


class Vector(StrEnum):
    """How environments at once are stepped."""

    SYNC = "sync"
    ASYNC = "async"


Experiment = Annotated[str, typer.Argument(help="An experiment recipe's name, or a path to a TOML file.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Delete what an earlier such command made there first.")]
Workers = Annotated[int | None, typer.Option(min=1, help="How many work at once; all cores when not given.")]
Executor = Annotated[ExecutorName, typer.Option(help="Processes of this machine, or a Ray cluster.")]
PROCESSES = ExecutorName.PROCESSES
Processes = Annotated[
    int | None, typer.Option(help="Processes that train together, sharing each batch; one a core when not given.")
]
Data = Annotated[Path | None, typer.Option(help="The dataset's folder; data/NAME when not given.")]
References = Annotated[
    Path | None, typer.Option(help="An evaluated run whose random, expert and trivial episodes are taken, not played.")
]
Run = Annotated[Path | None, typer.Option("--run", help="The run's folder; runs/NAME when not given.")]
ExpertSeconds = Annotated[
    float | None,
    typer.Option(
        "--expert-seconds",
        min=0.1,
        help="Seconds of a core after which an expert's episode is given up; the recipe's, or what fits the task.",
    ),
]
ExpertSteps = Annotated[
    int | None,
    typer.Option("--expert-steps", min=1, help="Steps after which an expert's episode is given up."),
]
