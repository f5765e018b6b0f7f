"""A dataset on disk: what goes in comes out, what was committed stays, and damage is named."""

import json
import random
import re
import shutil
import tracemalloc
import zlib

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_episode import same
from typer.testing import CliRunner
from worlds import counted_header, counted_sample, refusal

from agentgym.cli import main
from agentgym.data.episode_builder import EpisodeBuilder
from agentgym.data.store import (
    NAMES,
    Attempt,
    DatasetWriter,
    EpisodeDataset,
    Header,
    Shard,
    check,
    repair,
    window_table,
)
from agentgym.data.store.blocks import FRAMES_PER_BLOCK, FrameEncoder, checksum, decode_block, encode_blocks
from agentgym.environments import encode_instruction
from agentgym.files import replace_file
from agentgym.spaces import SpaceCodec

LENGTHS = (3, 1, 5, 4)
SAMPLES = [counted_sample(seed, steps=steps) for seed, steps in enumerate(LENGTHS)]


@pytest.fixture
def path(tmp_path):
    """Four counted episodes in two shards."""
    with DatasetWriter(tmp_path / "data", counted_header()) as writer:
        for i, sample in enumerate(SAMPLES):
            writer.append(sample)
            if i == 1:
                writer.commit()
    return tmp_path / "data"


def damage(file, part):
    """Flips a bit in the middle of a byte string that the file holds once."""
    content = bytearray(file.read_bytes())
    assert content.count(part) == 1
    content[content.index(part) + len(part) // 2] ^= 1
    file.write_bytes(content)


def test_every_episode_comes_back_as_it_went_in(path):
    dataset = EpisodeDataset(path)
    assert len(dataset) == len(SAMPLES)
    assert all(same(stored, sample) for stored, sample in zip(dataset, SAMPLES, strict=True))
    assert dataset.header == counted_header()


def test_frames_taken_one_by_one_are_the_same_blocks_and_stand_for_themselves():
    encoder, random_ = FrameEncoder(), np.random.default_rng(0)
    for count in (1, FRAMES_PER_BLOCK - 1, FRAMES_PER_BLOCK, 2 * FRAMES_PER_BLOCK + 1):
        frames = random_.integers(0, 256, (count, 5, 4, 3), np.uint8)
        encoder.append(frames[0])
        encoder.clear()
        for frame in frames:
            encoder.append(frame)
        taken = encoder.pop_all()
        assert encode_blocks(taken) == encode_blocks(frames)
        assert (len(taken), taken.shape, taken.dtype, taken.ndim) == (count, frames.shape, frames.dtype, 4)
        np.testing.assert_array_equal(taken, frames)
        np.testing.assert_array_equal(taken[count // 2 :], frames[count // 2 :])


def test_a_frame_of_another_shape_in_mid_episode_is_refused_and_the_episode_goes_on():
    encoder, frame = FrameEncoder(), np.ones((5, 4, 3), np.uint8)
    for count in (1, FRAMES_PER_BLOCK):
        for _ in range(count):
            encoder.append(frame)
        with pytest.raises(ValueError, match=re.escape("shape [1, 1, 3], those before it in the episode [5, 4, 3]")):
            encoder.append(frame[:1, :1])
        np.testing.assert_array_equal(encoder.pop_all(), np.stack([frame] * count))
    encoder.append(frame[:1, :1])
    assert encoder.pop_all().shape == (1, 1, 1, 3)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists), st.binary())
def test_a_checksum_is_over_the_text_that_json_makes_of_the_values_and_the_bytes(value, content):
    assert checksum([value], content) == zlib.crc32(json.dumps([value]).encode() + content)


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
    sample = counted_sample(terminated=False, truncated=True, success=False, instruction="größer → 球", versions={})
    with DatasetWriter(tmp_path, counted_header()) as writer:
        writer.append(sample)
    assert same(EpisodeDataset(tmp_path)[0], sample)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 24])
