"""Rollouts: one episode a seed, the same for any number of environments or workers."""

import numpy as np
import pytest
from tiny import TASK

from agentgym import environments, experts
from agentgym.evaluation.expert_rollouts import rollout_expert
from agentgym.evaluation.results import RolloutResult, replay_frames
from agentgym.evaluation.rollouts import rollout
from agentgym.executors import Processes
from agentgym.recipes import BudgetRecipe, FrameRecipe

FRAME = FrameRecipe()


class ByFrame:
    """A policy whose action is a function of the frame alone."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        sums = observation["frame"].reshape(len(observation["frame"]), -1).sum(axis=1)
        return sums % 3, state


class Watching(ByFrame):
    def __init__(self):
        self.starts = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.starts.append(episode_start.copy())
        return super().predict(observation)


def play(policy, seeds, num_environments):
    return rollout(policy, TASK, frame=FRAME, seeds=seeds, num_environments=num_environments, deterministic=True)


def expert_plays(name, seeds, workers=1, **changes):
    return rollout_expert(name, TASK, frame=FRAME, seeds=seeds, engine=Processes(workers), **changes)


class Broken(experts.EXPERTS["babyai-bot"][0]):
    """The bot, but it raises on seed 1 and never returns on seed 2."""

    def start(self, environment, seed):
        super().start(environment, seed)
        self.seed = seed

    def act(self, observation):
        assert self.seed != 1, "there is no way\nat all"
        while self.seed == 2:
            pass
        return super().act(observation)


def test_an_expert_that_raises_or_hangs_loses_only_that_episode(monkeypatch):
    monkeypatch.setitem(experts.EXPERTS, "broken", (Broken, ""))
    episodes = expert_plays("broken", range(4), budget=BudgetRecipe(seconds=0.5))
    assert [episode.success for episode in episodes] == [True, False, False, True]
    assert episodes[1].error == "AssertionError: there is no way"
    assert episodes[2].error == "no end after 0.5 s"
    whole = expert_plays("babyai-bot", range(4))
    assert [episodes[0], episodes[3]] == [whole[0], whole[3]]


class Drawing:
    """Draws by the episode's seed alone."""

    def __init__(self):
        self.rows = {}

    def start(self, row, seed):
        self.rows[row] = np.random.default_rng(seed)

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return np.array([self.rows[row].integers(3) for row in range(len(observation["frame"]))]), state


def test_a_policy_that_draws_gets_the_seed_and_plays_the_same_in_any_batch():
    assert play(Drawing(), range(8), 1) == play(Drawing(), range(8), 5)


def test_episodes_do_not_depend_on_how_many_environments_run_at_once():
    assert play(ByFrame(), range(10), 1) == play(ByFrame(), range(10), 4) == play(ByFrame(), range(10), 16)


class Summing(ByFrame):
    """Acts by the sum of all frames of the episode; in a batch that may become narrower."""

    def __init__(self):
        self.widths = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        sums = observation["frame"].reshape(len(observation["frame"]), -1).sum(axis=1)
        state = sums if state is None else np.where(episode_start, sums, state + sums)
        self.widths.append(len(sums))
        return state // 3 % 3, state

    def select(self, state, rows):
        return state[rows]


def test_a_policy_that_can_need_not_act_where_no_episode_is_left():
    narrow, alone = Summing(), Summing()
    assert play(narrow, range(8), 5) == play(alone, range(8), 1)
    assert narrow.widths[0] == 5
    assert narrow.widths == sorted(narrow.widths, reverse=True)
    assert narrow.widths[-1] < 5
    assert sum(narrow.widths) == sum(alone.widths)  # as many actions as there are steps


def test_every_seed_is_played_once_in_order():
    assert [episode.seed for episode in play(ByFrame(), [5, 3, 9], 2)] == [5, 3, 9]


def test_episode_start_is_true_exactly_at_the_first_step_of_an_episode():
    policy = Watching()
    episodes = play(policy, range(3), 1)
    starts = [int(start[0]) for start in policy.starts]
    expected = [step for episode in episodes for step in [1] + [0] * (episode.length - 1)]
    assert starts == expected


def test_the_bot_solves_the_levels():
    assert all(episode.success and episode.error is None for episode in expert_plays("babyai-bot", range(8)))


@pytest.mark.parametrize("name", ["random", "babyai-bot"])
def test_an_experts_episodes_do_not_depend_on_the_number_of_workers(name):
    assert expert_plays(name, range(30)) == expert_plays(name, range(30), workers=2)


def test_an_episode_is_reproduced_by_its_seed_and_actions():
    episode = expert_plays("babyai-bot", [4])[0]
    seen, world = replay_frames(episode, TASK, FRAME)
    env = environments.make(TASK)
    observation, _ = env.reset(seed=4)
    np.testing.assert_array_equal(seen[0], observation["frame"])
    total = 0.0
    for action in episode.actions:
        _, reward, terminated, _, info = env.step(action)
        total += reward
    assert terminated
    assert info["is_success"]
    assert total == episode.total_reward
    assert len(seen) == len(world) == episode.length + 1
    for whole, beginning in zip((seen, world), replay_frames(episode, TASK, FRAME, steps=2), strict=True):
        np.testing.assert_array_equal(beginning, whole[:3])


def test_an_episode_survives_json():
    episode = play(ByFrame(), [1], 1)[0]
    assert RolloutResult.from_json(episode.to_json()) == episode
