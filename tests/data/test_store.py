"""A dataset on disk: what goes in comes out, what was committed stays, and damage is named."""

import json
import shutil
import tracemalloc

import fsspec
import numpy as np
import pytest
from counted import FOUR_EPISODES, LENGTHS, counted_episode, counted_header, damage, same
from refusals import refusal
from typer.testing import CliRunner

from agentgym.cli import main
from agentgym.data.episode_builder import EpisodeBuilder
from agentgym.data.store import (
    NAMES,
    Attempt,
    DatasetWriter,
    EpisodeDataset,
    Header,
    check,
    window_table,
)
from agentgym.data.store.blocks import FRAMES_PER_BLOCK, encode_blocks
from agentgym.environments import encode_instruction
from agentgym.files import replace_file
from agentgym.spaces import SpaceCodec


def test_every_episode_comes_back_as_it_went_in(path):
    dataset = EpisodeDataset(path)
    assert len(dataset) == len(FOUR_EPISODES)
    assert all(same(stored, episode) for stored, episode in zip(dataset, FOUR_EPISODES, strict=True))
    assert dataset.header == counted_header()


def test_an_episode_that_is_recorded_takes_the_memory_of_a_few_frames(tmp_path):
    frame, instruction = np.zeros((64, 64, 3), np.uint8), encode_instruction("wait")
    header = Header(SpaceCodec.discrete(("wait",)), frame.shape, {})
    tracemalloc.start()
    with DatasetWriter(tmp_path, header) as writer:
        builder = EpisodeBuilder(writer, header.space.root, task="Wait-v0", expert="me", versions={})
        builder.begin(instruction, frame, 0)
        for _ in range(1000):
            builder.add(np.int64(0), frame, 0.0)
        builder.flush()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(EpisodeDataset(tmp_path)[0]) == 1000
    assert most < 100 * frame.nbytes


def test_unfinished_and_failed_episodes_come_back_too(tmp_path):
    episode = counted_episode(terminated=False, truncated=True, success=False, instruction="größer → 球", versions={})
    with DatasetWriter(tmp_path, counted_header()) as writer:
        writer.append(episode)
    assert same(EpisodeDataset(tmp_path)[0], episode)


def test_a_window_of_a_long_episode_is_its_slice_across_blocks(tmp_path):
    episode = counted_episode(0, steps=3 * FRAMES_PER_BLOCK)
    with DatasetWriter(tmp_path, counted_header()) as writer:
        writer.append(episode)
    dataset = EpisodeDataset(tmp_path)
    for start in range(len(episode)):
        for stop in range(start + 1, len(episode) + 1):
            assert same(dataset.steps(0, start, stop), episode[start:stop])


def test_a_window_needs_its_own_blocks_only_and_verifies_them(tmp_path):
    episode = counted_episode(0, steps=200)
    with DatasetWriter(tmp_path, counted_header()) as writer:
        writer.append(episode)
    blocks = encode_blocks(episode.frames)
    for place in (0, 11, 14, 24):
        damage(tmp_path / "shard-000000.arrow", blocks[place])
    assert same(EpisodeDataset(tmp_path).steps(0, 100, 108), episode[100:108])  # frames 100 to 108: blocks 12 and 13
    damage(tmp_path / "shard-000000.arrow", blocks[13])
    assert "is damaged" in refusal(EpisodeDataset(tmp_path).steps, 0, 100, 108)


def test_steps_of_an_episode_are_the_slice_of_the_sample(path):
    dataset = EpisodeDataset(path)
    for episode, length in enumerate(LENGTHS):
        for start in range(length):
            for stop in range(start + 1, length + 1):
                assert same(dataset.steps(episode, start, stop), FOUR_EPISODES[episode][start:stop])


def test_frames_of_an_episode_are_its_frames(path):
    assert np.array_equal(EpisodeDataset(path).frames(2, 1, 4), FOUR_EPISODES[2].frames[1:4])


