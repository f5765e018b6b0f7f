"""VectorRecorder: whatever steps the environments, a seed's episode is what one environment records of it."""

import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from refusals import refusal
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny import TASK

from agentgym.data.recorder import Recorder
from agentgym.data.store import encode_row
from agentgym.data.vector_recorder import VectorRecorder
from agentgym.environments import make
from agentgym.recipes import TaskRecipe

SHORT = TaskRecipe(id=TASK, limit=6)
ROWS, STEPS = 4, 22  # three whole episodes a row, and more than a half of one


def environment():
    return make(SHORT)


def choose(seed, step):
    """The action of that step of that seed's episode."""
    return np.random.default_rng([seed, step]).integers(7)


def label(seed, step):
    """What the expert would do in its place."""
    return (choose(seed, step) + 1) % 7


def record_seed(seed, steps, labelled=False):
    """What one environment records of as many steps of a seed's episode."""
    episodes = []
    recorder = Recorder(environment(), episodes, task=TASK, expert="test")
    recorder.reset(seed=seed)
    for step in range(steps):
        if labelled:
            recorder.label(label(seed, step))
        recorder.step(choose(seed, step))
    recorder.close()
    return episodes[0]


def record_vector(envs, mode, labelled=False):
    """The samples of `STEPS` steps of all rows, in an agent's loop as Gymnasium describes it for each mode."""
    episodes = []
    recorder = VectorRecorder(envs, episodes, task=TASK, expert="test")
    _, infos = recorder.reset(seed=5)
    seeds, steps, over = infos["seed"].copy(), np.zeros(ROWS, int), np.zeros(ROWS, bool)
    for _ in range(STEPS):
        places = list(zip(seeds.tolist(), steps.tolist(), strict=True))
        actions = np.array([choose(*place) for place in places])
        if labelled:
            recorder.label(np.array([label(*place) for place in places]))
        waiting = over if mode == AutoresetMode.NEXT_STEP else np.zeros(ROWS, bool)
        _, _, terminations, truncations, infos = recorder.step(actions)
        over, steps = terminations | truncations, steps + 1
        begun = waiting if mode == AutoresetMode.NEXT_STEP else over
        if mode == AutoresetMode.DISABLED and over.any():
            _, infos = recorder.reset(options={"reset_mask": over})
        if begun.any():
            seeds[begun], steps[begun] = infos["seed"][begun], 0
    recorder.close()
    return episodes


def are_those_of_one_environment(episodes, labelled=False):
    finished = [episode for episode in episodes if episode.terminated or episode.truncated]
    assert len(finished) >= 3 * ROWS
    assert len(episodes) - len(finished) <= ROWS
    assert len({episode.seed for episode in episodes}) == len(episodes)
    assert {5, 6, 7} <= {episode.seed for episode in episodes}
    alone = (record_seed(episode.seed, len(episode), labelled) for episode in episodes)
    return all(encode_row(mine) == encode_row(its) for mine, its in zip(episodes, alone, strict=True))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_sync_vector_environment_records_the_episodes_of_one_environment(mode):
    envs = SyncVectorEnv([environment] * ROWS, autoreset_mode=mode)
    assert are_those_of_one_environment(record_vector(envs, mode))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_labels_are_beside_what_was_executed_in_every_row(mode):
    envs = SyncVectorEnv([environment] * ROWS, autoreset_mode=mode)
    episodes = record_vector(envs, mode, labelled=True)
    assert are_those_of_one_environment(episodes, labelled=True)
    expected = [[label(episode.seed, step) for step in range(len(episode))] for episode in episodes]
    assert [episode.labels.tolist() for episode in episodes] == expected


def test_a_step_without_a_label_among_labelled_ones_is_refused():
    recorder = VectorRecorder(SyncVectorEnv([environment] * 2), [], task=TASK, expert="test")
    recorder.reset(seed=5)
    recorder.label(np.zeros(2, int))
    recorder.step(np.zeros(2, int))
    with pytest.raises(ValueError, match="1 labels for 2 steps"):
        recorder.step(np.zeros(2, int))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_an_async_vector_environment_records_the_episodes_of_one_environment(mode):
    envs = AsyncVectorEnv([environment] * ROWS, autoreset_mode=mode, shared_memory=False)
    assert are_those_of_one_environment(record_vector(envs, mode))


def test_a_dummy_vec_env_of_recorders_records_the_episodes_of_one_environment():
    episodes = []
    envs = DummyVecEnv([lambda: Recorder(environment(), episodes, task=TASK, expert="test")] * ROWS)
    envs.seed(5)
    envs.reset()
    seeds, steps = [info["seed"] for info in envs.reset_infos], [0] * ROWS
    for _ in range(STEPS):
        _, _, over, _ = envs.step(np.array([choose(*row) for row in zip(seeds, steps, strict=True)]))
        seeds = [info["seed"] for info in envs.reset_infos]
        steps = [0 if ended else step + 1 for step, ended in zip(steps, over, strict=True)]
    envs.close()
    assert are_those_of_one_environment(episodes)


def test_a_vector_environment_that_does_not_say_how_it_resets_is_refused():
    envs = SyncVectorEnv([environment])
    envs.metadata = {}
    assert "does not say how it resets" in refusal(VectorRecorder, envs, [], task=TASK, expert="test")
