"""Episodes whose frames count, of which every number is known; they need no torch and no environment."""

import numpy as np

from agentgym.data.episode import Episode
from agentgym.data.store import DatasetWriter, Header
from agentgym.spaces import SpaceCodec


def counted_episode(seed: int = 0, steps: int = 5, **changes) -> Episode:
    """An episode whose frames show ten times the seed plus the step; actions and rewards count too."""
    frames = (10 * seed + np.arange(steps + 1)).astype(np.uint8)
    values = {
        "instruction": f"count to {steps}",
        "frames": np.tile(frames[:, None, None, None], (1, 8, 8, 3)),
        "actions": np.arange(steps) % 3,
        "rewards": np.arange(steps) / 7,
        "terminated": True,
        "truncated": False,
        "success": True,
        "seed": seed,
        "task": "Count-v0",
        "expert": "counter",
        "versions": {"count": "1"},
    }
    return Episode(**{**values, **changes})


def counted_header(**changes) -> Header:
    """The header of a dataset of counted episodes."""
    values = {
        "space": SpaceCodec.discrete(("one", "two", "three")),
        "frame_shape": (8, 8, 3),
        "recipe": {"name": "count"},
    }
    return Header(**{**values, **changes})


def write_counted(path, episodes, **changes):
    """A dataset of those episodes, two a shard; the folder."""
    with DatasetWriter(path, counted_header(**changes), commit_seconds=1000) as writer:
        for i, episode in enumerate(episodes):
            writer.append(episode)
            if i % 2:
                writer.commit()
    return path


def append_counted(path, episodes, **changes):
    """The dataset at that place has those episodes too, in one commit."""
    with DatasetWriter(path, counted_header(**changes), commit_seconds=1000) as writer:
        for episode in episodes:
            writer.append(episode)


def same(a, b):
    """Whether two episodes are equal in everything that they hold."""
    arrays = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("frames", "actions", "rewards"))
    names = ("instruction", "terminated", "truncated", "success", "seed", "task", "expert", "versions")
    return arrays and all(getattr(a, name) == getattr(b, name) for name in names)


def damage(file, part):
    """Flips a bit in the middle of a byte string that the file holds once."""
    content = bytearray(file.read_bytes())
    assert content.count(part) == 1
    content[content.index(part) + len(part) // 2] ^= 1
    file.write_bytes(content)


LENGTHS = (3, 1, 5, 4)
FOUR_EPISODES = [counted_episode(seed, steps=steps) for seed, steps in enumerate(LENGTHS)]
