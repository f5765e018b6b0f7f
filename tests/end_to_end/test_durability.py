"""What was committed survives a killed recorder, a full disk and a damaged file; what is lost is said exactly."""

import errno
import json
import os
import time
from contextlib import suppress

import pytest
from counted import counted_episode, counted_header, damage, same
from disks import needs_root, small_disk
from refusals import refusal
from typer.testing import CliRunner

from agentgym.cli import main
from agentgym.data.store import Attempt, DatasetWriter, EpisodeDataset, Shard, check, format, repair
from agentgym.data.store.blocks import encode_blocks
from agentgym.data.store.checking import list_seeds
from agentgym.data.store.format import write_shard
from agentgym.experts import collection

EPISODES = [counted_episode(seed, steps=3) for seed in range(9)]


@pytest.fixture
def path(tmp_path):
    """Nine counted episodes in three shards."""
    with DatasetWriter(tmp_path / "data", counted_header(), commit_seconds=1000) as writer:
        for i, episode in enumerate(EPISODES):
            writer.append(episode)
            if i % 3 == 2:
                writer.commit()
    return tmp_path / "data"


def holds(path, episodes):
    return [stored.seed for stored in EpisodeDataset(path)] == [episode.seed for episode in episodes] and all(
        same(stored, episode) for stored, episode in zip(EpisodeDataset(path), episodes, strict=True)
    )


def test_a_damaged_episode_is_named_on_reading_and_the_others_stay_readable(path):
    damage(path / "shard-000001.arrow", encode_blocks(EPISODES[4].frames)[0])
    dataset = EpisodeDataset(path)
    for read in (lambda: dataset[4], lambda: dataset.frames(4, 0, 1), lambda: dataset.steps(4, 0, 1)):
        line = refusal(read)
        assert f"{path / 'shard-000001.arrow'}: episode 1 (Count-v0, seed 4) is damaged" in line
        assert "--repair" in line
    assert all(same(dataset[i], episode) for i, episode in enumerate(EPISODES) if i != 4)


def test_a_damaged_block_leaves_the_other_blocks_of_its_episode_readable(tmp_path):
    episode = counted_episode(0, steps=30)
    with DatasetWriter(tmp_path, counted_header()) as writer:
        writer.append(episode)
    damage(tmp_path / "shard-000000.arrow", encode_blocks(episode.frames)[1])
    dataset = EpisodeDataset(tmp_path)
    assert same(dataset.steps(0, 0, 7), episode[0:7])
    assert same(dataset.steps(0, 16, 30), episode[16:30])
    assert "is damaged" in refusal(dataset.steps, 0, 0, 8)  # whose last frame is in the next block


def test_repair_of_a_whole_dataset_changes_nothing(path):
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    assert repair(path) == []
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


@pytest.mark.parametrize("bad", range(9))
def test_repair_keeps_every_other_episode_and_names_what_was_lost(path, bad):
    file = path / f"shard-00000{bad // 3}.arrow"
    damage(file, encode_blocks(EPISODES[bad].frames)[0])
    assert repair(path) == [
        f"{file}: 1 episode of 3 lost (seed {bad}): the first is damaged: wrong checksum; "
        f"the file as it was is {file.name}.1.lost"
    ]
    others = [episode for episode in EPISODES if episode.seed != bad]
    assert check(path) == []
    assert holds(path, others)
    assert EpisodeDataset(path).seeds("Count-v0") == set(range(9)) - {bad}
    assert json.loads((path / "manifest.json").read_text())["episodes"] == 8
    with DatasetWriter(path, counted_header()) as writer:  # recording goes on
        writer.append(EPISODES[bad])
    assert check(path) == []
    assert holds(path, [*others, EPISODES[bad]])


def test_an_attempt_whose_episode_lost_its_seed_is_tried_again(path):
    shard = Shard(path / "shard-000001.arrow")
    attempts = [Attempt("Count-v0", seed, "failed") for seed in (3, 30, 4, 40, 5, 50)]
    write_shard(shard.file, shard.header, shard.table, attempts)  # some left no episode
    damage(shard.file, (4).to_bytes(8, "little") + (5).to_bytes(8, "little"))  # in the column of seeds
    (line,) = repair(path)
    assert "1 episode of 3 lost" in line
    kept = {attempt.seed for attempt in Shard(shard.file).attempts}
    assert kept == {3, 30, 4}  # which of 40, 5 and 50 left the episode is not known: all are tried again


def test_repair_does_not_encode_a_frame_again(path, monkeypatch):
    damage(path / "shard-000001.arrow", encode_blocks(EPISODES[5].frames)[0])
    monkeypatch.setattr(format, "encode_blocks", None)
    repair(path)
    assert holds(path, [*EPISODES[:5], *EPISODES[6:]])


@pytest.mark.parametrize("length", [0, 100, -1])
def test_repair_sets_a_shard_that_is_cut_short_aside(path, length):
    file = path / "shard-000001.arrow"
    file.write_bytes(file.read_bytes()[:length])
    (line,) = repair(path)
    assert line.startswith(f"{file}: every episode in it is lost: {file}: not a whole shard (")
    assert line.endswith("; the file is shard-000001.arrow.1.lost")
    assert check(path) == []
    assert holds(path, [*EPISODES[:3], *EPISODES[6:]])


