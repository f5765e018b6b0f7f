"""What fails is said with its reason, and nothing is called right that was not looked at."""

import json

import nasty
import pytest
from counted import counted_episode, counted_header, write_counted
from refusals import refusal
from typer.testing import CliRunner

from agentgym import environments
from agentgym.cli import main
from agentgym.data.store import DatasetWriter, EpisodeDataset
from agentgym.experts import collection
from agentgym.experts.replay import replay_episodes
from agentgym.recipes import DatasetRecipe, TaskRecipe, load_dataset
from agentgym.trust import trusting

RECIPE = """
description = ""
expert = "random"
episodes = 3
keep = "all"
[suite]
name = "nasty"
description = ""
[[suite.tasks]]
id = "nasty:Nasty/{name}-v0"
instructions = ["go"]
"""


def recipe_of(name, **changes):
    suite = {"name": "n", "description": "", "tasks": [{"id": f"nasty:Nasty/{name}-v0", "instructions": ["go"]}]}
    values = {"name": "n", "description": "", "suite": suite, "expert": "random", "episodes": 3, "keep": "all"}
    return DatasetRecipe(**{**values, **changes})


def run(*arguments):
    return CliRunner().invoke(main.app, [str(argument) for argument in arguments])


def test_where_every_episode_fails_the_reason_is_said_and_the_exit_code_is_1(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE.format(name="Raises"))
    result = run("collect", tmp_path / "recipe.toml", "--to", tmp_path / "data", "--workers", 1, "--json")
    assert result.exit_code == 1
    said = "3 episodes ended in an error, 3 of them in: RuntimeError: simulator lost its connection: port 4242"
    assert said in result.stderr
    values = json.loads(result.stdout)
    assert (values["episodes"], values["outcomes"]["error"], values["errors"]) == (0, 3, [said])
    again = run("collect", tmp_path / "recipe.toml", "--to", tmp_path / "data", "--workers", 1)
    assert again.exit_code == 1
    assert "no attempt left an episode" in again.stderr


def test_a_check_of_no_episode_calls_nothing_recorded(tmp_path):
    collection.collect(recipe_of("Raises"), tmp_path / "data", workers=1)
    result = run("check", tmp_path / "data", "--replay", 5, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["replayed"] == 0
    assert "holds no episode, of these attempts: solved 0, failed 0, error 3, timeout 0" in result.stderr
    assert "recorded one" not in result.output
    assert run("check", tmp_path / "data").exit_code == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("LateNoise", "frames differ, the first is 2"),
        ("LateRewardNoise", "rewards differ, the first is that of step"),
    ],
)
def test_a_replay_compares_frames_and_rewards(tmp_path, name, said):
    collection.collect(recipe_of(name), tmp_path / "data", workers=1)
    problems = [replay.problem for replay in replay_episodes(EpisodeDataset(tmp_path / "data"), 3)]
    assert all(said in problem for problem in problems)
    result = run("check", tmp_path / "data", "--replay", 3)
    assert result.exit_code == 1
    assert "3 episodes differ" in result.output


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (18, "it ends after 18 steps, the recorded one after 20"),
        (25, "after its last step it is neither terminated nor truncated, the recorded one terminated"),
    ],
)
def test_a_replay_compares_the_end(tmp_path, monkeypatch, ends, said):
    collection.collect(recipe_of("LateEnd", episodes=1), tmp_path / "data", workers=1)
    monkeypatch.setattr(nasty.LateEnd, "ends", ends)
    (replay,) = replay_episodes(EpisodeDataset(tmp_path / "data"), 1)
    assert replay.problem == said


def test_an_environment_that_raises_in_a_replay_is_a_difference(tmp_path, monkeypatch):
    collection.collect(recipe_of("Base", episodes=1), tmp_path / "data", workers=1)
    monkeypatch.setattr(nasty.Base, "move", lambda self, action: 1 / 0)
    (replay,) = replay_episodes(EpisodeDataset(tmp_path / "data"), 1)
    assert replay.problem == "step 0 raises ZeroDivisionError: division by zero"


