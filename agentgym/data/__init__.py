"""Episodes: in memory, out of an environment, on disk, and in other formats.

    episode, episode_builder              Episode, frozen and checked when made; one that is being recorded
    recorder, vector_recorder             wrappers that turn what an environment shows into episodes
    store/                                the format on disk: Arrow shards, written and read (`store.format`)
    exchange/                             Minari and the Hugging Face Hub

It knows no model; only the recorders import Gymnasium.
"""

from typing import TYPE_CHECKING

from agentgym import lazy

if TYPE_CHECKING:
    from agentgym.data.episode import Episode
    from agentgym.data.episode_builder import EpisodeBuilder
    from agentgym.data.recorder import Recorder
    from agentgym.data.store import DatasetWriter, EpisodeDataset
    from agentgym.data.vector_recorder import VectorRecorder

__all__ = ["DatasetWriter", "Episode", "EpisodeBuilder", "EpisodeDataset", "Recorder", "VectorRecorder"]

__getattr__ = lazy.offer(
    __name__,
    {
        "DatasetWriter": "agentgym.data.store",
        "Episode": "agentgym.data.episode",
        "EpisodeBuilder": "agentgym.data.episode_builder",
        "EpisodeDataset": "agentgym.data.store",
        "Recorder": "agentgym.data.recorder",
        "VectorRecorder": "agentgym.data.vector_recorder",
    },
)
