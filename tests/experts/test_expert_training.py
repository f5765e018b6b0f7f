"""Trained experts: what PPO learns on a state acts as an expert; a zip of Stable-Baselines3 does when it is trusted."""

import json

import numpy as np
import pytest
import torch
from refusals import refusal
from safetensors.numpy import load_file, save_file
from stable_baselines3 import DQN, PPO

from agentgym import experts
from agentgym.data.store import EpisodeDataset
from agentgym.environments import make
from agentgym.evaluation import policy_registry
from agentgym.evaluation.expert_rollouts import rollout_expert
from agentgym.experts.collection import collect
from agentgym.experts.networks import load_network
from agentgym.experts.ppo import choose_tasks, clipped_loss, estimate_advantages, train_expert
from agentgym.recipes import DatasetRecipe, ExpertRecipe, FrameRecipe, SuiteRecipe, load_expert
from agentgym.trust import trusting

FRAME = FrameRecipe(size=(16, 24))
POLE = SuiteRecipe(
    name="pole",
    description="",
    frame=FRAME,
    tasks=[{"id": "CartPole-v1", "instructions": ("balance",), "success_return": 100.0, "limit": 120}],
)
RECIPE = ExpertRecipe(
    name="pole",
    description="",
    suite=POLE,
    steps=8_000,
    environments=8,
    learning_rate=3e-3,
    settings={"n_steps": 32, "batch_size": 64, "gamma": 0.98, "n_epochs": 6},
)
SHORT = RECIPE.model_copy(update={"steps": 256, "environments": 2})
TINY = SHORT.model_copy(update={"steps": 64})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_expert(RECIPE, POLE.tasks[0], tmp_path_factory.mktemp("experts"))


def test_what_is_trained_learns_and_acts_as_an_expert(trained):
    played = rollout_expert(f"trained:{trained}", POLE.tasks[0], frame=FRAME, seeds=range(10))
    assert np.mean([episode.success for episode in played]) >= 0.7  # random actions end after 22 steps on average
    curve = json.loads(trained.with_suffix(".json").read_text())["curve"]
    assert curve[-1]["steps"] >= 0.95 * RECIPE.steps
    assert curve[-1]["return"] > 2 * curve[1]["return"]
    assert sorted(file.suffix for file in trained.parent.iterdir()) == [".json", ".lock", ".safetensors"]


def test_it_records_and_is_scored_without_trust(trained, tmp_path):
    who = f"trained:{trained}"
    recipe = DatasetRecipe(name="pole", description="", suite=POLE, expert=who, episodes=3, keep="all")
    collect(recipe, tmp_path / "data", workers=1)
    assert [episode.expert for episode in EpisodeDataset(tmp_path / "data")] == [who] * 3
    player = policy_registry.resolve_policy(who)
    assert (player.kind, player.name) == ("expert", f"trained-{trained.stem}")


def test_training_that_was_interrupted_is_resumed(tmp_path):
    class InterruptedTrainingError(Exception):
        pass

    def interrupt(count, note):
        seen.append(count)
        if sum(seen) >= 128:
            raise InterruptedTrainingError

    seen = []
    with pytest.raises(InterruptedTrainingError):
        train_expert(SHORT, POLE.tasks[0], tmp_path, on_progress=interrupt)
    other = SHORT.model_copy(update={"learning_rate": 1e-4})
    assert "is of another recipe (learning_rate: 0.003 -> 0.0001)" in refusal(
        train_expert, other, POLE.tasks[0], tmp_path
    )
    seen = []
    path = train_expert(SHORT, POLE.tasks[0], tmp_path, on_progress=lambda count, note: seen.append(count))
    assert seen == [128, 64, 64]
    steps = [point["steps"] for point in json.loads(path.with_suffix(".json").read_text())["curve"]]
    assert steps == sorted(set(steps))
    assert steps[-1] == 256


def test_an_expert_that_is_trained_is_not_trained_again_nor_lost_to_another(tmp_path):
    path = train_expert(TINY, POLE.tasks[0], tmp_path)
    before, seen = path.read_bytes(), []
    assert train_expert(TINY, POLE.tasks[0], tmp_path, on_progress=lambda count, note: seen.append(count)) == path
    assert seen == [64]
    other = TINY.model_copy(update={"seed": 1})
    assert "is of another training (recipe.seed: 0 -> 1); remove it" in refusal(
        train_expert, other, POLE.tasks[0], tmp_path
    )
    path.with_suffix(".json").unlink()
    assert "no cartpole-v1.json says what it is" in refusal(train_expert, TINY, POLE.tasks[0], tmp_path)
    assert path.read_bytes() == before


def test_a_second_training_of_an_expert_is_refused_while_the_first_one_is_at_work(tmp_path):
    said = []

    def again(count, note):
        if not said:
            said.append(refusal(train_expert, TINY, POLE.tasks[0], tmp_path))

    path = train_expert(TINY, POLE.tasks[0], tmp_path, on_progress=again)
    assert said == [f"{path}: another process trains this expert; wait for it to end, or choose another --to"]


