"""Trained experts: what Stable-Baselines3 learns on a state acts as an expert, when its file is trusted."""

import json

import numpy as np
import pytest
from worlds import refusal

from agentgym import experts
from agentgym.data.store import SampleDataset
from agentgym.environments import make
from agentgym.evaluation.expert_rollouts import rollout_expert
from agentgym.experts.collection import collect
from agentgym.experts.ppo import choose_tasks, train_expert
from agentgym.recipes import DatasetRecipe, ExpertRecipe, FrameRecipe, SuiteRecipe, load_expert

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


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_expert(RECIPE, POLE.tasks[0], tmp_path_factory.mktemp("experts"))


def test_what_is_trained_learns_and_acts_as_an_expert(trained):
    played = rollout_expert(f"sb3:{trained}", POLE.tasks[0], frame=FRAME, seeds=range(10))
    assert np.mean([episode.success for episode in played]) >= 0.7  # random actions end after 22 steps on average
    curve = json.loads(trained.with_suffix(".json").read_text())["curve"]
    assert curve[-1]["steps"] >= 0.95 * RECIPE.steps
    assert curve[-1]["return"] > 2 * curve[1]["return"]


def test_it_records_once_it_is_trusted(trained, tmp_path):
    recipe = DatasetRecipe(name="pole", description="", suite=POLE, expert=f"sb3:{trained}", episodes=3, keep="all")
    assert refusal(collect, recipe, tmp_path / "data") == (
        f"sb3:{trained}: loading it runs code that is inside the file; give --trust if you know its origin"
    )
    assert not (tmp_path / "data").exists()
    collect(recipe, tmp_path / "data", workers=1, trust=True)
    assert [sample.expert for sample in SampleDataset(tmp_path / "data")] == [f"sb3:{trained}"] * 3


def test_an_agent_that_was_trained_on_something_else_is_refused(trained):
    expert = experts.make(f"sb3:{trained}")
    told = refusal(expert.check, make("MinAtar/Breakout-v1"))
    assert "shows {frame: uint8[80, 80, 3], instruction: uint8[256]} or int8[10, 10, 4] and takes" in told
    assert f"{trained} was trained on float32[" in told


def test_a_file_that_is_no_agent_is_refused(tmp_path):
    file = tmp_path / "no.zip"
    file.write_bytes(b"no zip")
    env = make("MinAtar/Breakout-v1")
    said = refusal(experts.make(f"sb3:{file}").check, env)
    assert said.startswith(f"{file}: cannot be loaded as a Stable-Baselines3 model")
    assert refusal(experts.make("sb3:none.zip").check, env).startswith("sb3:none.zip: there is no such file")


@pytest.mark.parametrize("task", load_expert("minatar").suite.tasks, ids=lambda task: task.id)
def test_an_agent_comes_with_the_package_for_every_minatar_game(task):
    short = task.model_copy(update={"limit": 300})
    [played] = rollout_expert("trained", short, frame=FRAME, seeds=[0])
    [random] = rollout_expert("random", short, frame=FRAME, seeds=[0])
    assert played.total_reward > random.total_reward


def test_what_cannot_be_trained_is_refused():
    blind = SuiteRecipe(name="grid", description="", tasks=[{"id": "BabyAI-GoToRedBall-v0"}])
    recipe = RECIPE.model_copy(update={"suite": blind})
    assert refusal(choose_tasks, recipe, None).startswith("BabyAI-GoToRedBall-v0: has no state but its frame")
    assert refusal(choose_tasks, RECIPE, "CartPole-v0").startswith("--task CartPole-v0: suite pole has no such task")
    strange = RECIPE.model_copy(update={"settings": {"n_stepps": 3}})
    assert "key 'settings': ppo refuses it" in refusal(train_expert, strange, POLE.tasks[0], None)
