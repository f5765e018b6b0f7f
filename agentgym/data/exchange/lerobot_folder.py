"""The files of a LeRobotDataset v3: descriptions, rows, and the pictures of each camera. Knows nothing of ours."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from agentgym.data.exchange.lerobot_export import OWN
from agentgym.errors import UserError
from agentgym.files import LARGEST_SETTINGS, read_json
from agentgym.folders import check_inside


class Videos:
    """Videos that are read forwards: an episode mostly begins where the one before it in the file ended."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Path, Iterator[Any], int]] = {}  # by camera: a file, its frames, the next one

    def read(self, camera: str, file: Path, first: int, count: int) -> NDArray[np.uint8]:
        """Frames [first, first + count) of a camera's video. Raises ValueError when it has fewer."""
        known, frames, place = self._open.get(camera, (None, iter(()), 0))
        if known != file or place > first:
            import imageio.v3 as iio

            frames, place = iter(iio.imiter(file, plugin="FFMPEG")), 0
        taken = list(islice(frames, first - place, first - place + count))
        self._open[camera] = (file, frames, first + count)
        if len(taken) < count:
            raise ValueError(f"{file} has less than the {first + count} frames that the episode needs")
        return np.stack(taken)


@dataclass(frozen=True)
class LeRobotFolder:
    """A LeRobotDataset v3 on disk. Raises UserError when it is none."""

    path: Path
    info: dict[str, Any] = field(init=False)
    videos: Videos = field(default_factory=Videos)

    def __post_init__(self) -> None:
        if not (self.path / "meta" / "info.json").is_file():
            raise UserError(f"{self.path}: is not a LeRobotDataset: it has no meta/info.json")
        info = read_json(self.path / "meta" / "info.json", dict, most=LARGEST_SETTINGS)
        version = str(info.get("codebase_version"))
        if not version.startswith("v3."):
            raise UserError(f"{self.path}: is a LeRobotDataset {version}; convert it to v3.0 with LeRobot itself")
        object.__setattr__(self, "info", info)

    @cached_property
    def own(self) -> dict[str, Any] | None:
        """What agentgym wrote in addition, where it wrote the folder."""
        file = self.path / OWN
        return read_json(file, dict) if file.is_file() else None

    @cached_property
    def cameras(self) -> list[str]:
        """The features that are pictures."""
        return [name for name, feature in self.info["features"].items() if feature["dtype"] in ("image", "video")]

    @cached_property
    def episodes(self) -> list[dict[str, Any]]:
        """A row of metadata for each episode, in order."""
        files = sorted((self.path / "meta" / "episodes").glob("*/*.parquet"))
        rows = [row for file in files for row in pq.read_table(file).to_pylist()]
        return sorted(rows, key=lambda row: int(row["episode_index"]))

    def rows(self, episode: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of an episode, in order."""
        place = {"chunk_index": episode["data/chunk_index"], "file_index": episode["data/file_index"]}
        file = self._file("data_path", place)
        chosen = [("episode_index", "=", episode["episode_index"])]
        return sorted(pq.read_table(file, filters=chosen).to_pylist(), key=lambda row: int(row["frame_index"]))

    def pictures(self, camera: str, episode: Mapping[str, Any], rows: list[dict[str, Any]]) -> NDArray[np.uint8]:
        """uint8[rows, height, width, 3] of one camera."""
        if self.info["features"][camera]["dtype"] == "image":
            return np.stack([_decode(self.path, row[camera]) for row in rows])
        place = {
            "video_key": camera,
            "chunk_index": episode[f"videos/{camera}/chunk_index"],
            "file_index": episode[f"videos/{camera}/file_index"],
        }
        first = round(float(episode[f"videos/{camera}/from_timestamp"]) * self.info["fps"])
        return self.videos.read(camera, self._file("video_path", place), first, len(rows))

    def _file(self, pattern: str, place: Mapping[str, Any]) -> Path:
        """A file of the dataset, which is in its folder. Raises UserError."""
        return check_inside(self.path / str(self.info[pattern]).format(**place), self.path)


def _decode(folder: Path, stored: Mapping[str, Any]) -> NDArray[np.uint8]:
    content = (
        stored["bytes"] if stored.get("bytes") else check_inside(folder / str(stored["path"]), folder).read_bytes()
    )
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
