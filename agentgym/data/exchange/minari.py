"""Minari datasets -> ours, and back: frames, mission, actions, rewards, how it ended, and the seed.

Needs the extra `minari`, not jax: Minari alone records with it. A Minari dataset holds one environment, so that a
dataset of several tasks becomes several. Observations are an image, a dictionary with one, or MiniGrid's symbolic view,
which is drawn as the environments here draw it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from agentgym import environments
from agentgym.data.episode import Episode
from agentgym.data.exchange.spaces import batch, space_of, unbatch
from agentgym.data.store import DatasetWriter, EpisodeDataset, Header
from agentgym.environments.tiles import draw_partial_view
from agentgym.errors import UserError
from agentgym.recipes import DatasetRecipe, FrameRecipe, SuiteRecipe, TaskRecipe
from agentgym.spaces import Node, SpaceCodec
from agentgym.spaces.values import stack

TEXTS = ("mission", "instruction", "text", "language_instruction")
CHUNK_FRAMES = 500  # about how many are held in memory at once
CELLS, TILE_SIZE = 7, 8  # of MiniGrid's partial view; a symbolic one is drawn in tiles of that many pixels
Note = list[str]


@dataclass(frozen=True)
class ObservationView:
    """Where a Minari dataset's observations have the frame, and how it is drawn."""

    key: str | None  # None: the observation is the frame
    recipe: FrameRecipe
    symbolic: bool

    def frames(self, observations: Any) -> NDArray[np.uint8]:
        """uint8[steps + 1, height, width, 3]."""
        images = np.asarray(observations if self.key is None else observations[self.key], np.uint8)
        if not self.symbolic:
            return images
        return np.stack([draw_partial_view(image, self.recipe.tile_size or TILE_SIZE) for image in images])


def import_minari(source: str | Path, to: str | Path) -> Note:
    """Writes a dataset of a Minari dataset (its folder, or its id in Minari's own place); says what was made up.

    Raises UserError when it is none, has no frames, or has actions without tokens, or when `to` holds something.
    """
    minari = _minari()
    dataset = _open(minari, source)
    task = dataset.spec.env_spec.id if dataset.spec.env_spec else dataset.id
    view = _find_view(dataset.spec.observation_space, task, source)
    expert = str(dataset.storage.metadata.get("algorithm_name") or "unknown")
    seeds = [values.get("seed") for values in dataset.storage.get_episode_metadata(dataset.episode_indices)]
    numbers = [place if seed is None else int(seed) for place, seed in enumerate(seeds)]
    recipe = _recipe(Path(to).name, dataset, task, view, numbers)
    notes = ["seeds: not recorded, numbered from 0; such episodes cannot be replayed"] if None in seeds else []
    check_output_is_free(Path(to))
    first = view.frames(dataset[0].observations)
    space = _space(dataset.spec.action_space, task)
    header = Header(space, first.shape[1:], recipe.model_dump(mode="json"))
    known = False
    with DatasetWriter(to, header) as writer:
        for episode, seed in zip(dataset.iterate_episodes(), numbers, strict=True):
            success = _success(episode.infos)
            known = known or success is not None
            ended = bool(episode.terminations[-1])
            rewards = np.asarray(episode.rewards, np.float64)
            writer.append(
                Episode(
                    instruction=_text(episode.observations, task),
                    frames=view.frames(episode.observations),
                    actions=stack(space.root, unbatch(dataset.spec.action_space, episode.actions, len(rewards))),
                    rewards=rewards,
                    terminated=ended,
                    truncated=bool(episode.truncations[-1]),
                    success=success if success is not None else ended and float(rewards.sum()) > 0,
                    seed=seed,
                    task=task,
                    expert=expert,
                    versions={},  # Minari says at most which it requires
                )
            )
    if not known:
        notes.append("success: not recorded, taken as terminated with a positive return")
    if _text_key(dataset.spec.observation_space) is None:
        notes.append(f"instruction: not recorded, '{task}' stands in its place")
    return notes


def export_minari(path: str | Path, to: str | Path) -> Note:
    """Writes NAME/TASK-v0 below `to`, one Minari dataset a task, lossless; says what Minari does not hold.

    Minari finds them with MINARI_DATASETS_PATH set to `to`. Raises UserError when `to` holds something.
    """
    minari = _minari()
    dataset = EpisodeDataset(path)
    check_output_is_free(Path(to))
    name = _slug(dataset.path.resolve().name)
    for task in sorted(set(dataset.column("task"))):
        identity = f"{name}/{_slug(task.removesuffix('-v0'))}-v0"
        _export_task(minari, dataset, task, identity, Path(to) / identity / "data")
    (Path(to) / name / "namespace_metadata.json").write_text("{}")
    return ["Minari has no place for: " + ", ".join(_not_shared(dataset))]


def _not_shared(dataset: EpisodeDataset) -> list[str]:
    """What of a dataset an export to Minari does not hold."""
    found = ["expert of each episode", "package versions", "checksums"]
    space = dataset.header.space
    unknown = set(dataset.column("task")) - set(environments.task_ids())
    if unknown and SpaceCodec.of(space_of(space.root)).root != space.root:
        found.append("names of actions")  # an environment that is one of ours has them itself
    labelled = sum(map(bool, dataset.column("labels")))
    if labelled:
        found.append(f"the labels of {labelled:,} episodes")
    others = sum(dataset.outcomes().values()) - len(dataset)
    if others:
        found.append(f"{others:,} attempts that left no episode")
    return found