def test_rewards_that_are_not_finite_replay_as_they_were(tmp_path):
    collection.collect(recipe_of("NotANumber"), tmp_path / "data", workers=1)
    assert [replay.problem for replay in replay_episodes(EpisodeDataset(tmp_path / "data"), 3)] == [""] * 3
    assert (
        "every frame is the recorded one, and so are rewards and ends"
        in run("check", tmp_path / "data", "--replay", 3).output
    )


def test_a_dataset_without_a_recipe_is_not_replayed(tmp_path):
    with DatasetWriter(tmp_path, counted_header()) as writer:
        writer.append(counted_episode())
    assert "its header names no suite" in refusal(list, replay_episodes(EpisodeDataset(tmp_path), 1))


@pytest.mark.parametrize("folder", ["a[/b]", "br[red]x"])
def test_a_folder_named_like_markup_is_printed_as_it_is(tmp_path, folder):
    with DatasetWriter(tmp_path / folder, counted_header()) as writer:
        writer.append(counted_episode())
    result = run("check", tmp_path / folder)
    assert result.exit_code == 0
    assert f"{folder}: whole; 1 episodes" in result.output.replace("\n", "")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("RaisesInit", "cannot be made: RuntimeError: licence file is missing"),
        ("RaisesReset", "cannot be made: FileNotFoundError: levels/level-0.xml"),
        ("Graph", "action tokens exist for Discrete"),
    ],
)
def test_an_environment_that_cannot_be_made_is_one_line(name, said):
    assert said in refusal(collection.make_headers, recipe_of(name))


def test_a_module_that_raises_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "raising_module.py").write_text("1 / 0")
    (tmp_path / "leaving_module.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    for module, said in (("raising", "ZeroDivisionError: division by zero"), ("leaving", "SystemExit: 3")):
        task = TaskRecipe(id=f"{module}_module:Own/Task-v0", instructions=["go"])
        with trusting(True):
            line = refusal(environments.make, task)
        assert f"importing '{module}_module' fails: {said}" in line


@pytest.mark.parametrize("name", ["LateNoise", "LateRewardNoise"])
def test_a_difference_between_two_episodes_of_one_seed_is_found_before_recording(name, monkeypatch):
    kind = getattr(nasty, name)
    step = kind.step

    def sooner(self, action):
        self.t += 20
        result = step(self, action)
        self.t -= 20
        return result

    monkeypatch.setattr(kind, "step", sooner)
    assert "two episodes of one seed differ" in refusal(collection.make_headers, recipe_of(name))


def test_a_minigrid_level_of_ones_own_has_its_missions_and_its_partial_view(tmp_path):
    task = "nasty:MiniGrid-MyRoom-v0"
    env = environments.make(task)
    observation, _ = env.reset(seed=3)
    assert observation["frame"].shape == (56, 56, 3)
    assert environments.decode_instruction(observation["instruction"]).startswith("go to the ")
    assert env.action_names[:3] == ("left", "right", "forward")
    suite = {"name": "own", "description": "", "tasks": [{"id": task}]}
    recipe = DatasetRecipe(name="own", description="", suite=suite, expert="random", episodes=6, keep="all")
    collection.collect(recipe, tmp_path / "data", workers=1)
    dataset = EpisodeDataset(tmp_path / "data")
    assert len(set(dataset.column("instruction"))) > 1
    assert [replay.problem for replay in replay_episodes(dataset, 6)] == [""] * 6


def test_is_complete_looks_at_the_attempts_once(tmp_path, monkeypatch):
    recipe = recipe_of("Base", episodes=8)
    monkeypatch.setattr(collection, "CHUNK", 2)
    collection.collect(recipe, tmp_path / "data", workers=1)
    calls = []
    seeds = EpisodeDataset.seeds
    monkeypatch.setattr(EpisodeDataset, "seeds", lambda self, task: (calls.append(task), seeds(self, task))[1])
    assert collection.is_complete(recipe, tmp_path / "data")
    assert len(calls) == 1


def test_what_no_command_records_again_is_not_overwritten(tmp_path):
    path = write_counted(tmp_path, [counted_episode(expert="human")], recipe={"name": "kept", "expert": "human"})
    recipe = load_dataset("babyai-goto-redball", ["episodes=1"])
    line = refusal(collection.collect, recipe, path, workers=1, overwrite=True)
    assert line.startswith(f"{path}: holds episodes of human, which recording does not bring back")
    assert len(EpisodeDataset(path)) == 1
