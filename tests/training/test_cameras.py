"""Several cameras: each is a column, and the recipe names the one that the agent sees, in training and when scored."""

import gymnasium
import numpy as np
import pytest
from arm import Arm, play, wrapped
from refusals import refusal
from tiny import experiment_recipe

from agentgym import environments
from agentgym.apps.session import Session, open_dataset
from agentgym.data.headers import header_of
from agentgym.data.recorder import Recorder
from agentgym.data.store import DatasetWriter, EpisodeDataset
from agentgym.evaluation.scoring import evaluate
from agentgym.experiments.imitation import train
from agentgym.experts import collection
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.recipes import DatasetRecipe, FrameRecipe, TaskRecipe

WRIST = "observation.wrist"


@pytest.fixture(scope="module")
def registered():
    """The id of an arm that its author has wrapped, the front camera as its frame, all of its observation kept."""
    gymnasium.register("Arm/Kept-v0", entry_point=lambda: wrapped(size=(16, 20), keep=("observation", "info.force")))
    yield "Arm/Kept-v0"
    del gymnasium.registry["Arm/Kept-v0"]


def recipe_of(task, **frame):
    suite = {"name": "arm", "description": "", "frame": frame, "tasks": [{"id": task}]}
    return DatasetRecipe(name="arm", description="", suite=suite, expert="random", episodes=4, keep="all")


@pytest.fixture(scope="module")
def recorded(registered, tmp_path_factory):
    """A folder of four episodes of it, by the random policy."""
    folder = tmp_path_factory.mktemp("arm") / "data"
    collection.collect(recipe_of(registered), folder, workers=1)
    return folder


def test_what_a_registered_environment_keeps_is_collected(recorded):
    dataset = EpisodeDataset(recorded)
    kept = dataset.extras(0)
    assert {"observation.front", WRIST, "observation.joints", "observation.word", "info.force"} <= set(kept)
    assert kept[WRIST][:, 0, 0, 0].tolist() == list(range(7))
    assert dataset[0].frames.shape == (7, 16, 20, 3)
    assert dataset[0].frames[:, 0, 0, 0].tolist() == [5, 15, 25, 35, 45, 55, 65]


def test_a_camera_takes_the_place_of_the_frames(recorded):
    dataset = EpisodeDataset(recorded)
    seen = dataset.seen_by(WRIST)
    assert (seen.header.frame_shape, seen.header.recipe["suite"]["frame"]) == ((32, 32, 3), {"camera": WRIST})
    assert np.array_equal(seen[1].frames, dataset.extras(1)[WRIST])
    assert np.array_equal(seen.steps(2, 3, 5).frames, dataset.extras(2)[WRIST][3:6])
    assert dataset[1].frames.shape == (7, 16, 20, 3), "the dataset itself is as it was"
    line = refusal(dataset.seen_by, "observation.side")
    assert line.endswith("has no camera 'observation.side'; it has observation.front, observation.wrist")


def test_small_pictures_are_cameras_too(tmp_path):
    env = environments.wrap(Arm("rgb_array"), instruction="go", frame="front", keep=("info",), action_limits=(-1, 1))
    env.own_info = lambda: {"kept": {"picture": np.full((4, 4, 3), env.env.t, np.uint8)}}
    with DatasetWriter(tmp_path / "data", header_of(env, name="arm")) as writer:
        play(Recorder(env, writer, task="Arm", expert="me"), seeds=(0,))
    seen = EpisodeDataset(tmp_path / "data").seen_by("picture")
    assert seen[0].frames[:, 0, 0, 0].tolist() == list(range(7))


@pytest.mark.parametrize("task", ["Arm/Kept-v0", "Arm/Bare-v0"])
def test_an_environment_shows_the_camera_that_its_suite_names(registered, task):
    gymnasium.register("Arm/Bare-v0", entry_point=Arm)
    recipe = TaskRecipe(id=task, instructions=("lift the cup",), action_limits=(-1, 1))
    env = environments.make(recipe, frame=FrameRecipe(camera=WRIST))
    env.reset(seed=0)
    observation, *_ = env.step(np.zeros(2, np.float32))
    assert observation["frame"].tolist() == np.full((32, 32, 3), 1).tolist()
    small = environments.make(recipe, frame=FrameRecipe(camera="observation.front", size=(8, 10)))
    assert small.reset(seed=0)[0]["frame"].shape == (8, 10, 3)
    line = refusal(environments.make, recipe, frame=FrameRecipe(camera="observation.inner.side"))
    assert "its observation has no 'observation.inner.side'; cameras are named as their columns" in line
    del gymnasium.registry["Arm/Bare-v0"]


def test_grid_worlds_have_no_cameras():
    line = refusal(environments.make, "BabyAI-GoToRedBall-v0", frame=FrameRecipe(camera=WRIST))
    assert "have no 'camera'" in line


@pytest.mark.slow
def test_an_agent_is_trained_and_scored_by_the_camera_that_its_part_names(recorded, tmp_path):
    part = f'mixture=[{{data="{recorded}",camera="{WRIST}"}}]'
    recipe = experiment_recipe("training.updates=2", "evaluation.episodes=2", "evaluation.videos=0", part)
    recipe = recipe.model_copy(update={"dataset": None})
    train(recipe, run=tmp_path / "run")
    policy = AgentPolicy.from_pretrained(tmp_path / "run")
    assert policy.domains[0].frame_shape == (32, 32)
    scores = evaluate(tmp_path / "run", workers=1)
    assert scores["tasks"][0]["task"] == "Arm/Kept-v0"


def test_a_camera_is_named_of_a_folder_and_by_the_suite_of_a_recipe():
    line = refusal(experiment_recipe, f'mixture=[{{dataset="babyai-goto-redball",camera="{WRIST}"}}]')
    assert line.endswith("'camera' is of a folder (data); what a recipe records is its suite's frame.camera")


def test_people_record_what_an_environment_keeps(registered, tmp_path):
    tasks = [TaskRecipe(id=registered)]
    writer = open_dataset(tmp_path / "kept", tasks, FrameRecipe())
    session = Session(tasks[0], frame=FrameRecipe())
    session.begin(seed=3)
    session.act([0.5, 0.0])
    writer.append(session.keep())
    writer.close()
    session.close()
    assert EpisodeDataset(tmp_path / "kept").extras(0)[WRIST].shape == (2, 32, 32, 3)
    assert "actions or columns of another kind" in refusal(
        open_dataset, tmp_path / "kept", tasks, FrameRecipe(camera="observation.front", size=(16, 21))
    )
