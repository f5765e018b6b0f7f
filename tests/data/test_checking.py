"""Damage to a dataset is found and named, and what is whole stays readable."""

import random

import pytest
from counted import FOUR_EPISODES, counted_episode, counted_header, damage, same
from refusals import refusal

from agentgym.data.store import (
    DatasetWriter,
    EpisodeDataset,
    check,
    repair,
)
from agentgym.data.store.blocks import encode_blocks


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
        assert all(same(stored, episode) for stored, episode in zip(dataset, FOUR_EPISODES[:2], strict=True))
        problems = check(path)
        assert len(problems) == 1
        assert problems[0].startswith(f"{file}: every episode in it is lost")


def test_a_dataset_of_which_no_shard_can_be_opened_is_refused(path):
    for file in path.glob("shard-*"):
        file.write_bytes(b"")
    assert refusal(EpisodeDataset, path).startswith(f"{path / 'shard-000000.arrow'}: not a whole shard")


def test_a_flipped_bit_of_a_frame_is_listed_with_its_episode(path):
    damage(path / "shard-000001.arrow", encode_blocks(FOUR_EPISODES[3].frames)[0])
    expected = f"{path / 'shard-000001.arrow'}: episode 1 (seed 3) is damaged: wrong checksum"
    assert check(path) == [expected]


def test_a_flipped_bit_of_a_reward_is_listed_with_its_episode(path):
    damage(path / "shard-000001.arrow", FOUR_EPISODES[2].rewards.tobytes())
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
            assert all(
                same(stored, episode) for stored, episode in zip(EpisodeDataset(path), FOUR_EPISODES, strict=True)
            )
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
    assert line.startswith(f"{path / 'manifest.json'}: is not whole JSON")
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
        writer.append(counted_episode())
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
