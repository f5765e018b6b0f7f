"""LeRobotDataset v3 both ways: frames bit for bit as images, actions, tasks, state and further cameras."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from counted import counted_episode, counted_header, write_counted
from refusals import refusal
from shared_values import shares
from tiny import experiment_recipe
from typer.testing import CliRunner

from agentgym.cli import main
from agentgym.data.exchange import export_lerobot, import_lerobot
from agentgym.data.exchange.lerobot_folder import Videos
from agentgym.data.png import encode_png
from agentgym.data.store import Attempt, DatasetWriter, EpisodeDataset, Extra, check
from agentgym.environments import encode_instruction
from agentgym.experiments.imitation import train_run
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.spaces import SpaceCodec
from agentgym.training.run_folder import open_run


def lerobot_folder(path, *, lengths=(4, 3), version="v3.0"):
    """A folder as LeRobot writes it: two cameras, a state, actions of two numbers, two tasks, one file of data."""
    generator = np.random.default_rng(0)
    count = sum(lengths)
    pictures = {key: generator.integers(0, 256, (count, 16, 20, 3), np.uint8) for key in ("top", "wrist")}
    numbers = generator.normal(size=(2, count, 2)).astype(np.float32)
    episode = np.repeat(np.arange(len(lengths)), lengths)
    frame = np.concatenate([np.arange(length) for length in lengths])
    image = {"dtype": "image", "shape": [16, 20, 3], "names": ["height", "width", "channels"]}
    features = {
        "observation.images.top": image,
        "observation.images.wrist": image,
        "observation.state": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
        "action": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
    } | {key: {"dtype": "int64", "shape": [1], "names": None} for key in ("frame_index", "episode_index", "task_index")}
    data = {
        **{
            f"observation.images.{key}": [{"bytes": encode_png(each), "path": None} for each in shown]
            for key, shown in pictures.items()
        },
        "observation.state": list(numbers[0]),
        "action": list(numbers[1]),
        "frame_index": frame,
        "episode_index": episode,
        "task_index": episode % 2,
    }
    (path / "data" / "chunk-000").mkdir(parents=True)
    (path / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
    pq.write_table(pa.table(data), path / "data" / "chunk-000" / "file-000.parquet")
    rows = [
        {
            "episode_index": number,
            "tasks": [f"task {number % 2}"],
            "length": length,
            "data/chunk_index": 0,
            "data/file_index": 0,
        }
        for number, length in enumerate(lengths)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    pd.DataFrame({"task_index": [0, 1]}, index=["task 0", "task 1"]).to_parquet(path / "meta" / "tasks.parquet")
    info = {
        "codebase_version": version,
        "robot_type": "so101",
        "fps": 30,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
        "features": features,
    }
    (path / "meta" / "info.json").write_text(json.dumps(info))
    return pictures, numbers


def test_what_lerobot_wrote_is_imported_frame_by_frame_with_state_and_other_cameras(tmp_path):
    pictures, (states, actions) = lerobot_folder(tmp_path / "robot")
    notes = import_lerobot(tmp_path / "robot", tmp_path / "imported")
    assert any("the last action of each episode is left out" in note for note in notes)
    assert "rewards: not recorded, taken as 0" in notes
    assert any("timestamps are left out" in note and "30 a second" in note for note in notes)
    assert check(tmp_path / "imported") == []
    dataset = EpisodeDataset(tmp_path / "imported")
    assert dataset.column("instruction") == ["task 0", "task 1"]
    first = 0
    for number, length in enumerate((4, 3)):
        episode, beside = dataset[number], dataset.extras(number)
        rows = slice(first, first + length)
        assert np.array_equal(episode.frames, pictures["top"][rows])
        assert np.array_equal(episode.actions, actions[rows][:-1])
        assert episode.actions.dtype == np.float32
        assert np.array_equal(beside["observation.state"], states[rows])
        assert np.array_equal(beside["observation.images.wrist"], pictures["wrist"][rows])
        first += length


def test_another_camera_may_be_what_the_agent_sees(tmp_path):
    pictures, _ = lerobot_folder(tmp_path / "robot")
    command = ["import", str(tmp_path / "robot"), "--out", str(tmp_path / "to"), "--camera", "observation.images.wrist"]
    result = CliRunner().invoke(main.app, command)
    assert result.exit_code == 0, result.output
    assert np.array_equal(EpisodeDataset(tmp_path / "to")[0].frames, pictures["wrist"][:4])
    line = refusal(import_lerobot, tmp_path / "robot", tmp_path / "none", camera="side")
    assert "has no camera 'side'; it has observation.images.top, observation.images.wrist" in line


def test_an_export_comes_back_with_every_frame_bit_for_bit(tmp_path):
    episodes = [
        counted_episode(3, steps=4, terminated=False, truncated=True, success=False),
        counted_episode(7, steps=2, instruction="größer → 球"),
    ]
    path = write_counted(tmp_path / "data", episodes)
    result = CliRunner().invoke(main.app, ["export", str(path), "--to", "lerobot", str(tmp_path / "robot")])
    assert result.exit_code == 0, result.output
    assert import_lerobot(tmp_path / "robot", tmp_path / "back") == []
    assert "comes back as it was" in refusal(import_lerobot, tmp_path / "robot", tmp_path / "to", camera="frame")
    back = EpisodeDataset(tmp_path / "back")
    assert all(shares(stored, episode) for stored, episode in zip(back, episodes, strict=True))
    assert back.header == EpisodeDataset(path).header
    assert [stored.versions for stored in back] == [episode.versions for episode in episodes]


def test_columns_beside_the_frames_come_back_and_what_has_no_place_is_said(tmp_path):
    extras = (
        Extra("state", "array", "float64", (2, 2)),
        Extra("camera", "array", "uint8", (24, 24, 3)),
        Extra("word", "text"),
        Extra("info", "json"),
        Extra("stack", "array", "uint8", (24, 24, 4)),
    )
    generator = np.random.default_rng(0)
    beside = {
        "state": generator.normal(size=(4, 2, 2)),
        "camera": generator.integers(0, 256, (4, 24, 24, 3), np.uint8),
        "word": ["a", "b", "球", ""],
        "info": [{"level": 3}, None, 1.5, []],
        "stack": np.zeros((4, 24, 24, 4), np.uint8),
    }
    box = SpaceCodec.of(__import__("gymnasium").spaces.Box(-1, 1, (1, 2), np.float32))
    actions = np.array([[[0.5, -1]], [[0, 0]], [[1, 0.25]]], np.float32)
    with DatasetWriter(tmp_path / "data", counted_header(extras=extras, space=box)) as writer:
        writer.append(counted_episode(0, steps=3, extras=beside, actions=actions))
        writer.append_encoded([], [Attempt("Count-v0", 1, "failed")])
    notes = export_lerobot(tmp_path / "data", tmp_path / "robot")
    places = [note.removeprefix("LeRobot has no place for ") for note in notes[-2:]]
    assert places == ["1 attempts that left no episode", "stack"]
    import_lerobot(tmp_path / "robot", tmp_path / "back")
    back = EpisodeDataset(tmp_path / "back")
    found, stored = back.extras(0), EpisodeDataset(tmp_path / "data").extras(0)
    assert list(found) == ["state", "camera", "word", "info"]
    assert all(np.array_equal(found[name], stored[name]) for name in found)
    assert np.array_equal(back[0].actions, actions)


def test_the_exports_files_are_what_lerobot_reads(tmp_path):
    path = write_counted(tmp_path / "data", [counted_episode(0, steps=3), counted_episode(1, steps=2)])
    export_lerobot(path, tmp_path / "robot")
    info = json.loads((tmp_path / "robot" / "meta" / "info.json").read_text())
    assert (info["codebase_version"], info["total_episodes"], info["total_frames"]) == ("v3.0", 2, 7)
    tasks = pd.read_parquet(tmp_path / "robot" / "meta" / "tasks.parquet")
    assert tasks.loc["count to 3"].task_index == sorted(["count to 3", "count to 2"]).index("count to 3")
    rows = pd.read_parquet(tmp_path / "robot" / info["data_path"].format(chunk_index=0, file_index=0))
    assert set(rows.columns) == set(info["features"])
    assert rows["index"].tolist() == list(range(7))
    assert rows["next.done"].tolist() == [False, False, True, False, False, True, False]
    episodes = pd.read_parquet(tmp_path / "robot" / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    assert episodes["dataset_to_index"].tolist() == [4, 7]
    statistics = json.loads((tmp_path / "robot" / "meta" / "stats.json").read_text())
    assert statistics["action"]["max"] == [2.0]


def test_a_feature_that_is_called_as_a_column_here_is_left_out_and_said(tmp_path):
    lerobot_folder(tmp_path / "robot")
    file = tmp_path / "robot" / "meta" / "info.json"
    info = json.loads(file.read_text())
    info["features"] = {("seed" if name.endswith("state") else name): each for name, each in info["features"].items()}
    file.write_text(json.dumps(info))
    notes = import_lerobot(tmp_path / "robot", tmp_path / "to")
    assert "features whose names are of columns here are left out: seed" in notes
    assert check(tmp_path / "to") == []


def test_older_versions_and_other_folders_are_refused_and_nothing_is_left(tmp_path):
    lerobot_folder(tmp_path / "old", version="v2.1")
    assert "convert it to v3.0" in refusal(import_lerobot, tmp_path / "old", tmp_path / "to")
    assert "is not a LeRobotDataset" in refusal(import_lerobot, tmp_path, tmp_path / "to")
    lerobot_folder(tmp_path / "cut", lengths=(1, 1))
    assert "no episode can be imported" in refusal(import_lerobot, tmp_path / "cut", tmp_path / "to")
    nested = SpaceCodec.of(__import__("gymnasium").spaces.Text(3))
    with DatasetWriter(tmp_path / "text", counted_header(space=nested)) as writer:
        writer.append(counted_episode(actions=("a", "b", "c", "d", "e")))
    assert "LeRobot takes arrays of numbers" in refusal(export_lerobot, tmp_path / "text", tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_an_imported_dataset_is_trained_on(tmp_path):
    lerobot_folder(tmp_path / "robot", lengths=(4, 3, 5, 2))
    import_lerobot(tmp_path / "robot", tmp_path / "imported")
    dataset, run = EpisodeDataset(tmp_path / "imported"), tmp_path / "run"
    assert dataset.header.space.encode_array(dataset[0].actions).shape[1:] == (2,)
    recipe = experiment_recipe("training.updates=2", "model.frame_side=16", f'mixture=[{{data="{dataset.path}"}}]')
    open_run(run, recipe)
    train_run(recipe, tmp_path / "not-recorded", run)
    action, _ = AgentPolicy.from_pretrained(run).predict(
        {"frame": dataset[0].frames[0], "instruction": encode_instruction(dataset[0].instruction)}, deterministic=True
    )
    assert (action.shape, action.dtype) == ((2,), np.float32)


@pytest.mark.slow
def test_a_video_is_decoded_to_its_frames(tmp_path):
    import imageio.v3 as iio

    shown = np.stack([np.full((32, 32, 3), 20 * place, np.uint8) for place in range(8)])
    iio.imwrite(tmp_path / "a.mp4", shown, plugin="FFMPEG", fps=10, macro_block_size=8)
    videos = Videos()
    for first, count in ((3, 2), (5, 3), (1, 2)):  # one after the other, and back
        found = videos.read("top", tmp_path / "a.mp4", first, count)
        assert np.abs(found.astype(int) - shown[first : first + count]).max() < 12
    with pytest.raises(ValueError, match="has less than the 9 frames"):
        videos.read("top", tmp_path / "a.mp4", 6, 3)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("meta/info.json", "[]", "holds a list, expected an object"),
        ("meta/info.json", "{", "is not whole JSON"),
        ("meta/info.json", '{"codebase_version": "v3.0"}', "is not a whole LeRobotDataset (KeyError"),
        ("meta/info.json", '{"codebase_version": "v3.0", "features": 7}', "not a whole LeRobotDataset (AttributeError"),
        ("meta/agentgym.json", '{"header": 7}', "is not a whole LeRobotDataset (TypeError"),
        ("meta/agentgym.json", "null", "holds null, expected an object"),
        ("meta/episodes/chunk-000/file-000.parquet", "PAR1", "is not a whole LeRobotDataset (ArrowInvalid"),
    ],
)
def test_a_damaged_description_is_one_line_and_leaves_nothing(tmp_path, file, content, said):
    export_lerobot(write_counted(tmp_path / "data", [counted_episode(0, steps=3)]), tmp_path / "robot")
    (tmp_path / "robot" / file).write_text(content)
    assert said in refusal(import_lerobot, tmp_path / "robot", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_nothing_from_outside_of_the_folder_is_imported(tmp_path):
    export_lerobot(write_counted(tmp_path / "data", [counted_episode(0, steps=3)]), tmp_path / "robot")
    info = tmp_path / "robot/meta/info.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "data_path": "../data/x.parquet"}))
    assert "is outside of" in refusal(import_lerobot, tmp_path / "robot", tmp_path / "back")