def test_frames_are_lossless(count):
    frames = np.random.default_rng(0).integers(0, 256, (count, 56, 48, 3), dtype=np.uint8)
    blocks = encode_blocks(frames)
    assert len(blocks) == -(-count // FRAMES_PER_BLOCK)
    held = [min(FRAMES_PER_BLOCK, count - FRAMES_PER_BLOCK * place) for place in range(len(blocks))]
    decoded = [np.empty((some, 56, 48, 3), np.uint8) for some in held]
    for block, here in zip(blocks, decoded, strict=True):
        decode_block(block, 0, here)
    assert np.array_equal(np.concatenate(decoded), frames)


@pytest.mark.parametrize("side", [8, 210])  # one zstd block holds all eight frames, or not one of them
def test_some_frames_of_a_block_are_decoded_without_the_others(side):
    frames = np.random.default_rng(0).integers(0, 256, (6, side, side, 3), dtype=np.uint8)
    (block,) = encode_blocks(frames)
    for first, behind in ((0, 6), (0, 1), (2, 5), (5, 6)):
        found = np.zeros_like(frames[first:behind])
        decode_block(block, first, found)
        assert np.array_equal(found, frames[first:behind])
    with pytest.raises(ValueError, match="fewer than 7 frames"):
        decode_block(block, 5, np.zeros_like(frames[:2]))


def test_any_arrow_reader_finds_an_episodes_frames_as_one_zstd_stream(path):
    row = pa.ipc.open_file(path / "shard-000000.arrow").read_all().to_pylist()[0]
    stream = pa.input_stream(pa.py_buffer(b"".join(row["frames"])), compression="zstd")
    frames = np.frombuffer(stream.read(), np.uint8).reshape(-1, *row["frame_shape"])
    assert np.array_equal(frames, SAMPLES[0].frames)


def test_a_window_of_a_long_episode_is_its_slice_across_blocks(tmp_path):
    sample = counted_sample(0, steps=3 * FRAMES_PER_BLOCK)
    with DatasetWriter(tmp_path, counted_header()) as writer:
        writer.append(sample)
    dataset = EpisodeDataset(tmp_path)
    for start in range(len(sample)):
        for stop in range(start + 1, len(sample) + 1):
            assert same(dataset.steps(0, start, stop), sample[start:stop])


def test_a_window_reads_and_verifies_its_own_blocks_alone(tmp_path, monkeypatch):
    with DatasetWriter(tmp_path, counted_header()) as writer:
        writer.append(counted_sample(0, steps=200))
    dataset, read = EpisodeDataset(tmp_path), []
    block = Shard._block
    monkeypatch.setattr(Shard, "_block", lambda self, row, place: read.append(place) or block(self, row, place))
    dataset.steps(0, 100, 108)  # frames 100 to 108
    assert sorted(read) == [12, 12, 13, 13]  # once for the checksum, once for the frames
    read.clear()
    dataset.steps(0, 100, 108)
    assert read == [12, 13]


def test_steps_of_an_episode_are_the_slice_of_the_sample(path):
    dataset = EpisodeDataset(path)
    for episode, length in enumerate(LENGTHS):
        for start in range(length):
            for stop in range(start + 1, length + 1):
                assert same(dataset.steps(episode, start, stop), SAMPLES[episode][start:stop])


def test_frames_of_an_episode_are_its_frames(path):
    assert np.array_equal(EpisodeDataset(path).frames(2, 1, 4), SAMPLES[2].frames[1:4])


def test_numpy_scalars_are_stored_as_what_they_mean(tmp_path):
    values = {"success": np.bool_(False), "terminated": np.bool_(True), "seed": 7}
    with DatasetWriter(tmp_path, counted_header()) as writer:
        writer.append(counted_sample(**values))
    assert same(EpisodeDataset(tmp_path)[0], counted_sample(7, frames=counted_sample(7).frames, success=False))


def test_an_episode_that_is_not_there_is_an_index_error(path):
    dataset = EpisodeDataset(path)
    for episode in (-1, 4):
        with pytest.raises(IndexError, match="4"):
            dataset[episode]


@pytest.mark.parametrize("length", [1, 2, 3, 100])
def test_every_step_is_in_exactly_one_window_and_no_window_crosses_an_episode(path, length):
    windows = EpisodeDataset(path).windows(length)
    assert all(1 <= len(window) <= length for window in windows)
    assert all(same(window, SAMPLES[e][a:b]) for window, (e, a, b) in zip(windows, windows.table, strict=True))
    steps = [(episode, step) for episode, start, stop in windows.table for step in range(start, stop)]
    assert steps == [(episode, step) for episode, steps in enumerate(LENGTHS) for step in range(steps)]


def test_the_windows_of_no_episodes_are_none():
    assert window_table(np.array([], dtype=np.int64), 4).shape == (0, 3)


def test_outcomes_count_the_attempts_that_left_no_episode_too(tmp_path):
    with DatasetWriter(tmp_path, counted_header()) as writer:
        writer.append(counted_sample(1))
        writer.append(counted_sample(2, success=False))
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
    for sample in SAMPLES:
        writer.append(sample)
    assert "holds no episodes" in refusal(EpisodeDataset, tmp_path)
    writer.commit()
    assert len(EpisodeDataset(tmp_path)) == len(SAMPLES)  # though the writer still lives
    writer.close()


def test_an_open_dataset_does_not_change_when_more_is_appended(path):
    before = EpisodeDataset(path)
    with DatasetWriter(path, counted_header()) as writer:
        writer.append(counted_sample(9))
    assert all(same(stored, sample) for stored, sample in zip(before, SAMPLES, strict=True))
    assert len(EpisodeDataset(path)) == len(SAMPLES) + 1


def test_an_episode_is_committed_by_itself_when_it_has_waited_long_enough(tmp_path):
    with DatasetWriter(tmp_path, counted_header(), commit_seconds=0) as writer:
        writer.append(counted_sample())
        assert len(EpisodeDataset(tmp_path)) == 1
        assert writer.attempts() == [Attempt("Count-v0", 0, "solved")]


def test_what_a_crash_left_half_written_is_not_seen_and_is_removed_by_the_next_writer(path):
    leftover = path / "shard-000002.tmp"
    leftover.write_bytes((path / "shard-000001.arrow").read_bytes()[:100])
    assert len(EpisodeDataset(path)) == len(SAMPLES)
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
        for i, sample in enumerate(SAMPLES):
            writer.append(sample)
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
        assert all(same(stored, sample) for stored, sample in zip(dataset, SAMPLES, strict=True))
        assert [same(window, SAMPLES[2][2:4]) for window in dataset.windows(2)].count(True) == 1
        memory.rm("/cloud/data/shard-000000.arrow")
        assert refusal(EpisodeDataset, "memory://cloud/data").startswith(
            "memory://cloud/data: 1 of 2 shards are missing"
        )
        assert "memory://cloud/none: there is no such" in refusal(EpisodeDataset, "memory://cloud/none")
    finally:
        memory.rm("/cloud", recursive=True)


def test_the_command_line_reads_from_file_systems_of_fsspec_and_writes_to_disks_alone(path, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "data"), "zip", tmp_path, "data")
    url, runner = f"zip://data::file://{archive}", CliRunner()
    for source in (f"file://{path}", url):
        result = runner.invoke(main.app, ["check", source, "--json"])
        assert json.loads(result.stdout)["episodes"] == len(SAMPLES)
    assert (
        runner.invoke(main.app, ["select", url, "--outcome", "solved", "--to", str(tmp_path / "some")]).exit_code == 0
    )
    assert len(EpisodeDataset(tmp_path / "some")) == len(SAMPLES)
    for verb in (["check", url, "--repair"], ["view", url], ["export", url, "--to", "hub"]):
        assert "only folders on this machine's disks are written to" in str(runner.invoke(main.app, verb).exception)
    assert "is no folder that fsspec reaches" in str(runner.invoke(main.app, ["check", "none://data"]).exception)


