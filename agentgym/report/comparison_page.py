"""Several run folders -> one self-contained page: scores side by side, paired differences, curves overlaid.

The first run is compared with each of the others, level by level (`agentgym.evaluation.comparison`).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agentgym.evaluation import comparison
from agentgym.evaluation.score_rows import Score, read_scores
from agentgym.files import replace_file, understanding
from agentgym.folders import make_folder
from agentgym.recipes import differences
from agentgym.report.curves import learning_curves, profile_curve
from agentgym.report.run_page import template_environment
from agentgym.report.run_results import RunFolder, read_run


def write_comparison(runs: Sequence[Path], to: Path) -> Path:
    """Writes the page of two or more runs to `to`, and returns it. Raises UserError when one is not scored."""
    folders = [read_run(run) for run in runs]
    names = _names(folders)
    compared = [
        replace(comparison.compare(folders[0].path, other.path), a=names[0], b=name)
        for other, name in zip(folders[1:], names[1:], strict=True)
    ]
    with understanding(*runs):
        page = _render(folders, names, compared)
    make_folder(to.parent)
    replace_file(to, page)
    return to


def _render(folders: Sequence[RunFolder], names: Sequence[str], compared: Sequence[comparison.Comparison]) -> str:
    page: str = (
        template_environment()
        .get_template("comparison.html")
        .render(
            runs=names,
            folders=folders,
            compared=compared,
            scores=_side_by_side(folders),
            curves=learning_curves([run.metrics for run in folders]),
            profile=_profile(folders),
            changed=[differences(dict(folders[0].recipe), dict(other.recipe)) for other in folders[1:]],
        )
    )
    return page


def _names(folders: Sequence[RunFolder]) -> list[str]:
    """The folders' own names, or their paths where two have the same."""
    names = [folder.path.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder.path) for folder in folders]


def _side_by_side(folders: Sequence[RunFolder]) -> dict[str, list[tuple[int, Score]]]:
    """For each task the runs' own scores, with the number of the run, and then the first run's references."""
    rows: dict[str, list[tuple[int, Score]]] = {}
    for number, folder in enumerate(folders):
        for score in read_scores(folder.evaluation or {"tasks": []}):
            if score.role == "agent":
                rows.setdefault(score.task, []).append((number, score))
    for score in read_scores(folders[0].evaluation or {"tasks": []}):
        if score.role != "agent":
            rows[score.task].append((0, score))
    return rows


def _profile(folders: Sequence[RunFolder]) -> object:
    """The performance profiles of all runs, where all have one."""
    overall = [folder.evaluation and folder.evaluation["over_tasks"] for folder in folders]
    return profile_curve([each["profile"] for each in overall if each]) if all(overall) else None
