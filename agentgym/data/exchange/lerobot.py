"""LeRobotDataset v3 -> ours: Parquet with images or videos, actions, tasks; `lerobot_export` goes back.

LeRobot says what was seen and done at each step, and not what the last action led to: that action is left out, unless
agentgym wrote the folder, where the row after it has the frame.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from agentgym.data.episode import Episode
from agentgym.data.exchange.lerobot_export import INDICES
from agentgym.data.exchange.lerobot_folder import LeRobotFolder
from agentgym.data.exchange.minari import slug
from agentgym.data.store import NAMES, DatasetWriter, Extra, Header, JsonText, UnfitEpisodeError
from agentgym.errors import UserError, first_line
from agentgym.folders import new_folder
from agentgym.recipes import DatasetRecipe, FrameRecipe, SuiteRecipe, TaskRecipe
from agentgym.spaces import SpaceCodec
from agentgym.spaces.values import array_type

RESERVED = ("action", "timestamp", "next.reward", "next.done", "next.success", *INDICES)


def import_lerobot(source: str | Path, to: str | Path, *, camera: str | None = None) -> list[str]:
    """Writes a dataset of the folder of a LeRobotDataset v3; returns lines that say what was made up and left out.

    `camera` names the feature that the agent sees, the first one when not given; the others, and every feature of
    numbers or text, are kept with it. Raises UserError when it is none, or `to` holds something; then nothing is
    left there.
    """
    folder = LeRobotFolder(Path(source))
    with _whole(folder.path):
        seen, header = _prepare(folder, Path(to).resolve().name, camera)
    left_out: list[str] = []
    with new_folder(Path(to)) as making:
        with DatasetWriter(making, header, all_or_nothing=True) as writer:
            for number, episode in enumerate(_read_episodes(folder, seen, header)):
                if isinstance(episode, Exception):  # of whatever wrote the files
                    left_out.append(f"episode {number}: {episode}")
                    continue
                try:
                    writer.append(episode)
                except UnfitEpisodeError as error:
                    left_out.append(f"episode {number}: {error}")
        if len(left_out) == len(folder.episodes):
            raise UserError(f"{source}: no episode can be imported; {left_out[0]}")
    notes = [f"{len(left_out):,} episodes are left out; the first is {left_out[0]}"] if left_out else []
    if folder.own is None:
        notes.append("seeds: not recorded, numbered from 0; such episodes cannot be replayed")
        notes.append("the last action of each episode is left out: no frame shows what it led to")
        if "next.reward" not in folder.info["features"]:
            notes.append("rewards: not recorded, taken as 0")
        if "next.success" not in folder.info["features"]:
            notes.append("success: not recorded, every episode is taken for a demonstration that succeeded")
        notes.append(f"timestamps are left out: a step has no time here (there are {folder.info.get('fps')} a second)")
        if taken := sorted(set(NAMES).intersection(folder.info["features"])):
            notes.append(f"features whose names are of columns here are left out: {', '.join(taken)}")
        if any(folder.info["features"][name]["dtype"] == "video" for name in folder.cameras):
            notes.append("videos are lossy: frames are what they decode to")
    return notes


@contextmanager
def _whole(source: Path) -> Iterator[None]:
    """What a folder's descriptions turn out not to be, in the block, is a UserError: they are cut short or changed."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError, pa.ArrowException) as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"{source}: is not a whole LeRobotDataset ({said}); get it again") from None


def _prepare(folder: LeRobotFolder, name: str, camera: str | None) -> tuple[str, Header]:
    """The feature that the agent sees, and the header of what is imported. Raises UserError where there is nothing."""
    source = folder.path
    if not folder.cameras or not folder.episodes:
        raise UserError(
            f"{source}: has no {'camera' if folder.episodes else 'episode'}; there is nothing to learn from"
        )
    if folder.own is not None and camera is not None and camera != folder.own["frame"]:
        raise UserError(
            f"{source}: was written by agentgym and comes back as it was; import it without --camera, and name the "
            "camera where it is trained on (parts.N.camera)"
        )
    seen = camera or folder.cameras[0]
    if seen not in folder.cameras:
        raise UserError(f"{source}: has no camera '{seen}'; it has {', '.join(folder.cameras)}")
    return seen, _own_header(folder) or _make_header(folder, seen, name)


def _own_header(folder: LeRobotFolder) -> Header | None:
    if folder.own is None:
        return None
    values = folder.own["header"]
    return Header.from_json(values, values["format"])


