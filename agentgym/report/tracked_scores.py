"""A run's scores and videos in the trackers that have its curves (see `agentgym.training.trackers`).

Each gets what it can show: every tracker the scores as numbers; Weights & Biases and Trackio a table and videos,
MLflow a table and the videos' files, TensorBoard the table as text and videos as GIFs.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from PIL import Image

from agentgym.evaluation.score_rows import Score, read_scores
from agentgym.files import read_json
from agentgym.training.run_folder import read_recipe
from agentgym.training.trackers import finish, make_trackers, starting

COLUMNS = ("task", "policy", "episodes", "success", "return", "length", "score", "interval")
VIDEO_SIDE = 320  # pixels, of a moving picture in TensorBoard


def track_scores(run: Path, evaluation: dict[str, Any]) -> list[str]:
    """Tells the run's trackers its scores, and videos where there are some; the names of those trackers.

    Raises UserError when one of them does not start.
    """
    trackers = make_trackers(read_recipe(run).training.trackers, run)
    rows = list(read_scores(evaluation))
    update = int(read_json(run / "training.json", dict)["updates"])
    videos = sorted((run / "videos").glob("*.mp4"))
    PartialState(cpu=not torch.cuda.is_available())  # Accelerate's trackers ask it which process is the main one
    with starting(trackers, run):
        for tracker in trackers:
            tracker.start()
    for tracker in trackers:
        tracker.log(_numbers(rows, evaluation), step=update)
        TABLES[tracker.name](tracker, rows, update)
        VIDEOS[tracker.name](tracker, videos, update)
    finish(trackers)
    return [tracker.name for tracker in trackers]


def _numbers(rows: Sequence[Score], evaluation: dict[str, Any]) -> dict[str, float]:
    """The agent's scores, by what they are of."""
    values = {}
    for row in rows:
        if row.role == "agent":
            if row.defines_success:
                values[f"score/success/{row.task}"] = row.success_rate
            values[f"score/return/{row.task}"] = row.return_mean
    overall = evaluation["over_tasks"] or {}
    return values | {f"score/over_tasks/{key}": overall[key] for key in ("iqm", "mean") if key in overall}


def _cells(rows: Sequence[Score]) -> list[list[Any]]:
    return [
        [r.task, r.policy, r.episodes, r.success_rate, r.return_mean, r.length_mean, r.text, r.interval] for r in rows
    ]


def _table_as_text(tracker: Any, rows: Sequence[Score], update: int) -> None:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += ["| " + " | ".join(f"{cell}" for cell in cells) + " |" for cells in _cells(rows)]
    tracker.tracker.add_text("scores", "\n".join(lines), update)


def _table_of_wandb(tracker: Any, rows: Sequence[Score], update: int) -> None:
    tracker.log_table("scores", columns=list(COLUMNS), data=_cells(rows), step=update)


def _table_of_trackio(tracker: Any, rows: Sequence[Score], update: int) -> None:
    import trackio

    tracker.log({"scores": trackio.Table(columns=list(COLUMNS), data=_cells(rows))}, step=update)


def _table_of_mlflow(tracker: Any, rows: Sequence[Score], update: int) -> None:
    import mlflow

    columns = zip(*_cells(rows), strict=True)
    mlflow.log_table(dict(zip(COLUMNS, map(list, columns), strict=True)), "scores.json")


def _videos_as_gifs(tracker: Any, videos: Sequence[Path], update: int) -> None:
    """TensorBoard shows a GIF as it is: what its own `add_video` makes, without the package that this one needs."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    for video in videos:
        gif, height, width = _gif(video)
        picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
        summary = Summary(value=[Summary.Value(tag=f"videos/{video.stem}", image=picture)])
        tracker.tracker.file_writer.add_summary(summary, update)


def _videos_of_wandb(tracker: Any, videos: Sequence[Path], update: int) -> None:
    import wandb

    for video in videos:
        tracker.log({f"videos/{video.stem}": wandb.Video(str(video), format="mp4")}, step=update)


def _videos_of_trackio(tracker: Any, videos: Sequence[Path], update: int) -> None:
    import trackio

    for video in videos:
        tracker.log({f"videos/{video.stem}": trackio.Video(str(video), format="mp4")}, step=update)


def _videos_of_mlflow(tracker: Any, videos: Sequence[Path], update: int) -> None:
    for video in videos:
        tracker.log_artifact(str(video), "videos")


def _gif(video: Path) -> tuple[bytes, int, int]:
    """A video as a GIF, its height and its width."""
    import imageio.v3 as iio  # there, since the video is

    fps = iio.immeta(video, plugin="FFMPEG")["fps"]
    pictures = [Image.fromarray(frame) for frame in iio.imiter(video, plugin="FFMPEG")]
    for picture in pictures:
        picture.thumbnail((VIDEO_SIDE, VIDEO_SIDE))
    written = BytesIO()
    pictures[0].save(
        written, "GIF", save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0, optimize=False
    )
    return written.getvalue(), pictures[0].height, pictures[0].width


TABLES = {
    "tensorboard": _table_as_text,
    "wandb": _table_of_wandb,
    "trackio": _table_of_trackio,
    "mlflow": _table_of_mlflow,
}
VIDEOS = {
    "tensorboard": _videos_as_gifs,
    "wandb": _videos_of_wandb,
    "trackio": _videos_of_trackio,
    "mlflow": _videos_of_mlflow,
}
