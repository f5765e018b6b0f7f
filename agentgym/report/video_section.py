"""The videos of a run folder as what the page plays: pictures as data, and the values of each step."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from agentgym.errors import UserError, first_line
from agentgym.evaluation.score_rows import defines_success
from agentgym.evaluation.statistics import scale_of
from agentgym.folders import check_inside
from agentgym.report.run_results import RunFolder


@dataclass(frozen=True)
class Picture:
    """All frames of a video in one picture, frame i in row i % rows of column i // rows; sides of one frame."""

    uri: str
    rows: int
    columns: int
    width: int
    height: int


@dataclass(frozen=True)
class EpisodeVideo:
    """One video of the page. `steps` is what the page's script reads."""

    episode: Mapping[str, Any]
    outcome: str  # success, failure, or return where the task does not say what success is
    label: str  # the same for people
    shown: int  # steps; a long video ends early
    pictures: Mapping[str, Picture]
    action_names: Sequence[str]
    steps: Mapping[str, Any]
    side: int  # patches in a row of the map of what mattered; 0 without a map


def read_videos(run: RunFolder) -> Iterator[EpisodeVideo]:
    """The videos, failures first, the longest of them first. Raises UserError naming a picture that is missing."""
    tasks = {task["task"]: task for task in (run.evaluation or {"tasks": ()})["tasks"]}
    for video in sorted(run.videos, key=lambda video: (video["success"], -video["length"])):
        if "seen" not in video:  # from before there were pictures for the page; 'agentgym report' makes it again
            continue
        patches, task = video.get("patches"), tasks.get(video["task"], {})
        judged = defines_success(task)
        yield EpisodeVideo(
            episode=video,
            outcome=("success" if video["success"] else "failure") if judged else "return",
            label=_label(video, task),
            shown=len(video["actions"]),
            pictures={view: _picture(run.path, video[view]) for view in ("seen", "world")},
            action_names=video["action_names"],
            steps={
                "actions": video["actions"],
                "probabilities": video.get("probabilities"),
                "patches": patches,
            },
            side=round(len(patches[0]) ** 0.5) if patches else 0,
        )


def _label(video: Mapping[str, Any], task: Mapping[str, Any]) -> str:
    """The outcome of the episode: `success`, or `return 18 of 17.8`, the mean of who is scored as 1."""
    if defines_success(task):
        return "success" if video["success"] else "failure"
    scale = scale_of(task)
    return f"return {video['total_reward']:g}" + (f" of {scale[1]:.4g}" if scale else "")


def data_uri(file: Path, media_type: str) -> str:
    """A file as a data URL."""
    return f"data:{media_type};base64,{b64encode(file.read_bytes()).decode('ascii')}"


def _picture(run: Path, sheet: Mapping[str, Any]) -> Picture:
    file = check_inside(run / "videos" / sheet["file"], run / "videos")
    if not file.is_file():
        raise UserError(
            f"{run / 'videos' / 'videos.json'}: names {sheet['file']}, which is missing; "
            f"'agentgym report {run} --videos 6' makes them again"
        )
    try:
        with Image.open(file, formats=["PNG"]) as picture:
            width, height = picture.size
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        again = f"'agentgym report {run} --videos 6' makes them again"
        raise UserError(f"{file}: is not a picture ({first_line(error)}); {again}") from None
    rows, columns = sheet["rows"], sheet["columns"]
    return Picture(data_uri(file, "image/png"), rows, columns, width // columns, height // rows)
