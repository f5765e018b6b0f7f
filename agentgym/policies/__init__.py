"""The agent as a policy: Stable-Baselines3's `predict`, with the history in the state.

    agent_policy, state, window_reader    AgentPolicy; what it remembers of each environment; KV cache and windows
    constrained_decoding, sampling        an action token by token within the grammar; likeliest or drawn
    protocol                              Policy, Actor, VectorPolicy: any `predict` in Gymnasium's own loops
    inspection, attribution               its probabilities before it acts; which patches mattered
    sb3/, onnx_runtime/                   PPO and A2C from a checkpoint; the exported policy, with only numpy

It knows no dataset and no score.
"""

from typing import TYPE_CHECKING

from agentgym import lazy

if TYPE_CHECKING:
    from agentgym.policies.agent_policy import AgentPolicy
    from agentgym.policies.protocol import Actor, Policy, VectorPolicy

__all__ = ["Actor", "AgentPolicy", "Policy", "VectorPolicy"]

__getattr__ = lazy.offer(
    __name__,
    {
        "Actor": "agentgym.policies.protocol",
        "AgentPolicy": "agentgym.policies.agent_policy",
        "Policy": "agentgym.policies.protocol",
        "VectorPolicy": "agentgym.policies.protocol",
    },
)
