"""The agent in Stable-Baselines3's on-policy algorithms: a trained checkpoint as the start of PPO or A2C.

    env = HistoryObservation(agentgym.make(task), window=8)
    model = PPO(AgentActorCriticPolicy, env, policy_kwargs={"checkpoint": "runs/NAME"}, learning_rate=1e-5)

These algorithms shuffle single observations, so the history is in the observation; the window moves as the policy's
does (`agentgym.model.sequence`). The body and the action head are the checkpoint's, bit by bit; the value head is new.

A model that was saved is loaded without the checkpoint's folder, also on another machine: what rebuilds the agent (its
configuration and tokenizer) is a note in the observation space, the one thing that both the policy gets and the
algorithms save.
"""

from agentgym.extras import needs

with needs("sb3", what="an agent in Stable-Baselines3's algorithms"):
    from agentgym.policies.sb3.features import AgentFeatures, VisualTokenCache
    from agentgym.policies.sb3.policy import AgentActorCriticPolicy, TetheredPolicy
    from agentgym.policies.sb3.window import HistoryObservation

__all__ = ["AgentActorCriticPolicy", "AgentFeatures", "HistoryObservation", "TetheredPolicy", "VisualTokenCache"]
