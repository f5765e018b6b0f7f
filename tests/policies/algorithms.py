"""PPO and A2C from an agent."""

from counting_env import CountingEnv
from stable_baselines3 import A2C, PPO

from agentgym.policies.sb3 import AgentActorCriticPolicy, HistoryObservation

M = 4  # steps of the window


def make_env():
    return HistoryObservation(CountingEnv(), window=M)


def make(algorithm, run, env, **policy_kwargs):
    sizes = {PPO: {"n_steps": 8, "batch_size": 8, "n_epochs": 1}, A2C: {"n_steps": 4}}[algorithm]
    kwargs = {"checkpoint": str(run), **policy_kwargs}
    return algorithm(AgentActorCriticPolicy, env, learning_rate=1e-5, seed=0, policy_kwargs=kwargs, **sizes)


def agent_weights(model):
    return {name: value.clone() for name, value in model.policy.features_extractor.agent.state_dict().items()}