def test_a_missing_or_empty_folder_is_refused(tmp_path):
    for reader in (EpisodeDataset, check):
        assert refusal(reader, tmp_path / "none").startswith(f"{tmp_path / 'none'}: there is no such dataset folder")
        assert refusal(reader, tmp_path).startswith(f"{tmp_path}: holds no episodes")


def test_a_shard_that_is_cut_short_is_listed_and_the_others_stay_readable(path):
    file = path / "shard-000001.arrow"
    whole = file.read_bytes()
    for length in (0, 1, 8, len(whole) // 3, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.warns(UserWarning, match=f"left out: {file}: not a whole shard"):
            dataset = EpisodeDataset(path)
        assert len(dataset.lost) == 1
        assert all(same(stored, sample) for stored, sample in zip(dataset, SAMPLES[:2], strict=True))
        problems = check(path)
        assert len(problems) == 1
        assert problems[0].startswith(f"{file}: every episode in it is lost")


def test_a_dataset_of_which_no_shard_can_be_opened_is_refused(path):
    for file in path.glob("shard-*"):
        file.write_bytes(b"")
    assert refusal(EpisodeDataset, path).startswith(f"{path / 'shard-000000.arrow'}: not a whole shard")


def test_a_flipped_bit_of_a_frame_is_listed_with_its_episode(path):
    damage(path / "shard-000001.arrow", encode_blocks(SAMPLES[3].frames)[0])
    expected = f"{path / 'shard-000001.arrow'}: episode 1 (seed 3) is damaged: wrong checksum"
    assert check(path) == [expected]


def test_a_flipped_bit_of_a_reward_is_listed_with_its_episode(path):
    damage(path / "shard-000001.arrow", SAMPLES[2].rewards.tobytes())
    assert "shard-000001.arrow: episode 0 (seed 2) is damaged: wrong checksum" in check(path)[0]


def test_a_flipped_bit_of_the_header_is_listed(path):
    damage_at = b'"solved"], ["Count-v0", 3'
    content = (path / "shard-000001.arrow").read_bytes()
    (path / "shard-000001.arrow").write_bytes(content.replace(damage_at, b'"failed"], ["Count-v0", 3'))
    assert "wrong checksum" in check(path)[0]


def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(path):
    file = path / "shard-000000.arrow"
    whole = file.read_bytes()
    generator = random.Random(0)
    found = 0
    for _ in range(150):
        content = bytearray(whole)
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        file.unlink()  # a mapped file must not change under its reader
        file.write_bytes(content)
        problems = check(path)
        found += bool(problems)
        if not problems:
            assert all(same(stored, sample) for stored, sample in zip(EpisodeDataset(path), SAMPLES, strict=True))
            assert EpisodeDataset(path).outcomes()["solved"] == 4
    assert found > 50


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_shard_is_refused_and_listed(path, missing):
    (path / f"shard-00000{missing}.arrow").unlink()
    expected = f"{path}: 1 of 2 shards are missing; 'agentgym check {path} --repair' keeps those that are there"
    assert refusal(EpisodeDataset, path) == expected
    assert check(path) == [expected]


def test_a_damaged_manifest_is_refused_with_the_remedy(path):
    (path / "manifest.json").write_text('{"shards": ')
    line = refusal(EpisodeDataset, path)
    assert line.startswith(f"{path / 'manifest.json'}: is no whole JSON")
    assert "delete it" in line
    assert check(path) == [line]


def test_a_file_that_is_no_shard_is_left_out_with_a_warning(path):
    (path / "shard-000002.arrow").write_text("hello")
    with pytest.warns(UserWarning, match="shard-000002.arrow: not a whole shard"):
        assert len(EpisodeDataset(path)) == 4


def write_in_format(version, path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("agentgym.data.store.format.FORMAT", version)
        writer = DatasetWriter(path, counted_header())
        writer.append(counted_sample())
        writer.close()
    return path


def test_a_newer_minor_format_is_read(tmp_path, monkeypatch):
    assert len(EpisodeDataset(write_in_format("2.7", tmp_path, monkeypatch))) == 1


@pytest.mark.parametrize(
    ("version", "remedy"),
    [("3.0", "install a newer agentgym"), ("1.0", "the same seeds record it again: 'agentgym collect count'")],
)
def test_another_major_format_is_refused_with_the_remedy_and_is_no_damage(tmp_path, monkeypatch, version, remedy):
    path = write_in_format(version, tmp_path, monkeypatch)
    before = {file.name for file in path.iterdir()}
    for reader in (EpisodeDataset, check, repair):
        line = refusal(reader, path)
        assert f"format {version}; this agentgym reads 2.1: {remedy}" in line
    assert {file.name for file in path.iterdir()} == before


def test_a_column_is_one_value_an_episode(path):
    dataset = EpisodeDataset(path)
    assert dataset.column("length") == list(LENGTHS)
    assert dataset.column("actions") == [sample.actions.tolist() for sample in SAMPLES]
    assert set(NAMES) >= {"frames", "seed", "task", "success", "expert", "versions"}


def test_a_replaced_file_holds_the_new_text_and_leaves_nothing_beside_it(tmp_path):
    file = tmp_path / "values.json"
    for text in ("one", "two"):
        replace_file(file, text)
        assert file.read_text() == text
    assert list(tmp_path.iterdir()) == [file]