def test_weights_that_are_not_finite_are_refused_in_training_and_in_acting(tmp_path):
    wild = TINY.model_copy(update={"learning_rate": 1e37})
    assert "its weights are not finite" in refusal(train_expert, wild, POLE.tasks[0], tmp_path)
    path = train_expert(TINY, POLE.tasks[0], tmp_path / "tame")
    weights = load_file(path)
    weights["linear.0.bias"][0] = np.nan
    save_file(weights, path)
    assert "its weights are not all finite" in refusal(load_network, path)


def test_advantages_end_with_their_episode():
    rewards, values = np.ones((3, 1), np.float32), np.zeros((4, 1), np.float32)
    values[3] = 10
    over = np.array([[0], [1], [0]], np.float32)
    found = estimate_advantages(rewards, values, over, gamma=0.5, gae_lambda=1.0)
    assert found[:, 0].tolist() == [1.5, 1.0, 6.0]


def test_moving_a_probability_beyond_the_clip_range_gains_nothing():
    near, far = (clipped_loss(torch.tensor([ratio]).log(), torch.tensor([1.0]), 0.2) for ratio in (1.2, 3.0))
    assert near.item() == pytest.approx(far.item()) == pytest.approx(-1.2)


@pytest.fixture(scope="module")
def zipped(tmp_path_factory):
    path = tmp_path_factory.mktemp("zips") / "pole.zip"
    PPO("MlpPolicy", "CartPole-v1", device="cpu").save(path)
    return path


def test_a_zip_records_once_it_is_trusted(zipped, tmp_path):
    recipe = DatasetRecipe(name="pole", description="", suite=POLE, expert=f"sb3:{zipped}", episodes=3, keep="all")
    assert refusal(collect, recipe, tmp_path / "data") == (
        f"sb3:{zipped}: loading it runs code that is inside the file; give --trust if you know its origin"
    )
    assert not (tmp_path / "data").exists()
    collect(recipe, tmp_path / "data", workers=1, trust=True)
    assert [episode.expert for episode in EpisodeDataset(tmp_path / "data")] == [f"sb3:{zipped}"] * 3


def test_an_actor_critic_gives_its_probabilities_and_a_value_network_has_none(zipped, tmp_path):
    values = {"name": "pole", "description": "", "suite": POLE, "episodes": 1, "keep": "all", "probabilities": True}
    collect(DatasetRecipe(expert=f"sb3:{zipped}", **values), tmp_path / "data", workers=1, trust=True)
    dataset = EpisodeDataset(tmp_path / "data")
    given = dataset.extras(0)["label_probabilities"][:-1]
    assert np.allclose(given.sum(1), 1)
    assert np.array_equal(given.argmax(1), dataset[0].labels)
    DQN("MlpPolicy", "CartPole-v1", device="cpu", buffer_size=10).save(tmp_path / "values.zip")
    other = DatasetRecipe(expert=f"sb3:{tmp_path / 'values.zip'}", **values)
    assert "values.zip' has none of Discrete(2) in CartPole-v1" in refusal(
        collect, other, tmp_path / "other", trust=True
    )


def test_an_agent_that_was_trained_on_something_else_is_refused(zipped, trained):
    breakout = make("MinAtar/Breakout-v1")
    with trusting(True):
        told = refusal(experts.make(f"sb3:{zipped}").check, breakout)
    assert "shows {frame: uint8[80, 80, 3], instruction: uint8[256]} or int8[10, 10, 4] and takes" in told
    assert f"{zipped} was trained on float32[" in told
    told = refusal(experts.make(f"trained:{trained}").check, breakout)
    assert told.endswith(f"{trained} was trained on a state of [4] and 2 actions")
    told = refusal(experts.make("trained").check, make("BabyAI-GoToRedBall-v0"))
    assert told.startswith("expert 'trained' cannot act in BabyAI-GoToRedBall-v0: no network for it comes with")


def test_a_file_that_is_no_agent_is_refused(tmp_path):
    file = tmp_path / "no.zip"
    file.write_bytes(b"no zip")
    env = make("MinAtar/Breakout-v1")
    with trusting(True):
        said = refusal(experts.make(f"sb3:{file}").check, env)
    assert said.startswith(f"{file}: cannot be loaded as a Stable-Baselines3 model")
    with trusting(True):
        assert refusal(experts.make("sb3:none.zip").check, env).startswith("sb3:none.zip: there is no such file")


@pytest.mark.parametrize("task", load_expert("minatar").suite.tasks, ids=lambda task: task.id)
def test_a_network_comes_with_the_package_for_every_minatar_game(task):
    short = task.model_copy(update={"limit": 300})
    [played] = rollout_expert("trained", short, frame=FRAME, seeds=[0])
    [random] = rollout_expert("random", short, frame=FRAME, seeds=[0])
    assert played.total_reward > random.total_reward


def test_what_cannot_be_trained_is_refused():
    blind = SuiteRecipe(name="grid", description="", tasks=[{"id": "BabyAI-GoToRedBall-v0"}])
    recipe = RECIPE.model_copy(update={"suite": blind})
    assert refusal(choose_tasks, recipe, None).startswith("BabyAI-GoToRedBall-v0: has no state but its frame")
    assert refusal(choose_tasks, RECIPE, "CartPole-v0").startswith("--task CartPole-v0: suite pole has no such task")
    grid = RECIPE.model_copy(update={"network": "grid"})
    assert refusal(choose_tasks, grid, None).startswith("CartPole-v1: its state is [4]; network 'grid' reads [height")
