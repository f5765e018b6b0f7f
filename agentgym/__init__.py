"""Record demonstrations in Gymnasium environments, train one multimodal agent on them, score it, use it as a policy.

    make, wrap                                             environments that show {"frame", "instruction"}
    Recorder, VectorRecorder, Episode                      episodes out of them
    EpisodeDataset, DatasetWriter                          episodes on disk
    collect, train, evaluate, compare, rollout             what the command line's verbs do, as functions
    AgentModel, AgentPolicy, VectorPolicy, load_policy     the agent, and how it acts
    AgentActorCriticPolicy, HistoryObservation             the agent in Stable-Baselines3 (the extra `sb3`)

Each name is imported when it is first used, so that recording needs no torch. After this import Gymnasium's own `make`
knows every task as `agentgym/ID`.
"""

from typing import TYPE_CHECKING, Any

from agentgym import lazy
from agentgym.registration import register_with_gymnasium

if TYPE_CHECKING:
    from agentgym.data.episode import Episode
    from agentgym.data.recorder import Recorder
    from agentgym.data.store import DatasetWriter, EpisodeDataset
    from agentgym.data.vector_recorder import VectorRecorder
    from agentgym.environments import make, wrap
    from agentgym.evaluation.comparison import compare
    from agentgym.evaluation.policy_registry import load_policy
    from agentgym.evaluation.rollouts import rollout
    from agentgym.evaluation.scoring import evaluate
    from agentgym.experiments.imitation import train
    from agentgym.experts.collection import collect
    from agentgym.model.agent import AgentModel
    from agentgym.policies.agent_policy import AgentPolicy
    from agentgym.policies.protocol import VectorPolicy
    from agentgym.policies.sb3 import AgentActorCriticPolicy, HistoryObservation

    __version__: str

__all__ = [
    "AgentActorCriticPolicy",
    "AgentModel",
    "AgentPolicy",
    "DatasetWriter",
    "Episode",
    "EpisodeDataset",
    "HistoryObservation",
    "Recorder",
    "VectorPolicy",
    "VectorRecorder",
    "__version__",
    "collect",
    "compare",
    "evaluate",
    "load_policy",
    "make",
    "rollout",
    "train",
    "wrap",
]

_offered = lazy.offer(
    __name__,
    {
        "AgentActorCriticPolicy": "agentgym.policies.sb3",
        "AgentModel": "agentgym.model.agent",
        "AgentPolicy": "agentgym.policies.agent_policy",
        "DatasetWriter": "agentgym.data.store",
        "Episode": "agentgym.data.episode",
        "EpisodeDataset": "agentgym.data.store",
        "HistoryObservation": "agentgym.policies.sb3",
        "Recorder": "agentgym.data.recorder",
        "VectorPolicy": "agentgym.policies.protocol",
        "VectorRecorder": "agentgym.data.vector_recorder",
        "collect": "agentgym.experts.collection",
        "compare": "agentgym.evaluation.comparison",
        "evaluate": "agentgym.evaluation.scoring",
        "load_policy": "agentgym.evaluation.policy_registry",
        "make": "agentgym.environments",
        "rollout": "agentgym.evaluation.rollouts",
        "train": "agentgym.experiments.imitation",
        "wrap": "agentgym.environments",
    },
)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from agentgym.versions import own_version

        return own_version()
    return _offered(name)


def __dir__() -> list[str]:
    return sorted(__all__)


register_with_gymnasium()