def test_numpy_scalars_are_stored_as_what_they_mean(tmp_path):
    values = {"success": np.bool_(False), "terminated": np.bool_(True), "seed": 7}
    with DatasetWriter(tmp_path, counted_header()) as writer:
        writer.append(counted_episode(**values))
    assert same(EpisodeDataset(tmp_path)[0], counted_episode(7, frames=counted_episode(7).frames, success=False))


def test_an_episode_that_is_not_there_is_an_index_error(path):
    dataset = EpisodeDataset(path)
    for episode in (-1, 4):
        with pytest.raises(IndexError, match="4"):
            dataset[episode]


@pytest.mark.parametrize("length", [1, 2, 3, 100])
def test_every_step_is_in_exactly_one_window_and_no_window_crosses_an_episode(path, length):
    windows = EpisodeDataset(path).windows(length)
    assert all(1 <= len(window) <= length for window in windows)
    assert all(same(window, FOUR_EPISODES[e][a:b]) for window, (e, a, b) in zip(windows, windows.table, strict=True))
    steps = [(episode, step) for episode, start, stop in windows.table for step in range(start, stop)]
    assert steps == [(episode, step) for episode, steps in enumerate(LENGTHS) for step in range(steps)]


def test_the_windows_of_no_episodes_are_none():
    assert window_table(np.array([], dtype=np.int64), 4).shape == (0, 3)


def test_outcomes_count_the_attempts_that_left_no_episode_too(tmp_path):
    with DatasetWriter(tmp_path, counted_header()) as writer:
        writer.append(counted_episode(1))
        writer.append(counted_episode(2, success=False))
        writer.append_encoded([], [Attempt("Count-v0", 3, "error"), Attempt("Other-v0", 4, "timeout")])
    dataset = EpisodeDataset(tmp_path)
    assert dataset.outcomes() == {"solved": 1, "failed": 1, "error": 1, "timeout": 1}
    assert dataset.seeds("Count-v0") == {1, 2, 3}
    assert len(dataset) == 2


def test_a_dataset_whose_every_attempt_failed_is_whole_and_has_no_episode(tmp_path):
    with DatasetWriter(tmp_path, counted_header()) as writer:
        writer.append_encoded([], [Attempt("Count-v0", 3, "error")])
    assert len(EpisodeDataset(tmp_path)) == 0
    assert check(tmp_path) == []


def test_nothing_is_seen_before_it_is_committed_and_all_of_it_after(tmp_path):
    writer = DatasetWriter(tmp_path, counted_header(), commit_seconds=1000)
    for episode in FOUR_EPISODES:
        writer.append(episode)
    assert "holds no episodes" in refusal(EpisodeDataset, tmp_path)
    writer.commit()
    assert len(EpisodeDataset(tmp_path)) == len(FOUR_EPISODES)  # though the writer still lives
    writer.close()


def test_an_open_dataset_does_not_change_when_more_is_appended(path):
    before = EpisodeDataset(path)
    with DatasetWriter(path, counted_header()) as writer:
        writer.append(counted_episode(9))
    assert all(same(stored, episode) for stored, episode in zip(before, FOUR_EPISODES, strict=True))
    assert len(EpisodeDataset(path)) == len(FOUR_EPISODES) + 1


def test_an_episode_is_committed_by_itself_when_it_has_waited_long_enough(tmp_path):
    with DatasetWriter(tmp_path, counted_header(), commit_seconds=0) as writer:
        writer.append(counted_episode())
        assert len(EpisodeDataset(tmp_path)) == 1
        assert writer.attempts() == [Attempt("Count-v0", 0, "solved")]


def test_what_a_crash_left_half_written_is_not_seen_and_is_removed_by_the_next_writer(path):
    leftover = path / "shard-000002.tmp"
    leftover.write_bytes((path / "shard-000001.arrow").read_bytes()[:100])
    assert len(EpisodeDataset(path)) == len(FOUR_EPISODES)
    assert check(path) == []
    DatasetWriter(path, counted_header()).close()
    assert not leftover.exists()


