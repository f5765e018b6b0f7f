"""A run folder -> one self-contained HTML page: scores, curves, videos, failures, reconstructions and the recipe.

Nothing is measured here: every number on the page is in a file of the run, or was published by others. What is not
there yet is said in one sentence with the command that makes it. The page needs no network; without JavaScript it
shows everything but moving pictures.
"""

import json
import shlex
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from agentgym.evaluation.score_rows import plain, read_scores
from agentgym.evaluation.statistics import who_is_one
from agentgym.files import replace_file, understanding
from agentgym.report import reproduction
from agentgym.report.curves import learning_curves, profile_curve
from agentgym.report.failures import Group, failures_of, judged_episodes
from agentgym.report.reference_scores import headline, peers_of
from agentgym.report.run_results import RunFolder, read_run
from agentgym.report.video_section import read_videos
from agentgym.report.wording import count, duration, percent, short


def write_report(run: Path) -> Path:
    """Writes `report.html` into the run folder from what is there, and returns its path. Raises UserError."""
    folder = read_run(run)
    with understanding(run):
        page = _render(folder)
    replace_file(folder.path / "report.html", page)
    return folder.path / "report.html"


def _render(folder: RunFolder) -> str:
    evaluation = folder.evaluation
    scores = list(read_scores(evaluation)) if evaluation else []
    overall = evaluation["over_tasks"] if evaluation else None
    page: str = (
        template_environment()
        .get_template("report.html")
        .render(
            recipe=folder.recipe,
            datasets=folder.experiment.datasets,
            recipe_text="\n".join(_toml_lines(folder.recipe)).strip(),
            headline=headline(scores, folder.experiment.datasets, overall),
            training=folder.training,
            evaluation=evaluation,
            scores=scores,
            overall=overall,
            one=who_is_one(evaluation["tasks"]) if evaluation else None,
            profile=profile_curve([overall["profile"]]) if overall else None,
            peers=peers_of([task.id for task in folder.tasks]),
            failures=_failures(folder),
            unsolved=_unsolved(folder),
            curves=learning_curves([folder.metrics]),
            runs=[folder.recipe["name"]],
            videos=list(read_videos(folder)),
            video_method=next((video["method"] for video in folder.videos if "method" in video), None),
            reconstructions=_png_uri(folder.reconstructions),
            versions=_versions({"training": folder.training, "evaluation": evaluation}),
            commands={
                "run": reproduction.command(folder.recipe, folder.path),
                "evaluate": f"agentgym evaluate {shlex.quote(str(folder.path))}",
                "report": f"agentgym report {shlex.quote(str(folder.path))} --videos 12",
            },
        )
    )
    return page


def template_environment() -> Environment:
    """What all pages are rendered with: everything that comes from data is escaped."""
    environment = Environment(
        loader=PackageLoader("agentgym.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, count=count, duration=duration, short=short, plain=plain)
    return environment


def _failures(run: RunFolder) -> dict[str, list[Group]]:
    """The groups of the agent's episodes by what they differ in."""
    groups: dict[str, list[Group]] = {}
    for group in failures_of(run):
        groups.setdefault(group.by, []).append(group)
    return groups


def _unsolved(run: RunFolder) -> list[dict[str, Any]]:
    """The agent's failures where there can be some, each with the steps of the expert where it solved the level."""
    experts = (run.episodes or {}).get("expert", ())
    expert = {(e["task"], e["seed"]): e["length"] for e in experts if e["success"]}
    failures = [episode for episode in judged_episodes(run) if not episode["success"]]
    return [{**episode, "expert_length": expert.get((episode["task"], episode["seed"]))} for episode in failures]


def _png_uri(picture: bytes | None) -> str | None:
    return None if picture is None else f"data:image/png;base64,{b64encode(picture).decode('ascii')}"


def _versions(sources: Mapping[str, Mapping[str, Any] | None]) -> dict[str, dict[str, str]]:
    """The version of each package by what it was used for, for as many of the sources as there are."""
    present = {use: source["versions"] for use, source in sources.items() if source is not None}
    packages = sorted({package for versions in present.values() for package in versions})
    return {package: {use: versions.get(package, "–") for use, versions in present.items()} for package in packages}


def _toml_lines(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """A dumped recipe as TOML; what is not set is left out."""
    for key, value in values.items():
        if value is not None and not _is_table(value):
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}"
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from ("", f"[{prefix}{key}]", *_toml_lines(value, f"{prefix}{key}."))
        elif _is_table(value):
            for item in value:
                yield from ("", f"[[{prefix}{key}]]", *_toml_lines(item, f"{prefix}{key}."))


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(item, Mapping) for item in value))