def _make_header(folder: LeRobotFolder, seen: str, name: str) -> Header:
    """What the features say; limits of actions are those of the recorded ones, which no other place names."""
    features = folder.info["features"]
    height, width, _ = _shape_of_pictures(features[seen])
    task = TaskRecipe(id=slug(str(folder.info.get("robot_type") or name)))
    suite = SuiteRecipe(
        name=name, description="imported from LeRobot", frame=FrameRecipe(size=(height, width)), tasks=[task]
    )
    recipe = DatasetRecipe(
        name=name,
        description=suite.description,
        suite=suite,
        expert="unknown",
        episodes=len(folder.episodes),
        keep="all",
    )
    space = SpaceCodec.of(_action_space(folder), None)
    left = (seen, *RESERVED, *NAMES)
    extras = [_extra(key, feature) for key, feature in features.items() if key not in left]
    return Header(space, (height, width, 3), recipe.model_dump(mode="json"), tuple(extras))


def _shape_of_pictures(feature: Mapping[str, Any]) -> tuple[int, int, int]:
    shape, names = list(feature["shape"]), feature.get("names") or []
    first, second, third = (shape[1], shape[2], shape[0]) if list(names)[:1] == ["channels"] else shape
    return int(first), int(second), int(third)


def _extra(name: str, feature: Mapping[str, Any]) -> Extra:
    if feature["dtype"] == "string":
        return Extra(name, "text")
    if feature["dtype"] in ("image", "video"):
        return Extra(name, "array", "uint8", _shape_of_pictures(feature))
    shape = tuple(int(size) for size in feature["shape"])
    return Extra(name, "array", str(feature["dtype"]), () if shape == (1,) else shape)


def _action_space(folder: LeRobotFolder) -> gymnasium.Space[Any]:
    feature = folder.info["features"]["action"]
    files = sorted((folder.path / "data").glob("*/*.parquet"))
    parts = [np.array(pq.read_table(file, columns=["action"])["action"].to_pylist()) for file in files]
    actions = np.concatenate(parts).reshape(sum(map(len, parts)), -1)
    if np.dtype(feature["dtype"]).kind in "iub":
        low, high = int(actions.min()), int(actions.max())
        if actions.shape[1] == 1:
            return gymnasium.spaces.Discrete(high - low + 1, start=low)
        sizes = actions.max(axis=0) - actions.min(axis=0) + 1
        return gymnasium.spaces.MultiDiscrete(sizes, start=actions.min(axis=0))
    dtype: Any = np.dtype(feature["dtype"]).type
    lows, highs = actions.min(axis=0).astype(dtype), actions.max(axis=0).astype(dtype)
    return gymnasium.spaces.Box(lows, highs, dtype=dtype)


def _read_episodes(folder: LeRobotFolder, seen: str, header: Header) -> Iterator[Episode | Exception]:
    for number, described in enumerate(folder.episodes):
        try:
            yield _read_episode(folder, seen, header, number, described)
        except Exception as error:  # an episode whose files are damaged costs no other
            yield error


def _read_episode(
    folder: LeRobotFolder, seen: str, header: Header, number: int, described: Mapping[str, Any]
) -> Episode:
    rows = folder.rows(described)
    if len(rows) < 2:
        raise ValueError("it has no step with a frame after it")
    texts = described.get("tasks") or [header.recipe["suite"]["tasks"][0]["id"]]
    if len(texts) > 1:
        raise ValueError(f"its task changes: {', '.join(map(str, texts))}")
    own = folder.own
    said: dict[str, Any] = {name: values[number] for name, values in own["episodes"].items()} if own else {}
    success = any(row.get("next.success") for row in rows) if "next.success" in rows[0] else True
    actions = np.array([row["action"] for row in rows[:-1]], _dtype_of(folder))
    return Episode(
        instruction=str(texts[0]),
        frames=folder.pictures(seen, described, rows),
        actions=_shaped(header, actions),
        rewards=np.array([row.get("next.reward", 0.0) for row in rows[:-1]], np.float64),
        terminated=said.get("terminated", bool(success)),
        truncated=said.get("truncated", not success),
        success=said.get("success", bool(success)),
        seed=said.get("seed", number),
        task=said["task"] if own else header.recipe["suite"]["tasks"][0]["id"],
        expert=said.get("expert", "unknown"),
        versions=own["versions"][number] if own else {},
        extras=_extras_of(folder, header, described, rows),
    )


def _dtype_of(folder: LeRobotFolder) -> np.dtype[Any]:
    return np.dtype(folder.info["features"]["action"]["dtype"])


def _shaped(header: Header, actions: NDArray[Any]) -> NDArray[Any]:
    """As the space has them: LeRobot's are flat."""
    found = array_type(header.space.root)
    assert found is not None
    return actions.reshape(len(actions), *found[1])


def _extras_of(
    folder: LeRobotFolder, header: Header, described: Mapping[str, Any], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for extra in header.extras:
        name = extra.name if extra.name in folder.info["features"] else f"observation.images.{extra.name}"
        if extra.kind != "array":
            found[extra.name] = [JsonText(row[name]) if extra.kind == "json" else str(row[name]) for row in rows]
        elif name in folder.cameras:
            found[extra.name] = folder.pictures(name, described, rows)
        else:
            values = np.array([row[name] for row in rows], extra.dtype)
            found[extra.name] = values.reshape(len(rows), *extra.shape)
    return found
