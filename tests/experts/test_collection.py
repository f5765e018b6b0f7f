"""collect: the same bytes however it was recorded, and an expert's fault costs its own episode."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
from refusals import refusal
from tiny import TASK

from agentgym import experts
from agentgym.data.store import EpisodeDataset, check, dataset_folders
from agentgym.experts import collection
from agentgym.experts.collection import collect, is_complete, make_chunks
from agentgym.experts.replay import replay
from agentgym.recipes import BudgetRecipe, load_dataset
from agentgym.training import datasets

# A recording in its own process: in small shards, and slow enough to be met in mid-course.
RECORD = """
import sys, time
from agentgym.experts import collection
from agentgym.recipes import load_dataset
collection.CHUNK = 2
recipe = load_dataset("babyai-goto-redball", ["episodes=40"])
collection.collect(recipe, sys.argv[1], workers=int(sys.argv[2]), on_progress=lambda count: time.sleep(0.1))
"""


def recipe_of(*overrides):
    return load_dataset("babyai-goto-redball", ["episodes=12", *overrides])


def shards(path):
    return {file.name: file.read_bytes() for file in path.glob("shard-*.arrow")}


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(collection, "CHUNK", 4)


def spin(seconds):
    """Uses a core for that long."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


class Moody:
    """Fails by the seed: raises, never returns, gives up without success, or does what the bot does."""

    def check(self, environment):
        pass

    def start(self, environment, seed):
        self._mood = seed % 4
        self._bot = experts.make("babyai-bot")
        self._bot.start(environment, seed)

    def act(self, observation):
        if self._mood == 0:
            raise AssertionError("a bad day")
        while self._mood == 1:
            with suppress(Exception):  # even if it catches what it can
                spin(0.01)
        return 0 if self._mood == 2 else self._bot.act(observation)


@pytest.fixture
def moody(monkeypatch):
    monkeypatch.setitem(experts.EXPERTS, "moody", (Moody, "for tests"))
    return recipe_of("expert=moody", "budget.seconds=0.2", "episodes=8")


def test_replaying_a_stored_episode_reproduces_every_frame(dataset, recipe):
    for episode in dataset:
        assert replay(episode, recipe) == [True] * (len(episode) + 1)


def test_a_changed_frame_is_not_reproduced(dataset, recipe):
    episode = dataset[0][:]
    episode.frames[1] = 0
    assert list(np.flatnonzero(~np.array(replay(episode, recipe)))) == [1]


def test_every_seed_is_tried_once_and_the_episodes_are_in_their_order(dataset, recipe):
    seeds = list(range(recipe.first_seed, recipe.first_seed + recipe.episodes))
    assert dataset.column("seed") == seeds  # the bot solves them all
    assert dataset.seeds(TASK) == set(seeds)
    assert dataset.outcomes() == {"solved": 12, "failed": 0, "error": 0, "timeout": 0}
    assert all(episode.success and episode.terminated for episode in dataset)


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_records_the_same_bytes_as_one(recorded, recipe, tmp_path, small_chunks, workers):
    outcomes = collect(recipe, tmp_path / "many", workers=workers)
    assert shards(tmp_path / "many") == shards(recorded)
    assert outcomes["solved"] == recipe.episodes


def test_progress_counts_every_episode_once_though_some_were_there(recorded, recipe, tmp_path, small_chunks):
    path = tmp_path / "some"
    path.mkdir()
    first = "shard-000000.arrow"
    (path / first).write_bytes((recorded / first).read_bytes())
    counts = []
    collect(recipe, path, workers=1, on_progress=counts.append)
    assert counts[0] == 4
    assert sum(counts) == 12
    assert shards(path) == shards(recorded)


def test_a_complete_dataset_is_not_touched_again(recipe, tmp_path, small_chunks):
    assert not is_complete(recipe, tmp_path / "data")
    collect(recipe, tmp_path / "data", workers=1)
    before = shards(tmp_path / "data")
    assert is_complete(recipe, tmp_path / "data")
    collect(recipe, tmp_path / "data", workers=1)
    assert shards(tmp_path / "data") == before