def test_repair_says_which_shard_is_missing_and_mends_the_manifest(path):
    (path / "shard-000001.arrow").unlink()
    assert "shard-000001.arrow: is missing" in repair(path)[0]
    assert check(path) == []
    assert holds(path, [*EPISODES[:3], *EPISODES[6:]])
    (path / "manifest.json").write_text("{")
    assert "no episode is lost" in repair(path)[0]
    assert check(path) == []


def test_seeds_are_listed_as_runs_and_not_by_hundreds():
    assert list_seeds([4]) == "seed 4"
    assert list_seeds([7, 5, 6, 9]) == "seeds 5 to 7, 9"
    assert list_seeds(range(0, 400, 2)).endswith("12, 14 and 192 more")


def test_two_repairs_set_aside_under_two_names(path):
    for episode in EPISODES[6:8]:
        damage(path / "shard-000002.arrow", encode_blocks(episode.frames)[0])
        repair(path)
    assert sorted(file.name for file in path.glob("shard-*.lost")) == [f"shard-000002.arrow.{n}.lost" for n in (1, 2)]


def test_repair_is_refused_while_a_writer_is_at_work(path):
    damage(path / "shard-000001.arrow", encode_blocks(EPISODES[4].frames)[0])
    with DatasetWriter(path, counted_header()):
        assert "another process is writing" in refusal(repair, path)


def test_the_command_line_repairs_and_says_what_was_lost(path):
    damage(path / "shard-000001.arrow", encode_blocks(EPISODES[4].frames)[0])
    assert CliRunner().invoke(main.app, ["check", str(path)]).exit_code == 1
    result = CliRunner().invoke(main.app, ["check", str(path), "--repair"])
    assert result.exit_code == 0
    assert "1 episode of 3 lost (seed 4)" in result.output
    assert "whole; 8 episodes, 24 steps" in result.output


def test_collecting_continues_after_a_repair_as_if_nothing_had_happened(recorded, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "CHUNK", 4)
    path = tmp_path / "data"
    path.mkdir()
    for file in recorded.glob("shard-*"):
        (path / file.name).write_bytes(file.read_bytes())
    damage(path / "shard-000001.arrow", encode_blocks(EpisodeDataset(path)[6].frames)[0])
    repair(path)
    assert len(EpisodeDataset(path)) == 11
    collection.collect(recipe, path, workers=1)
    assert check(path) == []
    again = sorted(EpisodeDataset(path), key=lambda episode: episode.seed)
    assert all(same(one, other) for one, other in zip(again, EpisodeDataset(recorded), strict=True))


def test_an_episode_is_committed_though_no_other_follows(tmp_path):
    writer = DatasetWriter(tmp_path, counted_header(), commit_seconds=0.05)
    writer.append(counted_episode())
    deadline = time.monotonic() + 10
    while not list(tmp_path.glob("shard-*.arrow")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    writer.close()
    assert len(EpisodeDataset(tmp_path)) == 1


@pytest.mark.parametrize("moment", range(4))
def test_a_full_disk_is_one_line_and_leaves_every_committed_episode_whole(path, monkeypatch, moment):
    writer = DatasetWriter(path, counted_header(), commit_seconds=1000)
    writer.append(counted_episode(9))
    calls = []
    fsync = os.fsync

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > moment:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    line = refusal(writer.close)
    assert line.startswith(f"{path}: No space left on device; ")
    assert "episodes are committed and whole" in line
    monkeypatch.undo()
    assert check(path) == []
    assert len(EpisodeDataset(path)) >= len(EPISODES)
    DatasetWriter(path, counted_header()).close()  # the lock is free


@needs_root
@pytest.mark.parametrize("kilobytes", [40, 52, 64, 76, 88, 100, 112, 124, 136, 148])
def test_a_disk_that_fills_up_loses_nothing_that_was_committed(tmp_path, kilobytes):
    with small_disk(tmp_path / "disk", kilobytes) as disk:
        writer = DatasetWriter(disk / "data", counted_header(), commit_seconds=0)

        def record():
            for seed in range(100):
                writer.append(counted_episode(seed % 20))

        line = refusal(record)
        committed = len(writer.attempts())
        assert f"No space left on device; {committed} episodes are committed and whole, 1 could not be written" in line
        with pytest.raises(Exception, match="No space left"):
            writer.close()
        assert check(disk / "data") == []
        assert len(EpisodeDataset(disk / "data")) == committed
        del writer


@needs_root
def test_a_repair_on_a_full_disk_is_one_line_and_continues_once_there_is_room(tmp_path):
    with small_disk(tmp_path / "disk", 200) as disk:
        path = disk / "data"
        with DatasetWriter(path, counted_header(), commit_seconds=1000) as writer:
            for seed in range(12):
                writer.append(counted_episode(seed, steps=30))
                if seed % 6 == 5:
                    writer.commit()
        damage(path / "shard-000000.arrow", encode_blocks(counted_episode(4, steps=30).frames)[1])
        with suppress(OSError), (disk / "rest").open("wb") as rest:
            while True:
                rest.write(bytes(4096))
                rest.flush()
        before = {file.name: file.read_bytes() for file in path.glob("shard-*")}
        result = CliRunner().invoke(main.app, ["check", str(path), "--repair"])
        assert str(result.exception) == (
            f"{path}: No space left on device; nothing was changed; make room and run the same command again"
        )
        assert {file.name: file.read_bytes() for file in path.glob("shard-*")} == before
        (disk / "rest").unlink()
        assert "1 episode of 6 lost (seed 4)" in repair(path)[0]
        assert check(path) == []
        assert EpisodeDataset(path).column("seed") == [seed for seed in range(12) if seed != 4]
