"""A dataset on the Hub is read by ranges: what is asked for, each part once, the same episodes as from a disk."""

import numpy as np
import pytest
from hub_stand_in import hub_stand_in
from refusals import refusal
from typer.testing import CliRunner

from agentgym.cli.main import app
from agentgym.data.store import EpisodeDataset, remote
from agentgym.data.store.samples import sample_dataset
from agentgym.errors import UserError

ADDRESS = "hf://datasets/org/sample"


@pytest.fixture
def server(monkeypatch):
    with hub_stand_in() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        files = {file.name: file.read_bytes() for file in sample_dataset().glob("*") if file.is_file()}
        server.files["dataset", "org/sample"] = files
        yield server


def read_bytes(server):
    """How many bytes of shards were sent, a request each."""
    return [sent for path, sent in server.sent if "shard-" in path]


def test_it_holds_the_episodes_of_the_folder_that_was_pushed(server):
    here, there = EpisodeDataset(sample_dataset()), EpisodeDataset(ADDRESS)
    assert len(there) == len(here)
    assert there.column("seed") == here.column("seed")
    assert there.outcomes() == here.outcomes()
    for ours, theirs in zip(here, there, strict=True):
        assert np.array_equal(ours.frames, theirs.frames)
        assert np.array_equal(ours.actions, theirs.actions)
        assert (ours.instruction, ours.seed) == (theirs.instruction, theirs.seed)


def test_a_window_costs_the_chunks_that_it_lies_in_and_each_is_read_once(server, monkeypatch):
    monkeypatch.setattr(remote, "CHUNK", 2**10)
    size = sum(len(content) for name, content in server.files["dataset", "org/sample"].items() if "shard" in name)
    dataset = EpisodeDataset(ADDRESS)
    opened = sum(read_bytes(server))
    assert opened < size / 2, "columns, no frames"
    window = dataset.steps(7, 0, 3)
    asked = sum(read_bytes(server)) - opened
    assert 0 < asked < size / 10
    assert np.array_equal(window.frames, EpisodeDataset(sample_dataset()).steps(7, 0, 3).frames)
    dataset.steps(7, 0, 3)
    assert sum(read_bytes(server)) == opened + asked
    list(dataset)
    assert sum(read_bytes(server)) <= size + 2**10 * len(dataset.shards)


def test_what_the_hub_does_not_have_or_cannot_give_is_one_line(server, monkeypatch):
    assert "there is no such dataset folder" in refusal(EpisodeDataset, "hf://datasets/org/nothing")
    monkeypatch.setattr(remote, "CHUNK", 2**10)
    dataset = EpisodeDataset(ADDRESS)
    server.files["dataset", "org/sample"].clear()
    line = refusal(lambda: dataset[7])
    assert "shard-000000.arrow: bytes" in line
    assert "cannot be read" in line


@pytest.mark.parametrize("verb", [["check"], ["view"], ["select", "--to", "x"], ["export", "--to", "minari", "x"]])
def test_without_a_network_every_verb_that_reads_a_dataset_ends_in_one_line(monkeypatch, tmp_path, verb):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    command = [verb[0], "hf://datasets/org/other", *verb[1:]]
    caught = CliRunner().invoke(app, command).exception
    assert isinstance(caught, UserError), caught
    assert "hf://datasets/org/other: cannot be reached" in str(caught)
    assert "\n" not in str(caught)


def test_a_file_that_is_no_shard_is_named(server):
    server.files["dataset", "org/sample"]["shard-000000.arrow"] = b"no shard at all, though it is long enough"
    assert "not a whole shard" in refusal(EpisodeDataset, ADDRESS)
