"""Replaying recorded episodes: whether frames, rewards and ends are the recorded ones in the installed packages.

It knows a dataset and the environments; it changes neither.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agentgym import environments
from agentgym.data.episode import Episode
from agentgym.data.store import EpisodeDataset
from agentgym.errors import UserError, described
from agentgym.recipes import DatasetRecipe
from agentgym.versions import installed_versions


@dataclass(frozen=True)
class Replay:
    """One stored episode, played again in the installed packages."""

    task: str
    seed: int
    frames: int
    problem: str  # what differs; empty when every frame, every reward and the end are the recorded ones
    version_changes: tuple[str, ...]

    def __str__(self) -> str:
        """One line for people."""
        same = f"{self.frames} frames, their rewards and the end are the recorded ones"
        return f"{self.task}, seed {self.seed}: {self.problem or same}"


def replay_episodes(dataset: EpisodeDataset, count: int, *, seed: int = 0) -> Iterator[Replay]:
    """Plays `count` episodes again, chosen by `seed`. Raises UserError for a dataset whose recipe cannot be played."""
    try:
        recipe = DatasetRecipe.model_validate(dataset.header.recipe)
    except ValueError:
        raise UserError(
            f"{dataset.path}: its header names no suite, so that no episode can be played again; it was not recorded "
            "by a recipe"
        ) from None
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
    for episode in sorted(chosen.tolist()):
        recorded = dataset[episode]
        again = play_again(recorded, recipe)
        installed = installed_versions(recorded.versions)
        changes = tuple(
            f"{name}: recorded with {was}, installed is {installed[name]}"
            for name, was in recorded.versions.items()
            if installed[name] != was
        )
        yield Replay(recorded.task, recorded.seed, len(recorded) + 1, again.problem(recorded), changes)


def replay(episode: Episode, recipe: DatasetRecipe) -> Sequence[bool]:
    """For each frame of an episode, whether the installed environment draws the same one again."""
    return play_again(episode, recipe).same_frames


@dataclass
class Again:
    """What an episode's actions led to when they were played again, as far as they could be."""

    same_frames: list[bool]
    same_rewards: list[bool]
    end: tuple[bool, bool] = (False, False)  # terminated, truncated
    error: str = ""

    def problem(self, episode: Episode) -> str:
        """What is not as it was recorded; nothing when all is."""
        played, total = len(self.same_rewards), len(episode)
        found = []
        if wrong := np.flatnonzero(~np.array(self.same_frames, bool)).tolist():
            found.append(f"{len(wrong)} of {total + 1} frames differ, the first is {wrong[0]}")
        if wrong := np.flatnonzero(~np.array(self.same_rewards, bool)).tolist():
            found.append(f"{len(wrong)} of {total} rewards differ, the first is that of step {wrong[0]}")
        if self.error:
            found.append(f"{f'step {played}' if self.same_frames else 'its reset'} raises {self.error}")
        elif played < total:
            found.append(f"it ends after {played} steps, the recorded one after {total}")
        elif self.end[0] != episode.terminated or self.end[1] > episode.truncated:  # a recorder may have its own limit
            recorded = _name_end(episode.terminated, episode.truncated)
            found.append(f"after its last step it is {_name_end(*self.end)}, the recorded one {recorded}")
        return "; ".join(found)


def play_again(episode: Episode, recipe: DatasetRecipe) -> Again:
    """Plays an episode's actions from its seed, until they or the episode end."""
    env = environments.make(recipe.suite.task(episode.task), frame=recipe.suite.frame)
    again = Again([], [])
    try:
        observation, _ = env.reset(seed=episode.seed)
        again.same_frames.append(_same(observation["frame"], episode.frames[0]))
        for action, frame, reward in zip(episode.actions, episode.frames[1:], episode.rewards, strict=True):
            if any(again.end):
                break
            observation, now, terminated, truncated, _ = env.step(action)
            again.same_frames.append(_same(observation["frame"], frame))
            again.same_rewards.append(_same(np.float64(now), reward))
            again.end = bool(terminated), bool(truncated)
    except Exception as error:  # an environment is foreign code and may raise anything
        again.error = described(error)
    env.close()
    return again


def _same(found: Any, recorded: Any) -> bool:
    return np.array_equal(found, recorded, equal_nan=np.asarray(recorded).dtype.kind == "f")


def _name_end(terminated: bool, truncated: bool) -> str:
    words = [word for word, true in (("terminated", terminated), ("truncated", truncated)) if true]
    return " and ".join(words) or "neither terminated nor truncated"
