"""--overwrite on datasets: what agentgym recorded goes, whatever else is there stays."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from counted import counted_episode, counted_header
from refusals import refusal

from agentgym.data.store import DatasetWriter, EpisodeDataset, clear_dataset


@pytest.fixture
def path(tmp_path):
    with DatasetWriter(tmp_path / "data", counted_header()) as writer:
        writer.append(counted_episode())
    return tmp_path / "data"


def test_a_dataset_goes_and_what_lies_beside_it_stays(path):
    (path / "notes.md").write_text("mine")
    clear_dataset(path)
    assert sorted(each.name for each in path.iterdir()) == [".lock", "notes.md"]


def test_a_damaged_dataset_goes_too(path):
    (path / "manifest.json").write_text("{")
    shard = path / "shard-000000.arrow"
    shard.write_bytes(shard.read_bytes()[:-100])
    clear_dataset(path)
    assert not shard.exists()


@pytest.mark.parametrize(
    "files",
    [
        {"manifest.json": json.dumps({"manifest_version": 3, "name": "an extension"}), "src.txt": "thesis"},
        {".lock": "", "thesis.txt": "thesis"},
        {"shard-000000.arrow": "something else"},
        {"recipe.json": "{}"},
    ],
)
def test_what_agentgym_did_not_record_is_never_deleted(tmp_path, files):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert "does not delete it" in refusal(clear_dataset, tmp_path)
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == files


def test_nothing_is_deleted_through_a_link_or_beside_a_writer(path, tmp_path):
    (tmp_path / "link").symlink_to(path)
    assert "is a link to" in refusal(clear_dataset, tmp_path / "link")
    with DatasetWriter(path, counted_header()):
        assert "another process is writing" in refusal(clear_dataset, path)
    assert len(EpisodeDataset(path)) == 1


def two_kinds(folder, *names):
    """Datasets below one folder, under those names in their recipes."""
    for place, name in enumerate(names):
        header = replace(counted_header(), recipe={**counted_header().recipe, "name": name})
        with DatasetWriter(folder / f"kind-{place}", header) as writer:
            writer.append(counted_episode())
    return folder


def test_the_kinds_of_one_dataset_go_together_or_not_at_all(tmp_path):
    path = two_kinds(tmp_path / "data", "mine", "mine")
    with DatasetWriter(path / "kind-1", EpisodeDataset(path / "kind-1").header):
        assert "another process is writing" in refusal(clear_dataset, path)
    (path / "kind-2").symlink_to(path / "kind-0")
    assert "is a link to" in refusal(clear_dataset, path)
    assert [len(EpisodeDataset(path / f"kind-{number}")) for number in range(2)] == [1, 1]
    (path / "kind-2").unlink()
    clear_dataset(path)
    assert not list(path.rglob("shard-*"))


def test_a_folder_of_several_datasets_is_not_a_dataset(tmp_path):
    path = two_kinds(tmp_path / "data", "mine", "yours")
    assert "holds several datasets (kind-0, kind-1), which --overwrite does not delete" in refusal(clear_dataset, path)
    assert len(list(path.rglob("shard-*"))) == 2


def test_other_names_of_a_folder_are_that_folder_and_other_names_of_a_file_stay(path, monkeypatch):
    (path.parent / "kept.arrow").hardlink_to(path / "shard-000000.arrow")
    (path.parent / "link").symlink_to(path)
    monkeypatch.chdir(path.parent)
    assert "is a link to" in refusal(clear_dataset, Path("link/"))
    clear_dataset(Path("data/../data/."))
    assert not list(path.glob("shard-*"))
    assert (path.parent / "kept.arrow").stat().st_size
