"""Actor and VectorPolicy: the policy in Gymnasium's own loops."""

import numpy as np
import pytest
import torch
from counting_env import CountingEnv
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from tiny import model_of, tokenizer_of

from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.protocol import VectorPolicy

ENVIRONMENTS, STEPS = 3, 30


@pytest.fixture(scope="module")
def policy(dataset):
    """An untrained agent, its visual tokens and action rows enlarged, so that what it does depends on what it sees."""
    torch.manual_seed(0)
    model = model_of(dataset)
    torch.nn.init.normal_(model.projector.weight, std=1.0)
    torch.nn.init.normal_(model.language_model.embeddings.weight[-7:], std=1.0)
    return AgentPolicy(model, tokenizer_of(dataset))


def single_episode(actor, number):
    """The actions of the episode of that number in one environment."""
    env, done, actions = CountingEnv(), False, []
    observation, _ = env.reset(seed=number)
    actor.reset()
    while not done:
        actions.append(int(actor.act(observation)))
        observation, _, terminated, truncated, _ = env.step(actions[-1])
        done = terminated or truncated
    return actions


def vector_episodes(policy, envs, mode):
    """(number, actions) of every whole episode in a vector environment."""
    actor, episodes = VectorPolicy(policy, envs), []
    observations, _ = envs.reset(seed=10)
    running = [(int(frame[0, 0, 0]), []) for frame in observations["frame"]]
    over = np.zeros(ENVIRONMENTS, bool)
    for _ in range(STEPS):
        waiting = over if mode == AutoresetMode.NEXT_STEP else np.zeros_like(over)
        actions = actor.act(observations, over)
        observations, _, terminated, truncated, _ = envs.step(actions)
        over = terminated | truncated
        if mode == AutoresetMode.DISABLED and over.any():
            observations, _ = envs.reset(options={"reset_mask": over.copy()})
        for row in range(ENVIRONMENTS):
            if not waiting[row]:
                running[row][1].append(int(actions[row]))
            if over[row]:
                episodes.append(running[row])
            begins = waiting[row] if mode == AutoresetMode.NEXT_STEP else over[row]
            if begins:
                running[row] = (int(observations["frame"][row, 0, 0, 0]), [])
    envs.close()
    return episodes


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("make", [SyncVectorEnv, AsyncVectorEnv])
def test_episodes_in_a_vector_environment_are_those_of_single_ones(policy, make, mode):
    episodes = vector_episodes(policy, make([CountingEnv] * ENVIRONMENTS, autoreset_mode=mode), mode)
    assert len(episodes) >= 2 * ENVIRONMENTS
    actor = policy.actor()
    for number, actions in episodes:
        assert actions == single_episode(actor, number)
    assert len({action for _, actions in episodes for action in actions}) >= 3


def test_two_actors_share_a_policy(policy):
    alone = [single_episode(policy.actor(), number) for number in (20, 23)]
    actors, envs, played = [policy.actor(), policy.actor()], [CountingEnv(), CountingEnv()], [[], []]
    observations = [env.reset(seed=number)[0] for env, number in zip(envs, (20, 23), strict=True)]
    for _ in range(max(map(len, alone))):
        for i in range(2):
            if len(played[i]) < len(alone[i]):
                played[i].append(int(actors[i].act(observations[i])))
                observations[i] = envs[i].step(played[i][-1])[0]
    assert played == alone
