"""Noise and DAgger: others act, the expert labels every step, and everything is a function of the seeds."""

import numpy as np
import pytest
from refusals import refusal
from tiny import TASK, dataset_recipe, model_of, tokenizer_of

from agentgym import experts
from agentgym.data.store import EpisodeDataset, check, sample_dataset
from agentgym.environments import make
from agentgym.experts import collection
from agentgym.experts.action_noise import ActionNoise, RandomActor
from agentgym.experts.agent import AgentExpert
from agentgym.experts.collection import collect
from agentgym.experts.dagger import agent_maker
from agentgym.experts.replay import replay

NOISE = 0.3


def shards(path):
    return {file.name: file.read_bytes() for file in path.glob("shard-*.arrow")}


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    path = tmp_path_factory.mktemp("noisy")
    recipe = dataset_recipe(f"noise={NOISE}")
    collect(recipe, path, workers=1)
    return recipe, EpisodeDataset(path)


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    """The folder of an agent that has learned nothing."""
    folder, dataset = tmp_path_factory.mktemp("agent"), EpisodeDataset(sample_dataset())
    model_of(dataset).save_pretrained(folder)
    tokenizer_of(dataset).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def aggregated(agent, tmp_path_factory):
    path = tmp_path_factory.mktemp("aggregated")
    recipe = dataset_recipe("episodes=2", "keep=all", f"dagger={{agent = '{agent}', probability = 0.5}}")
    collect(recipe, path, workers=1, make_agent=agent_maker(recipe))
    return recipe, EpisodeDataset(path)


def test_no_noise_is_the_recording_without_it_byte_for_byte(tmp_path):
    collect(dataset_recipe("episodes=4"), tmp_path / "plain", workers=1)
    collect(dataset_recipe("episodes=4", "noise=0.0"), tmp_path / "none", workers=1)
    assert shards(tmp_path / "plain") == shards(tmp_path / "none")
    assert all(episode.labels is None for episode in EpisodeDataset(tmp_path / "none"))


def test_the_bot_still_reaches_the_goal_when_it_learns_what_was_executed(noisy):
    recipe, dataset = noisy
    assert dataset.outcomes()["solved"] >= 0.9 * recipe.episodes


def test_labels_are_the_experts_and_about_the_share_of_noise_is_executed_otherwise(noisy):
    _, dataset = noisy
    other = np.concatenate([episode.actions != episode.labels for episode in dataset])
    share = NOISE * 6 / 7  # one of seven random actions is the expert's
    assert other.mean() == pytest.approx(share, abs=3 * (share * (1 - share) / len(other)) ** 0.5)


@pytest.mark.parametrize("recording", ["noisy", "aggregated"])
def test_the_executed_actions_replay_to_the_very_frames(recording, request, tmp_path):
    recipe, dataset = request.getfixturevalue(recording)
    assert check(dataset.path) == []
    for episode in list(dataset)[:4]:
        assert replay(episode, recipe) == [True] * (len(episode) + 1)


@pytest.mark.parametrize("recording", ["noisy", "aggregated"])
def test_labels_are_what_the_expert_says_along_the_executed_actions(recording, request):
    _, dataset = request.getfixturevalue(recording)
    env, expert = make(TASK), experts.make("babyai-bot")
    for episode in list(dataset)[:4]:
        observation, _ = env.reset(seed=episode.seed)
        expert.start(env, episode.seed)
        for action, label in zip(episode.actions, episode.labels, strict=True):
            assert expert.act(observation) == label
            observation = env.step(action)[0]
            expert.executed(action)


@pytest.mark.slow
def test_two_workers_record_the_same_noise(noisy, tmp_path, monkeypatch):
    recipe, _ = noisy
    monkeypatch.setattr(collection, "CHUNK", 12)
    for workers in (1, 2):
        collect(recipe, tmp_path / str(workers), workers=workers)
    assert shards(tmp_path / "1") == shards(tmp_path / "2")


def test_the_same_agent_and_seeds_give_the_same_bytes(aggregated, tmp_path):
    recipe, dataset = aggregated
    collect(recipe, tmp_path, workers=1, make_agent=agent_maker(recipe))
    assert shards(tmp_path) == shards(dataset.path)


def test_what_the_agent_does_is_what_it_would_do_after_the_executed_actions(aggregated, agent):
    _, dataset = aggregated
    episode, actor, env = dataset[0], AgentExpert(str(agent)), make(TASK)
    observation, _ = env.reset(seed=episode.seed)
    actor.start(env, episode.seed)
    for action, label in zip(episode.actions, episode.labels, strict=True):
        assert action in (actor.act(observation), label)
        actor.executed(action)
        observation = env.step(action)[0]


def test_an_agent_that_does_not_fit_is_refused_before_anything_is_recorded(agent):
    recipe = dataset_recipe(f"dagger={{agent = '{agent}'}}", "suite.frame.tile_size=4")
    assert "the agent was trained on [56, 56, 3]" in refusal(agent_maker, recipe)
    assert "there is no" in refusal(agent_maker, dataset_recipe("dagger={agent = 'nowhere'}"))


def test_an_agent_is_an_expert_by_its_folder(agent, tmp_path):
    short = ("episodes=2", "keep=all", "suite.tasks.0.limit=8")
    collect(dataset_recipe(*short, f"expert=agent:{agent}"), tmp_path / "expert", workers=1)
    beside = dataset_recipe(*short, f"dagger={{agent = '{agent}', probability = 1.0}}")
    collect(beside, tmp_path / "beside", workers=1, make_agent=agent_maker(beside))
    episodes = zip(EpisodeDataset(tmp_path / "expert"), EpisodeDataset(tmp_path / "beside"), strict=True)
    assert all((mine.actions == its.actions).all() for mine, its in episodes)


def test_an_expert_agent_that_does_not_fit_is_refused_before_anything_is_recorded(agent):
    recipe = dataset_recipe(f"expert=agent:{agent}", "suite.frame.tile_size=4")
    assert "the agent was trained on [56, 56, 3]" in refusal(collection.make_headers, recipe)


class Constant:
    """Always the same action; remembers what it was told."""

    def __init__(self, action):
        self.action, self.told = action, []

    def start(self, environment, seed):
        self.told.clear()

    def act(self, observation):
        return self.action

    def executed(self, action):
        self.told.append(action)


def test_actors_act_by_their_probability_and_the_later_one_first():
    env, actors = make(TASK), (Constant(1), Constant(2))
    deviations = ActionNoise([(0.5, actors[0]), (0.25, actors[1])])
    deviations.start(env, 3)
    chosen = [deviations.choose({}, 0) for _ in range(4000)]
    assert np.bincount(chosen) / 4000 == pytest.approx(np.array([3 / 8, 3 / 8, 2 / 8]), abs=0.03)
    deviations.start(env, 3)
    assert [deviations.choose({}, 0) for _ in range(4000)] == chosen
    deviations.executed(2)
    assert [actor.told for actor in actors] == [[2], [2]]


def test_random_actions_are_a_function_of_the_seed_and_change_nothing_in_the_environment():
    env, actor = make(TASK), RandomActor()
    env.action_space.seed(0)
    before = [int(env.action_space.sample()) for _ in range(5)]
    env.action_space.seed(0)

    def actions(seed):
        actor.start(env, seed)
        return [int(actor.act({})) for _ in range(50)]

    assert actions(1) == actions(1) != actions(2)
    assert [int(env.action_space.sample()) for _ in range(5)] == before