def start_recording(path, workers):
    command = [sys.executable, "-c", RECORD, str(path), str(workers)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(list(path.glob("shard-*.arrow"))) < 3:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "nothing was recorded"
        time.sleep(0.02)
    return process


def finish(path, monkeypatch):
    """Records the rest in this process and compares with a recording that was never interrupted."""
    monkeypatch.setattr(collection, "CHUNK", 2)
    recipe = load_dataset("babyai-goto-redball", ["episodes=40"])
    collect(recipe, path, workers=1)
    collect(recipe, path.parent / "uninterrupted", workers=1)
    assert shards(path) == shards(path.parent / "uninterrupted")


def test_a_recording_that_is_killed_loses_no_committed_shard_and_continues_as_if_it_had_not_been(tmp_path, monkeypatch):
    path = tmp_path / "data"
    process = start_recording(path, workers=1)
    process.kill()
    process.communicate()
    committed = shards(path)
    assert 3 <= len(committed) < 20
    assert check(path) == []
    assert len(EpisodeDataset(path)) == 2 * len(committed)
    finish(path, monkeypatch)
    assert committed.items() <= shards(path).items()


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_a_recording_at_once_and_leaves_it_whole(tmp_path, monkeypatch, workers):
    path = tmp_path / "data"
    process = start_recording(path, workers)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert errors.count("KeyboardInterrupt") == 1, errors  # the workers leave it to their parent
    assert check(path) == []
    assert len(shards(path)) < 20
    finish(path, monkeypatch)


def test_an_expert_that_raises_or_never_returns_costs_its_own_episode_only(moody, tmp_path):
    outcomes = collect(moody, tmp_path / "data", workers=1)
    assert outcomes == {"solved": 2, "failed": 2, "error": 2, "timeout": 2}
    dataset = EpisodeDataset(tmp_path / "data")
    assert dataset.outcomes() == outcomes
    assert [seed % 4 for seed in dataset.column("seed")] == [3, 3]
    assert is_complete(moody, tmp_path / "data")
    assert all(all(replay(episode, moody)) for episode in dataset)


def test_keep_all_keeps_the_failed_episodes_too(moody, tmp_path):
    collect(moody.model_copy(update={"keep": "all"}), tmp_path / "data", workers=1)
    dataset = EpisodeDataset(tmp_path / "data")
    assert [seed % 4 for seed in dataset.column("seed")] == [2, 3, 2, 3]
    assert dataset.column("success") == [False, True, False, True]


def test_the_seeds_are_cut_into_chunks_task_by_task():
    two = 'suite.tasks=[{id="MiniGrid-Empty-5x5-v0"}, {id="MiniGrid-Empty-6x6-v0"}]'
    recipe = recipe_of("episodes=16", "first_seed=10", two)
    chunks = [(chunk.task[-6:-3], list(chunk.seeds)) for chunk in make_chunks(recipe, workers=1)]
    assert chunks == [(task, [seed, seed + 1]) for task in ("5x5", "6x6") for seed in range(10, 26, 2)]


def sizes(task, episodes, workers):
    recipe = recipe_of(f"episodes={episodes}", f'suite.tasks=[{{id="{task}"}}]', "suite.frame={}")
    return {len(chunk.seeds) for chunk in make_chunks(recipe, workers=workers)}


def test_long_episodes_are_cut_into_short_chunks_and_every_worker_gets_several():
    assert sizes("MiniGrid-Empty-5x5-v0", 10_000, workers=2) == {100}
    assert sizes("MinAtar/Breakout-v1", 10_000, workers=2) == {4}
    assert sizes("ALE/Pong-v5", 10_000, workers=2) == {1}
    assert sizes("ALE/Pong-v5", 20, workers=2) == {1}
    assert sizes("MiniGrid-Empty-5x5-v0", 160, workers=4) == {5}


def test_a_shard_is_full_after_so_many_steps(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "CHUNK_STEPS", 20)
    collect(recipe, tmp_path / "one", workers=1)
    collect(recipe, tmp_path / "two", workers=2)
    assert shards(tmp_path / "one") == shards(tmp_path / "two")
    assert len(shards(tmp_path / "one")) > 2


def test_a_recording_continues_with_the_budget_that_it_was_begun_with(tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "CHUNK", 4)
    collect(recipe_of("budget.seconds=20.0", "episodes=12"), tmp_path / "data", workers=1)
    shard = sorted((tmp_path / "data").glob("shard-*.arrow"))[-1]
    before = shard.read_bytes()
    for file in (shard, *(tmp_path / "data").glob("manifest.json*")):
        file.unlink()
    without_budget = recipe_of("episodes=12").model_copy(update={"budget": BudgetRecipe()})
    assert not is_complete(without_budget, tmp_path / "data")
    collect(without_budget, tmp_path / "data", workers=1)
    assert shard.read_bytes() == before


def test_a_folder_with_another_recipe_is_refused_with_the_first_difference(recorded):
    line = refusal(collect, recipe_of("budget.seconds=5.0", "keep=all"), recorded)
    assert f"{recorded}: holds a dataset of another recipe (budget.seconds: 20.0 -> 5.0)" in line


def test_a_folder_or_file_that_is_no_dataset_is_refused(recipe, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for path in (tmp_path, tmp_path / "thesis.txt"):
        assert refusal(collect, recipe, path).startswith(f"{path}: exists and is not a dataset")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_what_cannot_be_recorded_is_refused_before_anything_is_made(tmp_path):
    path = tmp_path / "data"
    assert "unknown environment id 'zzz'" in refusal(collect, recipe_of("suite.tasks.0.id=zzz"), path)
    assert "no expert is named" in refusal(collect, recipe_of("expert=zzz"), path)
    assert "cannot act in" in refusal(collect, recipe_of("suite.tasks.0.id=MiniGrid-Empty-5x5-v0"), path)
    assert not path.exists()


def test_tasks_of_other_actions_or_frames_are_recorded_side_by_side_a_folder_for_each_kind(tmp_path):
    ids = ("MiniGrid-Empty-5x5-v0", "MiniGrid-Empty-8x8-v0", "MiniGrid-Empty-Random-5x5-v0")
    tasks = "suite.tasks=[" + ", ".join(f'{{id="{name}"}}' for name in ids) + "]"
    recipe = recipe_of(tasks, "suite.frame.view=full", "expert=random", "keep=all", "episodes=3")
    assert not is_complete(recipe, tmp_path / "data")
    outcomes = collect(recipe, tmp_path / "data", workers=1)
    assert sum(outcomes.values()) == 9
    small, large = (EpisodeDataset(folder) for folder in dataset_folders(tmp_path / "data"))
    assert [dataset.path.name for dataset in (small, large)] == ["minigrid-empty-5x5-v0", "minigrid-empty-8x8-v0"]
    assert [dataset.header.frame_shape for dataset in (small, large)] == [(40, 40, 3), (64, 64, 3)]
    assert set(small.column("task")) == {"MiniGrid-Empty-5x5-v0", "MiniGrid-Empty-Random-5x5-v0"}
    assert is_complete(recipe, tmp_path / "data")
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.arrow")}
    assert collect(recipe, tmp_path / "data", workers=1) == outcomes
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.arrow")} == before
    other = recipe.model_copy(update={"expert": "repeat"})
    line = refusal(collect, other, tmp_path / "data")
    assert "holds a dataset of another recipe (minigrid-empty-5x5-v0: expert: 'random' -> 'repeat')" in line
    assert recipe_kinds(tmp_path / "data") == recipe


def recipe_kinds(path):
    """The recipe by which a folder of several kinds was recorded, its tasks in the order of the folders."""
    found = datasets.recipe_of(datasets.open_datasets(path))
    order = [task.id for task in found.suite.tasks]
    assert order == ["MiniGrid-Empty-5x5-v0", "MiniGrid-Empty-Random-5x5-v0", "MiniGrid-Empty-8x8-v0"]
    tasks = sorted(found.suite.tasks, key=lambda task: "Random" in task.id)
    return found.model_copy(update={"suite": found.suite.model_copy(update={"tasks": tasks})})
