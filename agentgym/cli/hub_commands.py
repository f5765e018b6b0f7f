"""The verbs of the Hub: push a run or a dataset, pull what others pushed."""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from agentgym.cli.console import CommandOutput
from agentgym.cli.verbs import verb
from agentgym.errors import UserError
from agentgym.files import replace_file
from agentgym.folders import new_folder

app = typer.Typer()


@verb(app)
def push(
    source: Annotated[Path, typer.Argument(help="A run that is trained and evaluated, or a dataset's folder.")],
    repository: Annotated[str, typer.Argument(help="ORGANISATION/NAME; made when it is not there.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    *,
    output: CommandOutput,
) -> None:
    """Send a run's agent, with a card of its scores, or a dataset to the Hugging Face Hub."""
    from agentgym import hub

    is_run = (source / "recipe.json").is_file()
    if not is_run and not any(source.glob("shard-*.arrow")):
        raise UserError(f"{source}: is neither a run (recipe.json) nor a dataset (shard-*.arrow)")
    with tempfile.TemporaryDirectory(prefix="agentgym-push-") as staging:  # next to the source it may be read-only
        folder = Path(staging) / "folder"
        (_stage_run if is_run else _stage_dataset)(source, folder)
        kind: hub.RepoKind = "model" if is_run else "dataset"
        address = hub.upload(folder, repository, kind, private=private, message=f"{source.name}, by agentgym")
    opened = f"{address}" if is_run else f"{address}; EpisodeDataset('hf://datasets/{repository}') opens it"
    output.print(f"{source} -> {opened}")
    output.result({"repository": repository, "kind": kind, "address": address})


@verb(app)
def pull(
    repository: Annotated[str, typer.Argument(help="The Hub's repository, ORGANISATION/NAME.")],
    to: Annotated[Path, typer.Option(help="The new folder.")],
    dataset: Annotated[bool, typer.Option("--dataset", help="It is a dataset, not an agent.")] = False,
    *,
    output: CommandOutput,
) -> None:
    """Fetch an agent or a dataset from the Hugging Face Hub into a folder."""
    from agentgym import hub

    with new_folder(to) as folder:
        hub.download(repository, "dataset" if dataset else "model", to=folder)
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # huggingface_hub's own notes
    output.print(f"{repository} -> {to}")
    output.result({"folder": str(to)})


def _stage_run(run: Path, folder: Path) -> None:
    from agentgym.report.agent_folder import write_agent_folder

    write_agent_folder(run, folder, half=False)


def _stage_dataset(source: Path, folder: Path) -> None:
    from agentgym.data.exchange import dataset_card
    from agentgym.data.store import EpisodeDataset

    folder.mkdir()
    for file in sorted((*source.glob("shard-*.arrow"), source / "manifest.json")):
        (folder / file.name).symlink_to(file.resolve())  # not a second copy on the disk
    replace_file(folder / "README.md", dataset_card(EpisodeDataset(source), own_format=True))
