"""A run folder -> one self-contained HTML page: scores, learning curves, videos, reconstructions and the recipe.

Nothing is measured here: every number on the page stands in a file of the run. What is not there yet is said in one
sentence with the command that makes it. The page needs no network and no JavaScript.
"""

import json
import os
import shlex
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from agentgym import pictures
from agentgym.errors import UserError

NBSP = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Score:
    """One row of the score table: what one policy reached on one task."""

    task: str
    role: str  # agent, random or expert
    policy: str
    episodes: int
    first_seed: int
    success_rate: float
    success_ci95: tuple[float, float]
    return_mean: float
    return_ci95: tuple[float, float]
    length_mean: float

    @property
    def last_seed(self) -> int:
        """The seeds are [first_seed, last_seed]."""
        return self.first_seed + self.episodes - 1


def write_report(run: Path) -> Path:
    """Writes `report.html` into the run folder from what is there, and returns its path. Raises UserError."""
    run = Path(run)
    if not (run / "recipe.json").is_file():
        raise UserError(
            f"{run}: no recipe.json; name a run folder, such as the runs/NAME that 'agentgym run NAME' makes"
        )
    recipe = _read_json(run / "recipe.json")
    training = _read_json(run / "training.json")
    evaluation = _read_json(run / "evaluation.json")
    metrics = _read_metrics(run / "metrics.jsonl")
    scores = list(_scores(evaluation)) if evaluation else []
    reconstructions = run / "pictures" / "reconstructions.png"
    page = (
        _environment()
        .get_template("report.html")
        .render(
            recipe=recipe,
            recipe_text="\n".join(_toml_lines(recipe)).strip(),
            headline=_headline(scores, _training_seeds(recipe)),
            training=training,
            evaluation=evaluation,
            scores=scores,
            unsolved=_unsolved(_read_json(run / "episodes.json")),
            curves=Markup(pictures.learning_curves(metrics)) if metrics else None,
            videos=list(_videos(run)),
            reconstructions=_data_uri(reconstructions, "image/png") if reconstructions.is_file() else None,
            versions=_versions({"training": training, "evaluation": evaluation}),
            commands={
                "run": f"agentgym run {shlex.quote(recipe['name'])}",
                "evaluate": f"agentgym evaluate {shlex.quote(str(run))}",
            },
        )
    )
    return _replace_file(run / "report.html", page)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("agentgym"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, count=_count, duration=_duration)
    return environment


def _read_json(file: Path) -> Any:
    """What the file holds, or None without the file."""
    return _parse(file.read_text(encoding="utf-8"), str(file)) if file.is_file() else None


def _read_metrics(file: Path) -> list[dict[str, Any]]:
    """The lines of the file, or none without the file."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [_parse(line, f"{file}, line {number}") for number, line in enumerate(lines, start=1)]


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not valid JSON ({error}); remove it, or make the run anew") from None


def _scores(evaluation: Mapping[str, Any]) -> Iterator[Score]:
    """The agent's row of each task, and those of the policies it is compared with."""
    for task in evaluation["tasks"]:
        for role in ("agent", "random", "expert"):
            if role != "agent" and role not in task:
                continue
            values = task if role == "agent" else task[role]
            yield Score(
                task=task["task"],
                role=role,
                policy=task["expert"]["name"] if role == "expert" else role,
                episodes=values["episodes"],
                first_seed=task["first_seed"],
                success_rate=values["success_rate"],
                success_ci95=values["success_ci95"],
                return_mean=values["return_mean"],
                return_ci95=values["return_ci95"],
                length_mean=values["length_mean"],
            )


def _headline(scores: Sequence[Score], training_seeds: range) -> str | None:
    """The result in one sentence; levels are called held out only when no training seed is among theirs."""
    agent = [score for score in scores if score.role == "agent"]
    if not agent:
        return None
    held_out = all(s.last_seed < training_seeds.start or s.first_seed >= training_seeds.stop for s in agent)
    tasks = f" of {len(agent)} tasks" if len(agent) > 1 else ""
    levels = f"{_count(sum(s.episodes for s in agent))} {'held-out ' if held_out else ''}levels{tasks}"
    return f"{_percent(_solved_share(agent))} of {levels} solved"


def _solved_share(scores: Sequence[Score]) -> float:
    return sum(score.success_rate * score.episodes for score in scores) / sum(score.episodes for score in scores)


def _training_seeds(recipe: Mapping[str, Any]) -> range:
    first = recipe["dataset"]["first_seed"]
    return range(first, first + recipe["dataset"]["episodes"])


def _unsolved(episodes: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The agent's failures, each with the number of steps that the expert took where it solved the same level."""
    if episodes is None:
        return []
    expert = {(e["task"], e["seed"]): e["length"] for e in episodes.get("expert", []) if e["success"]}
    failures = [episode for episode in episodes["agent"] if not episode["success"]]
    return [{**episode, "expert_length": expert.get((episode["task"], episode["seed"]))} for episode in failures]


def _videos(run: Path) -> Iterator[dict[str, Any]]:
    folder = run / "videos"
    for video in _read_json(folder / "videos.json") or []:
        file = folder / video["file"]
        if not file.is_file():
            raise UserError(
                f"{folder / 'videos.json'}: names {video['file']}, which is missing; 'agentgym evaluate {run}'"
            )
        yield {**video, "uri": _data_uri(file, "video/mp4")}


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


def _data_uri(file: Path, media_type: str) -> str:
    return f"data:{media_type};base64,{b64encode(file.read_bytes()).decode('ascii')}"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}{NBSP}%"


def _count(number: int) -> str:
    return f"{number:,}"


def _duration(seconds: float) -> str:
    hours, minutes, rest = round(seconds) // 3600, round(seconds) % 3600 // 60, round(seconds) % 60
    large, small = (f"{hours}{NBSP}h", f"{minutes}{NBSP}min") if hours else (f"{minutes}{NBSP}min", f"{rest}{NBSP}s")
    return f"{large} {small}" if hours or minutes else small


def _replace_file(file: Path, text: str) -> Path:
    """The file holds the text, or what it held before, whatever happens."""
    temporary = file.with_name(file.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    return temporary.replace(file)
