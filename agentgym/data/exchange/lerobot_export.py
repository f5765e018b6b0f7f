"""A dataset -> LeRobotDataset v3: Parquet with PNG images, bit for bit, which LeRobot opens by its folder.

LeRobot has a row for each action and none for what the last one led to. So that no frame is lost, an episode has a row
more than actions, the last of which repeats the last action; `meta/agentgym.json` has what LeRobot has no place for.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agentgym.data.png import encode_png
from agentgym.data.store import EpisodeDataset, Extra
from agentgym.errors import UserError
from agentgym.folders import new_folder
from agentgym.spaces import Buttons, Node, Reals
from agentgym.spaces.values import array_type

FPS = 10  # of steps, which have no time of their own
DATA, EPISODES = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"
IMAGE = "observation.images.frame"
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
OWN = "meta/agentgym.json"


def export_lerobot(path: str | Path, to: str | Path) -> list[str]:
    """Writes a LeRobotDataset v3 into the folder `to`; returns lines that say what LeRobot does not hold.

    Raises UserError when `to` holds something, when there is no episode, and for actions that are not numeric arrays.
    """
    dataset = EpisodeDataset(path)
    root = dataset.header.space.root
    if not len(dataset):
        raise UserError(f"{path}: holds no episode; there is nothing to export")
    if array_type(root) is None:
        raise UserError(f"{path}: its actions are {dataset.header.space}; LeRobot takes arrays of numbers")
    features = _features(dataset)
    tasks = sorted(set(dataset.column("instruction")))
    with new_folder(Path(to)) as folder:
        for part in (DATA, EPISODES, OWN):
            (folder / part).parent.mkdir(parents=True, exist_ok=True)
        statistics = _write_rows(dataset, folder / DATA, features, tasks)
        _write_episodes(dataset, folder / EPISODES)
        _write_tasks(tasks, folder / "meta" / "tasks.parquet")
        (folder / "meta" / "info.json").write_text(json.dumps(_info(dataset, features, len(tasks)), indent=4))
        (folder / "meta" / "stats.json").write_text(json.dumps(statistics, indent=4))
        (folder / OWN).write_text(json.dumps(_own(dataset), indent=1))
    notes = ["LeRobot has a row for each frame: the last one of an episode repeats its last action"]
    labelled = sum(map(bool, dataset.column("labels")))
    if labelled:
        notes.append(f"LeRobot has no place for the labels of {labelled:,} episodes")
    others = sum(dataset.outcomes().values()) - len(dataset)
    if others:
        notes.append(f"LeRobot has no place for {others:,} attempts that left no episode")
    left = [extra.name for extra in dataset.header.extras if extra not in _shared(dataset.header.extras)]
    return [*notes, f"LeRobot has no place for {', '.join(left)}"] if left else notes


def _shared(extras: Sequence[Extra]) -> list[Extra]:
    """The extra columns that LeRobot has a place for: all but large arrays that are not pictures."""
    return [extra for extra in extras if not extra.in_blocks or extra.shape[2:] == (3,)]


def _features(dataset: EpisodeDataset) -> dict[str, Any]:
    height, width, _ = dataset.header.frame_shape
    image = {"dtype": "image", "names": ["height", "width", "channels"]}
    features: dict[str, Any] = {IMAGE: {**image, "shape": [height, width, 3]}}
    for extra in _shared(dataset.header.extras):
        if extra.in_blocks:
            features[f"observation.images.{extra.name}"] = {**image, "shape": list(extra.shape)}
        else:
            kind = extra.dtype if extra.kind == "array" else "string"
            features[extra.name] = {"dtype": kind, "shape": [math.prod(extra.shape)], "names": None}
    found = array_type(dataset.header.space.root)
    assert found is not None
    dtype, shape = found
    size = int(np.prod(shape, dtype=int))
    features["action"] = {"dtype": str(dtype), "shape": [size], "names": _names(dataset.header.space.root, size)}
    features["next.reward"] = {"dtype": "float64", "shape": [1], "names": None}
    features["next.done"] = {"dtype": "bool", "shape": [1], "names": None}
    features["next.success"] = {"dtype": "bool", "shape": [1], "names": None}
    for name, kind in (("timestamp", "float32"), *((key, "int64") for key in INDICES)):
        features[name] = {"dtype": kind, "shape": [1], "names": None}
    return features


INDICES = ("frame_index", "episode_index", "index", "task_index")


def _names(root: Node, size: int) -> list[str]:
    named = root.names if isinstance(root, Buttons | Reals) else ()
    return list(named) if len(named) == size else [str(place) for place in range(size)]


def _column(feature: dict[str, Any]) -> pa.DataType:
    if feature["dtype"] == "image":
        return PICTURE
    if feature["dtype"] == "string":
        return pa.string()
    kind = pa.from_numpy_dtype(np.dtype(feature["dtype"]))
    return kind if feature["shape"] == [1] else pa.list_(kind, feature["shape"][0])


def _write_rows(
    dataset: EpisodeDataset, file: Path, features: dict[str, Any], tasks: list[str]
) -> dict[str, dict[str, Any]]:
    """The rows of all episodes, one row group each; the statistics of every feature of numbers."""
    schema = pa.schema([(name, _column(feature)) for name, feature in features.items()])
    numbers: dict[str, list[Any]] = {}
    with pq.ParquetWriter(file, schema) as writer:
        for columns in _episodes(dataset, tasks):
            for name, values in columns.items():
                if features[name]["dtype"] not in ("image", "string"):
                    numbers.setdefault(name, []).append(values)
            rows = {name: _values(columns[name], features[name]) for name in features}
            writer.write_table(pa.Table.from_pydict(rows, schema=schema))
    return {name: _statistics(np.concatenate(parts)) for name, parts in numbers.items()}


def _episodes(dataset: EpisodeDataset, tasks: list[str]) -> Iterator[dict[str, Any]]:
    first = 0
    for number in range(len(dataset)):
        episode, extra_values = dataset[number], dataset.extras(number)
        count = len(episode) + 1
        last = np.arange(count) == count - 2  # the action that ends it
        columns: dict[str, Any] = {IMAGE: episode.frames}
        for extra in _shared(dataset.header.extras):
            columns[f"observation.images.{extra.name}" if extra.in_blocks else extra.name] = extra_values[extra.name]
        actions = np.asarray(episode.actions).reshape(len(episode), -1)
        columns["action"] = np.concatenate([actions, actions[-1:]])
        columns["next.reward"] = np.append(episode.rewards, 0.0)
        columns["next.done"] = last & (episode.terminated or episode.truncated)
        columns["next.success"] = last & episode.success
        columns["timestamp"] = np.arange(count, dtype=np.float32) / np.float32(FPS)
        columns["frame_index"] = np.arange(count)
        columns["episode_index"] = np.full(count, number)
        columns["index"] = np.arange(first, first + count)
        columns["task_index"] = np.full(count, tasks.index(episode.instruction))
        first += count
        yield columns


def _values(values: Any, feature: dict[str, Any]) -> list[Any]:
    if feature["dtype"] == "image":
        return [{"bytes": encode_png(frame), "path": None} for frame in values]
    if feature["dtype"] == "string":
        return list(values)
    flat = np.asarray(values, feature["dtype"]).reshape(len(values), -1)
    return list(flat[:, 0].tolist() if feature["shape"] == [1] else flat.tolist())


def _statistics(values: Any) -> dict[str, Any]:
    numbers = np.asarray(values, np.float64).reshape(len(values), -1)
    numbers = np.where(np.isfinite(numbers), numbers, 0.0)  # JSON has no other
    found = {name: getattr(numbers, name)(axis=0).tolist() for name in ("min", "max", "mean", "std")}
    return {**found, "count": [len(numbers)]}


def _write_episodes(dataset: EpisodeDataset, file: Path) -> None:
    counts = (dataset.lengths + 1).tolist()
    ends = np.cumsum(counts).tolist()
    zeros = [0] * len(dataset)
    table = {
        "episode_index": list(range(len(dataset))),
        "tasks": [[text] for text in dataset.column("instruction")],
        "length": counts,
        "data/chunk_index": zeros,
        "data/file_index": zeros,
        "dataset_from_index": [end - count for end, count in zip(ends, counts, strict=True)],
        "dataset_to_index": ends,
        "meta/episodes/chunk_index": zeros,
        "meta/episodes/file_index": zeros,
    }
    pq.write_table(pa.table(table), file)


def _write_tasks(tasks: list[str], file: Path) -> None:
    """As pandas writes a frame that is indexed by the tasks, which is how LeRobot reads it."""
    index = "__index_level_0__"
    pandas = {
        "index_columns": [index],
        "column_indexes": [
            {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
        ],
        "columns": [
            {
                "name": "task_index",
                "field_name": "task_index",
                "pandas_type": "int64",
                "numpy_type": "int64",
                "metadata": None,
            },
            {"name": None, "field_name": index, "pandas_type": "unicode", "numpy_type": "object", "metadata": None},
        ],
    }
    table = pa.table({"task_index": list(range(len(tasks))), index: tasks})
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), file)


def _info(dataset: EpisodeDataset, features: dict[str, Any], tasks: int) -> dict[str, Any]:
    return {
        "codebase_version": "v3.0",
        "robot_type": None,
        "total_episodes": len(dataset),
        "total_frames": int((dataset.lengths + 1).sum()),
        "total_tasks": tasks,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": FPS,
        "splits": {"train": f"0:{len(dataset)}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
        "features": features,
    }


def _own(dataset: EpisodeDataset) -> dict[str, Any]:
    """What comes back when agentgym imports the folder again."""
    names = ("task", "seed", "expert", "success", "terminated", "truncated")
    return {
        "header": replace(dataset.header, extras=tuple(_shared(dataset.header.extras))).to_json(),
        "frame": IMAGE,
        "episodes": {name: dataset.column(name) for name in names},
        "versions": [json.loads(text) for text in dataset.column("versions")],
    }
