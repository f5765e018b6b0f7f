"""Minari datasets -> ours: frames, mission, actions, rewards, how it ended, and the seed. `minari_export` goes back.

Needs the extra `minari`, not jax: only Minari's recording needs it. Observations are an image, a dictionary with one,
or MiniGrid's symbolic partial view, which is drawn as the environments here draw it. An episode that is no
demonstration is left out, and said; what cannot be read at all is refused, and leaves nothing on disk.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from agentgym import environments
from agentgym.data.episode import Episode
from agentgym.data.exchange.minari_columns import find_columns, read_columns
from agentgym.data.exchange.minari_views import ObservationView, check_not_symbolic, find_view, is_minigrid, parts_of
from agentgym.data.exchange.spaces import unbatch
from agentgym.data.store import DatasetWriter, Extra, Header, UnfitEpisodeError, set_recipe
from agentgym.errors import UserError
from agentgym.extras import needs
from agentgym.folders import new_folder
from agentgym.recipes import INSTRUCTION_BYTES, DatasetRecipe, SuiteRecipe, TaskRecipe
from agentgym.recipes.base import MOST_EPISODES
from agentgym.spaces import SpaceCodec
from agentgym.spaces.values import stack

TEXTS = ("mission", "instruction", "text", "language_instruction")
SUCCESS = ("is_success", "success")  # what infos call it
MOST_TEXTS = 100  # of a task, that its recipe names
TASK_KEY = "agentgym_task"  # of Minari's metadata: the task by the id that makes it again


@dataclass(frozen=True)
class MinariSource:
    """A Minari dataset that can be read, and what it is imported as."""

    dataset: Any
    task: str
    view: ObservationView
    space: SpaceCodec
    seeds: list[int]  # of every episode; those that were not recorded are numbered after all others
    expert: str
    extras: tuple[Extra, ...] = ()

    def episode(self, place: int) -> tuple[Episode, bool]:
        """An episode, and whether it says that it succeeded. Raises ValueError when it is not a demonstration."""
        found = self.dataset[place]
        if not len(found.rewards):
            raise ValueError("it has no step")
        success, over = _success(found.infos), np.logical_or(found.terminations, found.truncations)
        if over[:-1].any():
            raise ValueError(f"it ends after {over.argmax() + 1} steps and continues")
        ended, rewards = bool(found.terminations[-1]), np.asarray(found.rewards, np.float64)
        actions = unbatch(self.dataset.spec.action_space, found.actions, len(rewards))
        episode = Episode(
            instruction=_text(found.observations, self.task),
            frames=self.view.frames(found.observations),
            actions=stack(self.space.root, actions),
            rewards=rewards,
            terminated=ended,
            truncated=bool(found.truncations[-1]),
            success=success if success is not None else ended and float(rewards.sum()) > 0,
            seed=self.seeds[place],
            task=self.task,
            expert=self.expert,
            versions={},  # Minari says at most which it requires
            extras=read_columns(self.extras, found.observations),
        )
        return episode, success is not None


def import_minari(source: str | Path, to: str | Path) -> list[str]:
    """Imports a Minari dataset (its folder, or its id in Minari's own place); returns lines on what was made up.

    Raises UserError when it is none, holds no episode that can be learnt from, has no frames, or has actions without
    tokens, or when `to` holds something. Then nothing is left there.
    """
    found, notes = _read(source)
    header = Header(found.space, _frame_shape(found, source), {}, found.extras)
    left_out: list[str] = []
    texts: set[str] = set()
    known = False
    with new_folder(Path(to)) as folder:
        with DatasetWriter(folder, header, all_or_nothing=True) as writer:
            for place in range(len(found.seeds)):
                try:
                    episode, says_so = found.episode(place)
                except Exception as error:  # of whatever wrote the file: a part is missing, too short, of another kind
                    left_out.append(f"episode {place}: {_reason(error)}")
                    continue
                try:
                    writer.append(episode)
                except UnfitEpisodeError as error:
                    left_out.append(f"episode {place}: {_reason(error)}")
                else:
                    texts.add(episode.instruction)
                    known = known or says_so
        if len(left_out) == len(found.seeds):
            raise UserError(f"{source}: no episode can be imported; {left_out[0]}")
        set_recipe(folder, _recipe(Path(to).resolve().name, found, texts).model_dump(mode="json"))
    if left_out:
        notes.append(f"{len(left_out):,} of {len(found.seeds):,} episodes are left out; the first is {left_out[0]}")
    if not known:
        notes.append("success: not recorded, taken as terminated with a positive return")
    return notes


def _read(source: str | Path) -> tuple[MinariSource, list[str]]:
    """What is imported, what is made up and what is left out."""
    dataset = _open(load_minari(), source)
    try:
        metadata = list(dataset.storage.get_episode_metadata(dataset.episode_indices))
        observed, acted = dataset.spec.observation_space, dataset.spec.action_space
        own = dataset.storage.metadata
    except Exception as error:  # a file that is cut short, or lacks what it announces
        raise UserError(f"{source}: cannot be read ({_reason(error)}); get it again") from None
    if not metadata:
        raise UserError(f"{source}: holds no episode; there is nothing to import")
    task = str(own.get(TASK_KEY) or _task_of(dataset))
    view = find_view(observed, task, source)
    seeds, notes = _number([values.get("seed") for values in metadata])
    if any(values.get("options") not in (None, {}, "null", "{}") for values in metadata):
        notes.append("reset options: recorded there, without a place here; such episodes cannot be replayed")
    if _text_key(observed) is None:
        notes.append(f"instruction: not recorded, '{task}' is used in its place")
    taken = {None, view.key, _text_key(observed), *(("direction",) if is_minigrid(task, observed) else ())}
    try:
        extras = tuple(find_columns(observed, own, taken))
    except Exception as error:  # of whatever wrote the metadata
        raise UserError(f"{source}: cannot be read (its columns: {_reason(error)}); get it again") from None
    others = set(parts_of(observed)) - taken  # MiniGrid's view has the direction in it
    others -= {extra.name for extra in extras}
    if others:
        notes.append(f"not imported of the observations: {', '.join(sorted(map(str, others)))}")
    infos = sorted(_info_keys(dataset) - {*SUCCESS, "seed"})
    if infos:
        notes.append(f"not imported of the infos: {', '.join(infos)}")
    expert = str(own.get("algorithm_name") or "unknown")
    return MinariSource(dataset, task, view, _space(acted, task), seeds, expert, extras), notes


def _info_keys(dataset: Any) -> set[str]:
    """What the infos of the first episode that can be read are called."""
    for place in range(min(3, len(dataset))):
        try:
            return {str(key) for key in dataset[place].infos or {}}
        except Exception:
            continue
    return set()


def _number(recorded: list[Any]) -> tuple[list[int], list[str]]:
    """The seeds, and a note on those that were not recorded, which get numbers that no other has."""
    missing = sum(seed is None for seed in recorded)
    if not missing:
        return [int(seed) for seed in recorded], []
    free = max((int(seed) for seed in recorded if seed is not None), default=-1) + 1
    which = "not recorded" if missing == len(recorded) else f"{missing:,} of {len(recorded):,} not recorded"
    spare = iter(range(free, free + missing))
    seeds = [next(spare) if seed is None else int(seed) for seed in recorded]
    return seeds, [f"seeds: {which}, numbered from {free}; such episodes cannot be replayed"]


def _frame_shape(found: MinariSource, source: str | Path) -> tuple[int, int, int]:
    """Of the first episode that has frames. Raises UserError for symbols in the place of pictures."""
    reasons = []
    for place in range(len(found.seeds)):
        try:
            observations = found.dataset[place].observations
            shown = found.view.of(observations)
            shape = found.view.frames(observations[:1] if found.view.key is None else observations).shape[1:]
        except Exception as error:  # as in an import: the next may be whole
            reasons.append(f"episode {place}: {_reason(error)}")
            continue
        if is_minigrid(found.task, found.dataset.spec.observation_space):
            check_not_symbolic(found.view, shown, source)
        height, width, channels = shape
        return height, width, channels
    raise UserError(f"{source}: no episode can be imported; {reasons[0]}")


def load_minari() -> Any:
    """Minari itself. Raises UserError when the extra is not installed."""
    with needs("minari", what="reading and writing Minari datasets"):
        import h5py  # noqa: F401  (Minari imports it when a dataset is read)
        import minari
    return minari


def _open(minari: Any, source: str | Path) -> Any:
    folder = Path(source)
    places = [folder / "data", folder] if folder.is_dir() else []
    place = next((place for place in places if (place / "metadata.json").is_file()), None)
    try:
        return minari.load_dataset(str(source)) if place is None else minari.MinariDataset(place)
    except Exception as error:  # whatever is in the folder: a file cut short, another version, no Minari dataset
        reason = _reason(error)
        if place is not None and "data_format" in reason:
            reason = f"of a version before 0.5, which Minari {minari.__version__} does not read; download it again"
        raise UserError(f"{source}: is not a Minari dataset ({reason}); name its folder or its id") from None


def _task_of(dataset: Any) -> str:
    """The environment's id, after the module that registers it where Gymnasium does not know the id without it."""
    spec = dataset.spec.env_spec
    if spec is None:
        return str(dataset.id)
    known = spec.id in environments.task_ids() or spec.id in gymnasium.registry
    if known or not isinstance(spec.entry_point, str):
        return str(spec.id)
    return f"{spec.entry_point.partition(':')[0]}:{spec.id}"


def _text_key(space: gymnasium.Space[Any]) -> str | None:
    return next((name for name in TEXTS if name in parts_of(space)), None)


def _text(observations: Any, task: str) -> str:
    found = [observations[name] for name in TEXTS if isinstance(observations, Mapping) and name in observations]
    if not found:
        return task
    texts = [str(text) for text in found[0]]
    step = next((step for step, text in enumerate(texts[:-1]) if text != texts[0]), None)  # the last leads to no action
    if step is not None:
        raise ValueError(f"its text changes in step {step}, from {texts[0]!r} to {texts[step]!r}")
    return texts[0]


def _success(infos: Any) -> bool | None:
    """The last word that the infos have on it, where that is one."""
    for name in SUCCESS:
        said = np.asarray(infos[name]) if infos and name in infos else np.zeros(0)
        if said.ndim and said.dtype.kind in "biuf" and said.size:
            return bool(said.reshape(len(said), -1)[-1].all())
    return None


def _space(space: gymnasium.Space[Any], task: str) -> SpaceCodec:
    """The action space, with the environment's own names where it is one of ours. Raises UserError without tokens."""
    name = task.rpartition(":")[2]
    if name not in environments.task_ids():
        return SpaceCodec.of(space)
    env = environments.make(name)
    names = env.action_names if env.action_space == space else None
    env.close()
    return SpaceCodec.of(space, names)


def _recipe(name: str, found: MinariSource, texts: set[str]) -> DatasetRecipe:
    """What the dataset says of itself as a recipe; `expert` is whose score is 1 in evaluations of the task.

    A task without a language of its own has the recorded texts, as far as they are few, so that it can be made again.
    """
    task = found.task
    few = len(texts) <= MOST_TEXTS and all(len(text.encode()) <= INSTRUCTION_BYTES for text in texts)
    wordings = sorted(texts) if few and not environments.is_minigrid(task) else []
    suite = SuiteRecipe(
        name=slug(task),
        description=f"{task}, imported",
        frame=found.view.recipe,
        tasks=[TaskRecipe(id=task, instructions=tuple(wordings))],
    )
    span = max(found.seeds) - min(found.seeds) + 1  # a recipe counts the seeds from the first to the last
    return DatasetRecipe(
        name=name,
        description=f"imported from Minari: {found.dataset.id}",
        suite=suite,
        expert="babyai-bot" if task.rpartition(":")[2].startswith("BabyAI-") else "random",
        episodes=span if span <= MOST_EPISODES else len(found.seeds),
        first_seed=max(0, min(found.seeds)),
        keep="all",
    )


def slug(name: str) -> str:
    """A name as Minari and recipes have them."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "dataset"


def _reason(error: Exception) -> str:
    said = (str(error).splitlines() or [""])[0]
    known = isinstance(error, ValueError | UserError)
    return said if known and said else f"{type(error).__name__} {said}".strip()
