"""Replaying recorded episodes: whether the installed packages draw every frame again.

It knows a dataset and the environments; it changes neither.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from agentgym import environments
from agentgym.data.episode import Episode
from agentgym.data.store import EpisodeDataset
from agentgym.recipes import DatasetRecipe
from agentgym.versions import installed_versions


@dataclass(frozen=True)
class Replay:
    """One stored episode, played again in the installed packages."""

    task: str
    seed: int
    frames: int
    problem: str  # what differs; empty when every frame is the recorded one
    version_changes: tuple[str, ...]

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.task}, seed {self.seed}: {self.problem or f'{self.frames} frames are the recorded ones'}"


def replay_episodes(dataset: EpisodeDataset, count: int, *, seed: int = 0) -> Iterator[Replay]:
    """Plays `count` episodes again, chosen by `seed`. Raises UserError for a dataset whose recipe cannot be played."""
    recipe = DatasetRecipe.model_validate(dataset.header.recipe)
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
    for episode in sorted(chosen.tolist()):
        sample = dataset[episode]
        wrong = np.flatnonzero(~np.array(replay(sample, recipe)))
        problem = f"{len(wrong)} of {len(sample) + 1} frames differ, the first is {wrong[0]}" if len(wrong) else ""
        installed = installed_versions(sample.versions)
        changes = tuple(
            f"{name}: recorded with {was}, installed is {installed[name]}"
            for name, was in sample.versions.items()
            if installed[name] != was
        )
        yield Replay(sample.task, sample.seed, len(sample) + 1, problem, changes)


def replay(sample: Episode, recipe: DatasetRecipe) -> Sequence[bool]:
    """For each frame of a sample, whether the installed environment draws the same one again."""
    env = environments.make(recipe.suite.task(sample.task), frame=recipe.suite.frame)
    observation, _ = env.reset(seed=sample.seed)
    same = [bool((observation["frame"] == sample.frames[0]).all())]
    for action, frame in zip(sample.actions, sample.frames[1:], strict=True):
        observation = env.step(action)[0]
        same.append(bool((observation["frame"] == frame).all()))
    env.close()
    return same