def check_output_is_free(to: Path) -> None:
    """Raises UserError when something is in the way of an output folder."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"{to}: is there already; choose a new folder")


def _export_task(minari: Any, dataset: EpisodeDataset, task: str, identity: str, folder: Path) -> None:
    from minari.dataset.minari_storage import MinariStorage

    chosen = [episode for episode, other in enumerate(dataset.column("task")) if other == task]
    instructions = dataset.column("instruction")
    texts = {instructions[episode] for episode in chosen}
    charset = "".join(sorted(set("".join(texts)))) or " "
    root = dataset.header.space.root
    folder.mkdir(parents=True)
    storage = MinariStorage.new(
        folder,
        observation_space=gymnasium.spaces.Dict(
            image=gymnasium.spaces.Box(0, 255, dataset.header.frame_shape, np.uint8),
            mission=gymnasium.spaces.Text(max(1, *map(len, texts)), min_length=0, charset=charset),
        ),
        action_space=space_of(root),
        env_spec=_registration(task),
        jpeg_encoding=False,
    )
    storage.update_metadata(
        {
            "dataset_id": identity,
            "algorithm_name": dataset[chosen[0]].expert,
            "description": str(dataset.header.recipe.get("description", "")),
            "minari_version": minari.__version__,
        }
    )
    buffers: list[Any] = []
    for episode in chosen:
        buffers.append(_buffer(root, dataset[episode]))
        if sum(len(buffer.rewards) for buffer in buffers) >= CHUNK_FRAMES or episode == chosen[-1]:
            storage.update_episodes(buffers)
            buffers = []


def _registration(task: str) -> Any:
    """What Gymnasium knows of the task, where that can be written as text."""
    found = gymnasium.registry.get(task)
    try:
        return found if found and found.to_json() else None
    except ValueError:  # it names a class, not where to import it from
        return None


def _buffer(root: Node, sample: Episode) -> Any:
    from minari.data_collector import EpisodeBuffer

    return EpisodeBuffer(
        seed=sample.seed,
        observations={"image": sample.frames, "mission": [sample.instruction] * (len(sample) + 1)},
        actions=batch(root, sample.actions),
        rewards=sample.rewards.tolist(),
        terminations=_last(len(sample), sample.terminated),
        truncations=_last(len(sample), sample.truncated),
        infos={"is_success": np.array(_last(len(sample) + 1, sample.success))},
    )


def _minari() -> Any:
    try:
        import h5py  # noqa: F401  (Minari imports it when a dataset is read)
        import minari
    except ImportError:
        raise UserError("Minari datasets need the extra 'minari': pip install \"agentgym[minari]\"") from None
    return minari


def _open(minari: Any, source: str | Path) -> Any:
    folder = Path(source)
    places = [folder / "data", folder] if folder.is_dir() else []
    try:
        for place in places:
            if (place / "metadata.json").is_file():
                return minari.MinariDataset(place)
        return minari.load_dataset(str(source))
    except (FileNotFoundError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{source}: is no Minari dataset ({reason}); name its folder or its id") from None


def _find_view(space: gymnasium.Space[Any], task: str, source: str | Path) -> ObservationView:
    parts: dict[str | None, gymnasium.Space[Any]] = {None: space}
    if isinstance(space, gymnasium.spaces.Dict):
        parts = dict(space.spaces.items())
    grid = task in environments.task_ids() and task.startswith(("BabyAI-", "MiniGrid-"))
    for key, part in parts.items():
        if isinstance(part, gymnasium.spaces.Box) and part.dtype == np.uint8 and part.shape[2:] == (3,):
            height, width, _ = part.shape
            symbolic = grid and key == "image" and (height, width) == (CELLS, CELLS)
            if not grid or height != width or height % CELLS:
                return ObservationView(key, FrameRecipe(size=(height, width)), symbolic=False)
            tile_size = TILE_SIZE if symbolic else height // CELLS
            return ObservationView(key, FrameRecipe(view="partial", tile_size=tile_size), symbolic=symbolic)
    raise UserError(f"{source}: its observations are {space}, without an image of uint8[height, width, 3]")


def _text_key(space: gymnasium.Space[Any]) -> str | None:
    names = space.spaces if isinstance(space, gymnasium.spaces.Dict) else {}
    return next((name for name in TEXTS if name in names), None)


def _text(observations: Any, task: str) -> str:
    found = [observations[name] for name in TEXTS if isinstance(observations, Mapping) and name in observations]
    return str(found[0][0]) if found else task


def _success(infos: Any) -> bool | None:
    for name in ("is_success", "success"):
        if infos and name in infos:
            return bool(np.asarray(infos[name])[-1])
    return None


def _space(space: gymnasium.Space[Any], task: str) -> SpaceCodec:
    """The action space, with the environment's own names where it is one of ours. Raises UserError without tokens."""
    if task not in environments.task_ids():
        return SpaceCodec.of(space)
    env = environments.make(task)
    names = env.action_names if env.action_space == space else None
    env.close()
    return SpaceCodec.of(space, names)


def _recipe(name: str, dataset: Any, task: str, view: ObservationView, seeds: list[int]) -> DatasetRecipe:
    """What the dataset says of itself as a recipe; `expert` is whose score is 1 in evaluations of the task."""
    return DatasetRecipe(
        name=name,
        description=f"imported from Minari: {dataset.id}",
        suite=SuiteRecipe(
            name=_slug(task), description=f"{task}, imported", frame=view.recipe, tasks=[TaskRecipe(id=task)]
        ),
        expert="babyai-bot" if task.startswith("BabyAI-") else "random",
        episodes=max(1, max(seeds) - min(seeds) + 1),
        first_seed=max(0, min(seeds)),
        keep="all",
    )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "dataset"


def _last(count: int, value: bool) -> list[bool]:
    return [False] * (count - 1) + [value]
