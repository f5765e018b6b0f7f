"""The verbs of results: compared, on a page, published next to the recipe."""

from pathlib import Path
from typing import Annotated

import typer

from agentgym.cli.console import CommandOutput
from agentgym.cli.tables import comparison_table
from agentgym.cli.verbs import verb
from agentgym.errors import UserError

app = typer.Typer()


@verb(app)
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Two or more run or evaluation folders; the first is A.")],
    *,
    output: CommandOutput,
) -> None:
    """Compare the first evaluation with each other one, level by level; say whether the difference may be chance."""
    from agentgym.evaluation import comparison

    if len(folders) < 2:
        raise UserError(f"{folders[0]}: name at least two folders to compare")
    compared = [comparison.compare(folders[0], other) for other in folders[1:]]
    for each in compared:
        output.print(comparison_table(each), soft_wrap=False)
        if each.left_out:
            output.print(f"left out, as only one of them played it: {', '.join(each.left_out)}")
        output.print(each.sentence)
    output.result({"comparisons": [each.to_json() for each in compared]})


@verb(app, trusts=True)
def report(
    folders: Annotated[list[Path], typer.Argument(help="A run folder; two or more are compared on one page.")],
    to: Annotated[Path | None, typer.Option(help="The page that compares runs; comparison.html if not given.")] = None,
    videos: Annotated[
        int | None, typer.Option(min=1, help="Make videos of that many evaluated episodes, one of each task at least.")
    ] = None,
    *,
    output: CommandOutput,
) -> None:
    """Write a run's report.html (scores, curves, videos, pictures, settings), or one page that compares runs."""
    from agentgym import report as pages

    if len(folders) == 1:
        if to:
            raise UserError(f"--to {to}: is for the page that compares runs; a run's report is in its folder")
        if videos:
            _make_videos(folders[0], videos, output)
        page = pages.write_report(folders[0])
    else:
        if videos:
            raise UserError("--videos: is for the report of one run; name one run folder")
        page = pages.write_comparison(folders, to or Path("comparison.html"))
    output.print(f"report: {page}")
    output.result({"report": str(page)})


@verb(app)
def publish(
    runs: Annotated[
        list[Path],
        typer.Argument(help="A run folder; then others of its recipe with other training seeds, to stand beside."),
    ],
    to: Annotated[Path, typer.Option(help="The folder for the results.")] = Path("experiments"),
    *,
    output: CommandOutput,
) -> None:
    """Write a run's numbers, table and figure next to its recipe; fill the marks of README.md and docs/results.md."""
    from agentgym.evaluation.stored import read_evaluation
    from agentgym.report import marked_tables
    from agentgym.report import publish as publishing

    page = publishing.publish(runs[0], to, runs[1:])
    for document in filter(Path.is_file, (Path("README.md"), Path("docs/results.md"))):
        marked_tables.update_results(document, page.stem, read_evaluation(page.with_suffix(".json")))
        marked_tables.update_scores(document, to)
    output.print(f"results: {page}")
    output.result({"results": str(page)})


def _make_videos(run: Path, count: int, output: CommandOutput) -> None:
    """Makes videos of that many of a run's evaluated episodes, and of one of each task at least."""
    from agentgym.evaluation.protocol import configure_evaluation
    from agentgym.report import episode_videos

    if not (run / "evaluation.json").is_file():
        raise UserError(f"{run}: is not evaluated yet; 'agentgym evaluate {run}' plays the episodes to show")
    config = configure_evaluation(str(run), videos=count)
    with output.progress("rendering", max(count, len(config.plays)), "videos") as on_progress:
        episode_videos.write_videos_of(config, lambda done: on_progress(done, ""))
