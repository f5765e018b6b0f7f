"""To and from others' formats: what they share comes back as it was, and what they do not is said."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from counted import counted_episode, counted_header, write_counted
from gymnasium import spaces
from refusals import refusal
from shared_values import shares
from typer.testing import CliRunner

from agentgym.cli import main
from agentgym.data.exchange import export_hub, export_minari, import_minari
from agentgym.data.exchange.spaces import batch, space_of, unbatch
from agentgym.data.store import DatasetWriter, EpisodeDataset, Extra, check, sample_dataset
from agentgym.experts.replay import replay_episodes
from agentgym.spaces import SpaceCodec
from agentgym.spaces.values import as_plain

DATA = Path(__file__).parent / "files"
RECORDED = DATA / "minari" / "babyai"  # made by Minari's own DataCollector: tests/data/files/make_minari.py


@pytest.mark.parametrize(("kind", "side"), [("image", 28), ("symbolic", 56)])
def test_what_minari_recorded_is_imported_and_every_frame_replays(tmp_path, kind, side):
    notes = import_minari(RECORDED / f"goto-{kind}-v0", tmp_path / "imported")
    assert notes == ["success: not recorded, taken as terminated with a positive return"]
    assert check(tmp_path / "imported") == []
    dataset = EpisodeDataset(tmp_path / "imported")
    assert dataset.header.frame_shape == (side, side, 3)
    assert dataset.header.space.root.names[0][:3] == ("left", "right", "forward")
    assert dataset.column("seed") == [0, 1]
    assert set(dataset.column("instruction")) == {"go to the red ball"}
    assert set(dataset.column("expert")) == {"random steps"}
    assert [replay.problem for replay in replay_episodes(dataset, 2)] == ["", ""]


def test_an_export_to_minari_comes_back_with_all_that_both_hold(tmp_path):
    episodes = [
        counted_episode(0, steps=3),
        counted_episode(1, steps=5, success=False, terminated=False, truncated=True, instruction="größer → 球"),
        counted_episode(2, steps=1, task="Other-v0"),
    ]
    path = write_counted(tmp_path / "data", episodes)
    (note,) = export_minari(path, tmp_path / "minari")
    assert note == "Minari has no place for: expert of each episode, package versions, checksums, names of actions"
    found = []
    for task in ("count-v0", "other-v0"):
        notes = import_minari(tmp_path / "minari" / "data" / task, tmp_path / task)
        assert notes == []
        found += list(EpisodeDataset(tmp_path / task))
    for stored, episode in zip(found, episodes, strict=True):
        assert shares(stored, episode)


def test_the_sample_set_goes_to_minari_and_back(tmp_path):
    export_minari(sample_dataset(), tmp_path / "minari")
    import_minari(tmp_path / "minari" / "sample" / "babyai-gotoredball-v0", tmp_path / "back")
    stored, back = EpisodeDataset(sample_dataset()), EpisodeDataset(tmp_path / "back")
    assert all(shares(one, other) for one, other in zip(back, stored, strict=True))
    assert back.header.space == stored.header.space
    assert back.header.recipe["suite"]["frame"] == stored.header.recipe["suite"]["frame"]


SPACES = {
    "Box": spaces.Box(-1, 1, (3,), np.float32),
    "Box of integers": spaces.Box(0, 9, (2, 2), np.int16),
    "MultiDiscrete": spaces.MultiDiscrete([3, 5]),
    "MultiBinary": spaces.MultiBinary(4),
    "Dict": spaces.Dict(camera=spaces.Box(-1, 1, (2,), np.float64), keys=spaces.MultiBinary(3)),
    "Tuple": spaces.Tuple((spaces.Discrete(3, start=2), spaces.Box(0, 1, (1,), np.float32))),
    "Text": spaces.Text(5, charset="aé球"),
    "parts of parts": spaces.Dict(
        button=spaces.MultiBinary((2, 3)),
        move=spaces.Tuple((spaces.MultiDiscrete([[2, 3]], start=[[1, 4]]), spaces.Text(3))),
    ),
}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_actions_of_any_space_are_imported_as_they_were(tmp_path, space):
    import minari
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    space.seed(0)
    actions = [space.sample() for _ in range(3)]
    frames = counted_episode(0, steps=3).frames
    folder = tmp_path / "minari" / "data"
    folder.mkdir(parents=True)
    image = spaces.Box(0, 255, frames.shape[1:], np.uint8)
    storage = MinariStorage.new(folder, observation_space=image, action_space=space, jpeg_encoding=False)
    storage.update_metadata({"dataset_id": "any/thing-v0", "minari_version": minari.__version__})
    buffer = EpisodeBuffer(
        seed=4,
        observations=frames,
        actions=batch(SpaceCodec.of(space).root, actions),
        rewards=[0.0, 0.5, 1.0],
        terminations=[False, False, True],
        truncations=[False] * 3,
        infos={},
    )
    storage.update_episodes([buffer])
    import_minari(tmp_path / "minari", tmp_path / "imported")
    assert check(tmp_path / "imported") == []
    (episode,) = EpisodeDataset(tmp_path / "imported")
    root = SpaceCodec.of(space).root
    assert [as_plain(root, action) for action in episode.actions] == [as_plain(root, action) for action in actions]
    assert all(space.contains(action) for action in episode.actions)
    assert np.array_equal(episode.frames, frames)
    export_minari(tmp_path / "imported", tmp_path / "exported")
    import_minari(tmp_path / "exported" / "imported" / "any-thing-v0", tmp_path / "again")
    (back,) = EpisodeDataset(tmp_path / "again")
    assert [as_plain(root, action) for action in back.actions] == [as_plain(root, action) for action in actions]
    assert EpisodeDataset(tmp_path / "again").header.space == EpisodeDataset(tmp_path / "imported").header.space


def test_actions_of_every_kind_that_minari_recorded_come_back(tmp_path):
    import minari

    recorded = minari.MinariDataset(RECORDED / "room-v0" / "data")
    notes = import_minari(RECORDED / "room-v0", tmp_path / "imported")
    assert notes == ["success: not recorded, taken as terminated with a positive return"]
    export_minari(tmp_path / "imported", tmp_path / "exported")
    assert import_minari(tmp_path / "exported" / "imported" / "room-v0", tmp_path / "again") == []
    for name in ("imported", "again"):
        dataset = EpisodeDataset(tmp_path / name)
        root = dataset.header.space.root
        assert space_of(root) == recorded.spec.action_space
        for sample, episode in zip(dataset, recorded.iterate_episodes(), strict=True):
            taken = unbatch(recorded.spec.action_space, episode.actions, len(episode.rewards))
            assert [as_plain(root, action) for action in sample.actions] == [as_plain(root, each) for each in taken]
            assert np.array_equal(sample.frames, episode.observations["image"])
            assert (sample.instruction, sample.seed) == ("tidy the room", episode.id)
            assert sample.rewards.tolist() == episode.rewards.tolist()


def test_an_export_says_what_minari_does_not_hold(tmp_path):
    labelled = counted_episode(0, labels=counted_episode(0).actions[::-1].copy())
    write_counted(tmp_path / "data", [labelled, counted_episode(1)])
    (note,) = export_minari(tmp_path / "data", tmp_path / "minari")
    assert note.endswith("checksums, names of actions, the labels of 1 episodes")


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_space_is_made_again_of_its_codec(space):
    assert space_of(SpaceCodec.of(space).root) == space


def test_what_cannot_be_imported_is_one_line(tmp_path):
    assert "is not a Minari dataset" in refusal(import_minari, tmp_path, tmp_path / "to")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("")
    for to in (tmp_path / "full",):
        assert "is there already" in refusal(import_minari, RECORDED / "goto-symbolic-v0", to)
        assert "is there already" in refusal(export_minari, sample_dataset(), to)
        assert "is there already" in refusal(export_hub, sample_dataset(), to)


def test_without_minari_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    assert "needs minari; pip install 'agentgym-ifm[minari]'" in refusal(
        export_minari, sample_dataset(), tmp_path / "to"
    )


def test_a_hub_folder_is_read_by_datasets_frames_as_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    assert export_hub(sample_dataset(), tmp_path / "hub") == []
    rows = datasets.load_dataset(str(tmp_path / "hub"), split="train", cache_dir=str(tmp_path / "cache"))
    stored = EpisodeDataset(sample_dataset())
    assert len(rows) == len(stored)
    for episode in (0, 7):
        row, sample = rows[episode], stored[episode]
        assert np.array_equal(np.stack([np.asarray(picture) for picture in row["frames"]]), sample.frames)
        assert (row["actions"], row["rewards"]) == (sample.actions.tolist(), sample.rewards.tolist())
        assert (row["instruction"], row["seed"]) == (sample.instruction, sample.seed)


def test_a_hub_folder_has_its_card(tmp_path):
    yaml = pytest.importorskip("yaml")
    export_hub(sample_dataset(), tmp_path / "hub")
    front, text = (tmp_path / "hub" / "README.md").read_text().removeprefix("---\n").split("\n---\n", 1)
    values = yaml.safe_load(front)
    (data_files,) = values["configs"][0]["data_files"]
    assert data_files["split"] == "train"
    assert [file.parent.name for file in (tmp_path / "hub").glob(data_files["path"])] == ["data"]
    assert values["size_categories"] == ["n<1K"]
    assert "40 episodes" in text
    assert "BabyAI-GoToRedBall-v0" in text


def test_large_datasets_become_several_parquet_files(tmp_path, monkeypatch):
    monkeypatch.setattr("agentgym.data.exchange.hub.ROW_GROUP", 2)
    monkeypatch.setattr("agentgym.data.exchange.hub.FILE_BYTES", 1)
    path = write_counted(tmp_path / "data", [counted_episode(seed) for seed in range(5)])
    export_hub(path, tmp_path / "hub")
    assert len(list((tmp_path / "hub" / "data").glob("train-*.parquet"))) == 3


def test_the_command_line_exports_and_imports(tmp_path):
    source, runner = str(sample_dataset()), CliRunner()
    for kind in ("minari", "hub"):
        result = runner.invoke(main.app, ["export", source, "--to", kind, str(tmp_path / kind)])
        assert result.exit_code == 0, result.output
        assert str(tmp_path / kind) in result.output
    minari = str(tmp_path / "minari" / "sample" / "babyai-gotoredball-v0")
    result = runner.invoke(main.app, ["import", minari, "--out", str(tmp_path / "back"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"data": str(tmp_path / "back"), "episodes": 40, "steps": 231, "notes": []}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "symbolic"])
def test_what_the_installed_minari_records_is_imported(tmp_path, kind):
    if importlib.util.find_spec("jax") is None:
        pytest.skip('recording with Minari needs jax: pip install "minari[create]"')
    sys.path.insert(0, str(DATA))
    from make_minari import record

    import_minari(record(tmp_path / "minari", kind), tmp_path / "imported")
    dataset = EpisodeDataset(tmp_path / "imported")
    assert [replay.problem for replay in replay_episodes(dataset, 2)] == ["", ""]


def test_columns_beside_the_frames_go_to_minari_and_back_bit_for_bit(tmp_path):
    extras = (
        Extra("state", "array", "float64", (2, 2)),
        Extra("observation.held", "array", "bool"),
        Extra("camera", "array", "uint8", (24, 24, 3)),
        Extra("word", "text"),
        Extra("info", "json"),
        Extra("a/b", "text"),
    )
    generator = np.random.default_rng(0)
    beside = {
        "state": generator.normal(size=(6, 2, 2)) / 0.1,
        "observation.held": generator.random(6) < 0.5,
        "camera": generator.integers(0, 256, (6, 24, 24, 3), np.uint8),
        "word": ["a", "b", "球", "", "</s>", "d"],
        "info": [{"level": 3}, None, 1.5, [], "x", True],
        "a/b": [""] * 6,
    }
    with DatasetWriter(tmp_path / "data", counted_header(extras=extras)) as writer:
        writer.append(counted_episode(0, extras=beside))
    (note,) = export_minari(tmp_path / "data", tmp_path / "minari")
    assert "(a/b)" in note
    (folder,) = (tmp_path / "minari/data").glob("*-v0")
    assert import_minari(folder, tmp_path / "back") == []
    found, stored = (EpisodeDataset(tmp_path / name).extras(0) for name in ("back", "data"))
    assert list(found) == [extra.name for extra in extras][:-1]
    assert all(np.array_equal(found[name], stored[name]) for name in found)
    assert found["observation.held"].dtype == bool
    assert [text.value() for text in found["info"]] == beside["info"]
