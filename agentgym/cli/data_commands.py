"""The verbs that make datasets out of datasets, show them, and bring them, and agents, to and from other formats."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentgym.cli.console import CommandOutput
from agentgym.cli.verbs import verb
from agentgym.errors import UserError

if TYPE_CHECKING:
    from agentgym.data.store import EpisodeDataset

app = typer.Typer()


def locate(text: str) -> Path:
    """A folder on this disk, or of any file system of fsspec: what every verb takes that reads a dataset."""
    from agentgym.data import store

    return store.locate(text)


Source = Annotated[Path, typer.Argument(parser=locate, metavar="DATA", help="A dataset's folder, or its URL.")]
Recorded = Annotated[
    Path | None,
    typer.Option(parser=locate, metavar="DATA", help="The dataset's folder or URL; data/NAME when not given."),
]


class Format(StrEnum):
    """Where `export` goes."""

    MINARI = "minari"
    HUB = "hub"
    LEROBOT = "lerobot"
    AGENT = "agent"
    ONNX = "onnx"


@verb(app)
def merge(
    data: Annotated[list[Path], typer.Argument(parser=locate, metavar="DATA", help="Datasets' folders, or URLs.")],
    to: Annotated[Path, typer.Option(help="The folder of the merged dataset.")],
    *,
    output: CommandOutput,
) -> None:
    """Put several datasets together; frames are copied as they are."""
    from agentgym.data import store

    _tell(output, to, store.merge(data, to), [])


@verb(app)
def select(
    data: Source,
    to: Annotated[Path, typer.Option(help="The folder of the new dataset.")],
    task: Annotated[str | None, typer.Option(help="Keep the episodes of this task.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Keep what was solved, or what failed.")] = None,
    min_return: Annotated[float | None, typer.Option(help="Keep episodes with at least this return.")] = None,
    *,
    output: CommandOutput,
) -> None:
    """Keep the episodes of a dataset that pass every filter; frames are copied as they are."""
    from agentgym.data import store

    chosen = store.select(data, to, task=task, outcome=outcome, min_return=min_return)
    _tell(output, to, chosen, [])


@verb(app)
def view(
    data: Source,
    to: Annotated[Path | None, typer.Option(help="The page; view.html in the dataset's folder when not given.")] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Write the page without opening a browser.")] = False,
    *,
    output: CommandOutput,
) -> None:
    """Write and open one self-contained page: manifest, histograms, a table of episodes, videos of a sample."""
    from agentgym.report.dataset_page import write_view

    page = write_view(data, to)
    output.print(f"view: {page}")
    output.result({"view": str(page)})
    if not no_open:
        typer.launch(str(page))


@verb(app, trusts=True)
def export(
    source: Annotated[
        Path,
        typer.Argument(parser=locate, metavar="SOURCE", help="A dataset's folder or URL; a run for onnx, agent."),
    ],
    out: Annotated[Path | None, typer.Argument(help="A new folder; FORMAT in the source's when not given.")] = None,
    to: Annotated[Format | None, typer.Option(help="What to write.")] = None,
    task: Annotated[str | None, typer.Option(help="For onnx: the task to play, of an agent of several kinds.")] = None,
    *,
    output: CommandOutput,
) -> None:
    """Write a dataset or an agent in another format; what that does not hold is said."""
    if to is None:
        raise UserError(f"export: expected --to with one of {', '.join(Format)}")
    folder = out or _default_output(source, to)
    if task and to != Format.ONNX:
        raise UserError(f"--task {task}: is for --to onnx; 'agentgym select' takes the episodes of a task")
    if to == Format.ONNX:
        _export_onnx(source, folder, task, output)
    elif to == Format.AGENT:
        _export_agent(source, folder, output)
    else:
        _export_dataset(source, folder, to, output)


def _default_output(source: Path, to: Format) -> Path:
    from agentgym.data import store

    return store.require_local(source, "name the folder to export to") / to.value


def _export_dataset(source: Path, folder: Path, to: Format, output: CommandOutput) -> None:
    from agentgym.data import exchange
    from agentgym.data.store import EpisodeDataset

    write = {
        Format.MINARI: exchange.export_minari,
        Format.HUB: exchange.export_hub,
        Format.LEROBOT: exchange.export_lerobot,
    }[to]
    notes = write(source, folder)
    _tell(output, folder, EpisodeDataset(source), notes)


def _export_agent(source: Path, folder: Path, output: CommandOutput) -> None:
    from agentgym.data import store
    from agentgym.report.agent_folder import write_agent_folder

    write_agent_folder(store.require_local(source, "name a run's folder there"), folder)
    size_ = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    output.print(f"{folder}: an agent of {size_:,} bytes")
    output.result({"folder": str(folder), "bytes": size_})


def _export_onnx(source: Path, folder: Path, task: str | None, output: CommandOutput) -> None:
    from agentgym.data import store
    from agentgym.experiments.onnx_export import export_onnx

    found = export_onnx(store.require_local(source, "name a run's folder there"), folder, task=task)
    sizes = ", ".join(f"{name} {size:,} bytes" for name, size in found["bytes"].items() if name.endswith(".onnx"))
    output.print(f"{folder}: {sizes}; {found['steps_compared']} steps with the actions of PyTorch")
    output.result(found)


@verb(app, "import")
def import_(
    source: Annotated[
        str,
        typer.Argument(help="A Minari dataset: its folder, or its id in Minari's place; or a LeRobotDataset's folder."),
    ],
    out: Annotated[Path, typer.Option(help="The folder of the new dataset.")],
    camera: Annotated[
        str | None, typer.Option(help="LeRobot's feature that the agent sees; the first if not given.")
    ] = None,
    *,
    output: CommandOutput,
) -> None:
    """Make a dataset of a Minari dataset or a LeRobotDataset v3; what that does not say is said."""
    from agentgym.data import exchange
    from agentgym.data.store import EpisodeDataset

    if (Path(source) / "meta" / "info.json").is_file():
        notes = exchange.import_lerobot(source, out, camera=camera)
    elif camera:
        raise UserError(f"--camera {camera}: is for a LeRobotDataset; {source} is none")
    else:
        notes = exchange.import_minari(source, out)
    _tell(output, out, EpisodeDataset(out), notes)


def size(dataset: "EpisodeDataset") -> str:
    """How much there is, for people."""
    return f"{len(dataset):,} episodes, {int(dataset.lengths.sum()):,} steps"


def _tell(output: CommandOutput, folder: Path, dataset: "EpisodeDataset", notes: list[str]) -> None:
    output.print(f"{folder}: {size(dataset)}")
    for note in notes:
        output.print(note, style="yellow")
    values = {"data": str(folder), "episodes": len(dataset), "steps": int(dataset.lengths.sum())}
    output.result({**values, "notes": notes})
