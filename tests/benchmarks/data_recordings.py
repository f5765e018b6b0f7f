"""The datasets that tests/benchmarks/data.py measures: GoToRedBall, an ALE game, long episodes, many episodes."""

import shutil
from pathlib import Path

import ale_py  # noqa: F401  (its environments are there once it is imported)
import gymnasium
import numpy as np

from agentgym.data.episode import Episode
from agentgym.data.exchange import export_minari
from agentgym.data.store import DatasetWriter, EpisodeDataset, Header
from agentgym.environments.pixels import resize
from agentgym.experts.collection import collect
from agentgym.recipes import load_dataset
from agentgym.spaces import SpaceCodec

GAME = "ALE/Breakout-v5"
EPISODES = 15_800  # a little over 100,000 frames
FRAMES = 20_000
EPISODES_IN_SHARD = 10
LONG_STEPS = 108_000  # in each of the datasets of short and of long episodes


def count_frames(path: Path) -> int:
    """How many frames a dataset has; 0 where there is none."""
    return int((EpisodeDataset(path).lengths + 1).sum()) if any(path.glob("*.arrow")) else 0


def record_babyai(path: Path) -> None:
    """GoToRedBall, played by the bot."""
    collect(load_dataset("babyai-goto-redball", [f"episodes={EPISODES}"]), path)


def record_game(path: Path, size: tuple[int, int]) -> None:
    """Episodes of random play, four frames an action, at that many pixels: the same ones at any size."""
    if count_frames(path) >= FRAMES:
        return
    shutil.rmtree(path, ignore_errors=True)
    env = gymnasium.make(GAME)
    env.action_space.seed(0)
    header = Header(SpaceCodec.of(env.action_space, env.unwrapped.get_action_meanings()), (*size, 3), {"name": "game"})
    with DatasetWriter(path, header, commit_seconds=1000) as writer:
        count, seed = 0, 0
        while count < FRAMES:
            episode = play(env, seed, size)
            writer.append(episode)
            count, seed = count + len(episode) + 1, seed + 1
            if seed % EPISODES_IN_SHARD == 0:  # by number, not by time: their bytes do not depend on the machine's load
                writer.commit()


def play(env: gymnasium.Env, seed: int, size: tuple[int, int]) -> Episode:
    """One episode of random play."""
    frames, actions, rewards, terminated, truncated = [env.reset(seed=seed)[0]], [], [], False, False
    while not (terminated or truncated):
        actions.append(int(env.action_space.sample()))
        frame, reward, terminated, truncated, _ = env.step(actions[-1])
        frames.append(frame)
        rewards.append(float(reward))
    pictures = np.stack([resize(frame, size) for frame in frames])
    return sample(pictures, np.array(actions), np.array(rewards), seed, GAME)


def sample(frames: np.ndarray, actions: np.ndarray, rewards: np.ndarray, seed: int, task: str) -> Episode:
    """An episode that ended and was not solved."""
    return Episode(
        instruction="play",
        frames=frames,
        actions=actions,
        rewards=rewards,
        terminated=True,
        truncated=False,
        success=False,
        seed=seed,
        task=task,
        expert="random",
    )


def record_long(path: Path, babyai: Path, steps: int) -> None:
    """LONG_STEPS steps in episodes of that many, in one shard."""
    if path.is_dir():
        return
    source = EpisodeDataset(babyai)
    frames = np.concatenate([source[i].frames for i in range(300)])
    with DatasetWriter(path, source.header, commit_seconds=1000) as writer:
        for seed in range(LONG_STEPS // steps):
            chosen = frames[(seed * steps + np.arange(steps + 1)) % len(frames)]
            writer.append(sample(chosen, np.zeros(steps, np.int64), np.zeros(steps), seed, "Long-v0"))


def copy_shards(source: Path, to: Path, count: int) -> None:
    """That many shards, the first ones, and again from the first when there are no more."""
    if to.is_dir():
        return
    to.mkdir()
    files = sorted(source.glob("shard-*.arrow"))
    for number in range(count):
        shutil.copy(files[number % len(files)], to / f"shard-{number:06d}.arrow")


def write_minari(source: Path, few: Path, to: Path, shards: int) -> Path:
    """The first shards of a dataset, `few`, as a Minari dataset; its folder."""
    copy_shards(source, few, shards)
    if not to.is_dir():
        export_minari(few, to)
    (data,) = to.glob("*/*/data")
    return data
