"""Recorder: the agent sees what it would see without it, and every episode becomes a sample."""

import numpy as np
import pytest
from tiny import TASK

from agentgym.data import episode_builder
from agentgym.data.recorder import Recorder
from agentgym.environments import make
from agentgym.experts import RandomExpert
from agentgym.versions import installed_versions


def act(env, seed, inner, steps=1000):
    """What an agent sees of an episode of random actions: every return value of reset and step."""
    seen = [env.reset(seed=seed)]
    expert = RandomExpert()
    expert.start(inner, seed)
    done = False
    while not done and len(seen) <= steps:
        seen.append((*env.step(expert.act({})),))
        done = seen[-1][2] or seen[-1][3]
    return seen


def recorder_of(episodes):
    return Recorder(make(TASK), episodes, task=TASK, expert="random")


def test_the_agent_sees_what_it_would_see_without_it():
    plain, episodes = make(TASK), []
    recorder = recorder_of(episodes)
    for seed in range(4):
        for bare, recorded in zip(act(plain, seed, plain), act(recorder, seed, plain), strict=True):
            assert np.array_equal(bare[0]["frame"], recorded[0]["frame"])
            assert np.array_equal(bare[0]["instruction"], recorded[0]["instruction"])
            assert bare[1:] == recorded[1:]
    assert recorder.observation_space == plain.observation_space
    assert recorder.action_space == plain.action_space


@pytest.mark.parametrize("room", [episode_builder.ROOM, 2])
def test_an_episode_becomes_the_sample_of_what_was_seen_and_done(monkeypatch, room):
    monkeypatch.setattr(episode_builder, "ROOM", room)
    episodes = []
    recorder = recorder_of(episodes)
    seen = act(recorder, 3, recorder.unwrapped)
    (episode,) = episodes
    assert np.array_equal(episode.frames, np.stack([values[0]["frame"] for values in seen]))
    assert episode.rewards.tolist() == [values[1] for values in seen[1:]]
    assert (episode.terminated, episode.truncated) == seen[-1][2:4]
    assert episode.success == seen[-1][4]["is_success"]
    assert episode.instruction == recorder.unwrapped.minigrid.mission
    assert (episode.seed, episode.task, episode.expert) == (3, TASK, "random")
    assert episode.versions == installed_versions()


@pytest.mark.parametrize("seed", [None, 5])
def test_replaying_the_stored_seed_and_actions_reproduces_every_frame(seed):
    episodes = []
    recorder = recorder_of(episodes)
    recorder.reset(seed=1)
    recorder.reset(seed=seed)
    done = False
    while not done:
        _, _, terminated, truncated, _ = recorder.step(recorder.action_space.sample())
        done = terminated or truncated
    env = make(TASK)
    frames = [env.reset(seed=episodes[0].seed)[0]["frame"]]
    frames += [env.step(action)[0]["frame"] for action in episodes[0].actions]
    assert np.array_equal(episodes[0].frames, np.stack(frames))


def test_an_agent_that_writes_into_its_observation_does_not_change_the_sample():
    episodes = []
    recorder = recorder_of(episodes)
    observation, _ = recorder.reset(seed=0)
    first = observation["frame"].copy()
    observation["frame"][:] = 0
    recorder.step(0)
    recorder.close()
    assert np.array_equal(episodes[0].frames[0], first)


@pytest.mark.parametrize("leave", ["reset", "close"])
def test_an_episode_that_is_left_is_recorded_as_unfinished(leave):
    episodes = []
    recorder = recorder_of(episodes)
    act(recorder, 0, recorder.unwrapped, steps=3)
    assert episodes == []
    getattr(recorder, leave)()
    (episode,) = episodes
    assert len(episode) == 3
    assert (episode.terminated, episode.truncated, episode.success) == (False, False, False)


def test_an_episode_without_a_step_leaves_no_sample():
    episodes = []
    recorder = recorder_of(episodes)
    recorder.reset(seed=0)
    recorder.reset(seed=1)
    recorder.close()
    assert episodes == []


def test_an_episode_that_is_discarded_leaves_no_sample():
    episodes = []
    recorder = recorder_of(episodes)
    act(recorder, 0, recorder.unwrapped, steps=3)
    recorder.discard()
    recorder.close()
    assert episodes == []
