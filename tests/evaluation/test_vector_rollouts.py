"""Evaluation's own slots and Gymnasium's vector environments: the same policy does the same in a seed's episode."""

import numpy as np
import pytest
from foreign_rooms import write_room
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from agentgym.data.vector_recorder import VectorRecorder
from agentgym.environments import make
from agentgym.errors import complaint_of
from agentgym.evaluation.rollouts import rollout
from agentgym.policies.protocol import VectorPolicy
from agentgym.recipes import FrameRecipe, TaskRecipe
from agentgym.trust import trusting

SHORT = TaskRecipe(id="BabyAI-GoToRedBall-v0", limit=6)
ROWS, STEPS = 3, 16


class Adding:
    """Acts by the sum of all that it has seen of the episode, so that a history of the wrong episode shows."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        seen = observation["frame"].sum(axis=(1, 2, 3), dtype=np.int64)
        before = np.zeros_like(seen) if state is None else np.where(episode_start, 0, state)
        return (before + seen) // 3 % 7, before + seen


def environment():
    return make(SHORT)


def vector_episodes(envs, mode):
    """The whole episodes that the policy plays in a vector environment."""
    episodes = []
    recorder = VectorRecorder(envs, episodes, task=SHORT.id, expert="test")
    actor, over = VectorPolicy(Adding(), recorder), None
    observations, _ = recorder.reset(seed=5)
    for _ in range(STEPS):
        observations, _, terminated, truncated, _ = recorder.step(actor.act(observations, over))
        over = terminated | truncated
        if mode == AutoresetMode.DISABLED and over.any():
            observations, _ = recorder.reset(options={"reset_mask": over.copy()})
    recorder.close()
    return [episode for episode in episodes if episode.terminated or episode.truncated]


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("make_envs", [SyncVectorEnv, pytest.param(AsyncVectorEnv, marks=pytest.mark.slow)])
def test_a_vector_environment_gives_the_actions_and_returns_of_a_rollout(make_envs, mode):
    options = {"shared_memory": False} if make_envs is AsyncVectorEnv else {}
    samples = vector_episodes(make_envs([environment] * ROWS, autoreset_mode=mode, **options), mode)
    assert len(samples) >= 2 * ROWS
    seeds = [sample.seed for sample in samples]
    for number in (1, 4):
        episodes = rollout(
            Adding(), SHORT, frame=FrameRecipe(), seeds=seeds, num_environments=number, deterministic=True
        )
        assert [list(episode.actions) for episode in episodes] == [sample.actions.tolist() for sample in samples]
        assert [episode.total_reward for episode in episodes] == [sample.rewards.sum() for sample in samples]
    assert len({action for sample in samples for action in sample.actions.tolist()}) >= 3


@pytest.mark.parametrize("vector", ["sync", pytest.param("async", marks=pytest.mark.slow)])
def test_an_environment_that_raises_is_named(vector, tmp_path, monkeypatch):
    room = write_room(tmp_path, "tired_rooms", "TiredRoom-v0", in_step="raise RuntimeError('no more')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    task = TaskRecipe(id=room, instructions=["go"])
    with trusting(True), pytest.raises(RuntimeError) as raised:
        rollout(Adding(), task, frame=FrameRecipe(), seeds=range(3), num_environments=2, vector=vector)
    assert complaint_of(raised.value) == f"{room}: its step raises RuntimeError: no more"