def test_the_manifest_is_derived_from_the_shards(path):
    manifest = json.loads((path / "manifest.json").read_text())
    assert (manifest["episodes"], manifest["steps"]) == (4, sum(LENGTHS))
    assert [shard["episodes"] for shard in manifest["shards"]] == [2, 2]
    (path / "manifest.json").unlink()
    assert len(EpisodeDataset(path)) == 4
    DatasetWriter(path, counted_header()).close()
    assert json.loads((path / "manifest.json").read_text()) == manifest


def test_the_same_episodes_make_the_same_bytes(path, tmp_path):
    with DatasetWriter(tmp_path / "again", counted_header()) as writer:
        for i, episode in enumerate(FOUR_EPISODES):
            writer.append(episode)
            if i == 1:
                writer.commit()
    for file in sorted(path.glob("*.arrow")):
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_a_second_writer_is_refused_until_the_first_has_closed(path):
    with DatasetWriter(path, counted_header()):
        assert "another process is writing" in refusal(DatasetWriter, path, counted_header())
    DatasetWriter(path, counted_header()).close()


@pytest.mark.parametrize(
    "changes",
    [{"recipe": {"name": "other"}}, {"frame_shape": (4, 4, 3)}, {"space": SpaceCodec.discrete(("one", "two"))}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_writer_with_another_header_is_refused_and_lets_the_next_one_in(path, changes):
    assert str(path) in refusal(DatasetWriter, path, counted_header(**changes))
    DatasetWriter(path, counted_header()).close()


def test_a_dataset_is_read_from_any_file_system_of_fsspec(path):
    memory = fsspec.filesystem("memory")
    memory.put(str(path), "/cloud/data", recursive=True)
    try:
        dataset = EpisodeDataset("memory://cloud/data")
        assert all(same(stored, episode) for stored, episode in zip(dataset, FOUR_EPISODES, strict=True))
        assert [same(window, FOUR_EPISODES[2][2:4]) for window in dataset.windows(2)].count(True) == 1
        memory.rm("/cloud/data/shard-000000.arrow")
        assert refusal(EpisodeDataset, "memory://cloud/data").startswith(
            "memory://cloud/data: 1 of 2 shards are missing"
        )
        assert "memory://cloud/none: there is no such" in refusal(EpisodeDataset, "memory://cloud/none")
    finally:
        memory.rm("/cloud", recursive=True)


def test_the_command_line_reads_from_file_systems_of_fsspec_and_writes_to_disks_only(path, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "data"), "zip", tmp_path, "data")
    url, runner = f"zip://data::file://{archive}", CliRunner()
    for source in (f"file://{path}", url):
        result = runner.invoke(main.app, ["check", source, "--json"])
        assert json.loads(result.stdout)["episodes"] == len(FOUR_EPISODES)
    assert (
        runner.invoke(main.app, ["select", url, "--outcome", "solved", "--to", str(tmp_path / "some")]).exit_code == 0
    )
    assert len(EpisodeDataset(tmp_path / "some")) == len(FOUR_EPISODES)
    for verb in (["check", url, "--repair"], ["view", url], ["export", url, "--to", "hub"]):
        assert "only folders on this machine's disks are written to" in str(runner.invoke(main.app, verb).exception)
    assert "is not a folder that fsspec reaches" in str(runner.invoke(main.app, ["check", "none://data"]).exception)


def test_a_column_is_one_value_an_episode(path):
    dataset = EpisodeDataset(path)
    assert dataset.column("length") == list(LENGTHS)
    assert dataset.column("actions") == [episode.actions.tolist() for episode in FOUR_EPISODES]
    assert set(NAMES) >= {"frames", "seed", "task", "success", "expert", "versions"}


def test_a_replaced_file_holds_the_new_text_and_leaves_nothing_beside_it(tmp_path):
    file = tmp_path / "values.json"
    for text in ("one", "two"):
        replace_file(file, text)
        assert file.read_text() == text
    assert list(tmp_path.iterdir()) == [file]
