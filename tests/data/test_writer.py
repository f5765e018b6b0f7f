"""A writer belongs to one process, cuts shards by bytes, and never replaces one."""

import numpy as np
from counted import append_counted, counted_episode, counted_header, same
from refusals import refusal

from agentgym.data.store import (
    DatasetWriter,
    EpisodeDataset,
    check,
    encode_row,
    fit,
    fitting,
    repair,
)


def test_a_writer_serves_the_process_that_opened_it(tmp_path, monkeypatch):
    import copy
    import pickle

    with DatasetWriter(tmp_path, counted_header()) as writer:
        assert "serves the process that opened it" in refusal(pickle.dumps, writer)
        assert "serves the process that opened it" in refusal(copy.deepcopy, writer)
        monkeypatch.setattr("os.getpid", lambda: -1)
        assert "merge them" in refusal(writer.append, counted_episode())
        monkeypatch.undo()
        writer.append(counted_episode())
    assert len(EpisodeDataset(tmp_path)) == 1


def test_a_shard_never_takes_anothers_place(tmp_path):
    for seed in range(3):
        append_counted(tmp_path, [counted_episode(seed)])
    (tmp_path / "shard-000001.arrow").unlink()
    last = (tmp_path / "shard-000002.arrow").read_bytes()
    append_counted(tmp_path, [counted_episode(3)])
    assert (tmp_path / "shard-000002.arrow").read_bytes() == last
    assert (tmp_path / "shard-000003.arrow").is_file()
    assert "1 of 4 shards are missing" in refusal(EpisodeDataset, tmp_path)
    repair(tmp_path)
    assert EpisodeDataset(tmp_path).column("seed") == [0, 2, 3]


def test_a_commit_is_cut_into_shards_by_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("agentgym.data.store.writer.SHARD_BYTES", 300)
    episodes = [counted_episode(seed, steps=9) for seed in range(7)]
    append_counted(tmp_path, episodes)
    dataset = EpisodeDataset(tmp_path)
    assert len(dataset.shards) > 2
    assert all(same(stored, episode) for stored, episode in zip(dataset, episodes, strict=True))
    assert [attempt.seed for shard in dataset.shards for attempt in shard.attempts] == list(range(7))
    assert all([a.seed for a in shard.attempts] == shard.column("seed") for shard in dataset.shards)


def test_an_episode_whose_blocks_are_too_many_bytes_for_one_row_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "LARGEST", 10)
    with DatasetWriter(tmp_path, counted_header()) as writer:
        assert "record it in parts" in refusal(writer.append, counted_episode())


def test_parity_of_older_versions_is_ignored_and_leaves_with_a_repair(tmp_path):
    append_counted(tmp_path, [counted_episode(0)])
    leftover = tmp_path / "shard-000000.parity"
    leftover.write_bytes(b"AGPARIT1 of another time")
    assert check(tmp_path) == []
    assert len(EpisodeDataset(tmp_path)) == 1
    assert leftover.exists()
    content = bytearray((tmp_path / "shard-000000.arrow").read_bytes())
    append_counted(tmp_path, [counted_episode(1)])
    (tmp_path / "shard-000000.arrow").write_bytes(content[:100])
    repair(tmp_path)
    assert not leftover.exists()
    assert EpisodeDataset(tmp_path).column("seed") == [1]


def test_the_checksum_is_over_plain_json():
    """What older versions wrote by a private encoder of Python's."""
    episode = counted_episode(3, rewards=np.array([0.1, np.nan, np.inf, 1e300, -0.0]), instruction='é日 "\\')
    row = encode_row(fit(episode, counted_header()))
    assert (row["block_crc32"], row["crc32"]) == KNOWN


KNOWN = ([2059397101], 4077305847)  # of the encoder before
