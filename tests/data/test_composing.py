"""Datasets out of datasets: the same rows, the same bytes of every frame, and splits that stay."""

import numpy as np
import pytest
from counted import counted_episode, counted_header, same, write_counted
from refusals import refusal
from typer.testing import CliRunner

from agentgym.cli import main
from agentgym.data.store import Attempt, DatasetWriter, EpisodeDataset, check, format, merge, sample_dataset, select
from agentgym.experts.replay import replay_episodes
from agentgym.spaces import SpaceCodec
from agentgym.training.windows import split_episodes


@pytest.fixture
def episodes():
    return [
        counted_episode(seed, steps=seed + 1, success=seed % 2 == 0, task="Count-v0" if seed < 4 else "Other-v0")
        for seed in range(7)
    ]


@pytest.fixture
def no_encoding(monkeypatch):
    """Called by the tests once their datasets are written."""
    return lambda: [monkeypatch.setattr(format, name, None) for name in ("encode_blocks", "encode_row")]


def stored_rows(path):
    return [s.row(row, format.NAMES) for s in EpisodeDataset(path).shards for row in range(len(s))]


def test_a_merge_holds_every_row_of_both_as_it_was(tmp_path, episodes, no_encoding):
    one, two = write_counted(tmp_path / "one", episodes[:3]), write_counted(tmp_path / "two", episodes[3:])
    no_encoding()
    merged = merge([one, two], tmp_path / "both")
    assert check(tmp_path / "both") == []
    assert stored_rows(tmp_path / "both") == stored_rows(one) + stored_rows(two)
    assert all(same(stored, episode) for stored, episode in zip(merged, episodes, strict=True))
    assert merged.header.recipe["name"] == "both"


def test_an_episode_that_both_hold_is_kept_once(tmp_path, episodes):
    one, two = write_counted(tmp_path / "one", episodes[:5]), write_counted(tmp_path / "two", episodes[2:])
    merged = merge([one, two], tmp_path / "both")
    assert merged.column("seed") == list(range(7))
    assert sum(merged.outcomes().values()) == 7


def test_a_merge_keeps_the_attempts_that_left_no_episode(tmp_path, episodes):
    one = write_counted(tmp_path / "one", episodes[:1])
    with DatasetWriter(tmp_path / "two", counted_header()) as writer:
        writer.append_encoded([], [Attempt("Count-v0", 99, "timeout")])
    assert merge([one, tmp_path / "two"], tmp_path / "both").seeds("Count-v0") == {0, 99}


@pytest.mark.parametrize("changes", [{"space": SpaceCodec.discrete(("a", "b"))}, {"frame_shape": (4, 4, 3)}], ids=str)
def test_unlike_datasets_are_not_merged(tmp_path, episodes, changes):
    one, two = write_counted(tmp_path / "one", episodes[:1]), tmp_path / "two"
    with DatasetWriter(two, counted_header(**changes)) as writer:
        writer.append_encoded([], [Attempt("Count-v0", 99, "timeout")])
    assert "merge only datasets of one kind" in refusal(merge, [one, two], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_frames_drawn_otherwise_are_not_merged(tmp_path, episodes):
    suites = [{"suite": {"frame": {"tile_size": size}, "tasks": []}} for size in (8, 16)]
    paths = [write_counted(tmp_path / str(i), episodes[i : i + 1], recipe=suite) for i, suite in enumerate(suites)]
    assert "drawn otherwise" in refusal(merge, paths, tmp_path / "both")


@pytest.mark.parametrize(
    ("filters", "seeds"),
    [
        ({"task": "Other-v0"}, [4, 5, 6]),
        ({"outcome": "solved"}, [0, 2, 4, 6]),
        ({"outcome": "failed"}, [1, 3, 5]),
        ({"min_return": 2.0}, [5, 6]),  # 0 + 1/7 + ... + (steps - 1)/7
        ({"task": "Count-v0", "outcome": "solved", "min_return": 0.1}, [2]),
    ],
    ids=str,
)
def test_a_selection_holds_the_rows_that_pass_every_filter_as_they_were(
    tmp_path, episodes, filters, seeds, no_encoding
):
    path = write_counted(tmp_path / "all", episodes)
    no_encoding()
    chosen = select(path, tmp_path / "some", **filters)
    assert chosen.column("seed") == seeds
    assert stored_rows(tmp_path / "some") == [row for row in stored_rows(path) if row["seed"] in seeds]
    assert check(tmp_path / "some") == []
    assert sum(chosen.outcomes().values()) == len(seeds)


def test_what_cannot_be_selected_is_refused_and_nothing_is_written(tmp_path, episodes):
    path = write_counted(tmp_path / "all", episodes)
    to = tmp_path / "some"
    assert "did you mean 'Other-v0'?" in refusal(select, path, to, task="Othr-v0")
    assert "expected solved or failed" in refusal(select, path, to, outcome="won")
    assert "no episode passes" in refusal(select, path, to, min_return=1e9)
    assert not to.exists()
    assert "is there already" in refusal(select, path, path, outcome="solved")


def test_where_an_episode_belongs_stays_when_data_is_added(tmp_path):
    frames = counted_episode(0, 1).frames
    few = [counted_episode(seed, steps=1, frames=frames) for seed in range(60)]
    path = write_counted(tmp_path / "data", few[:40])
    before = EpisodeDataset(path)
    held_out = {before.column("seed")[i] for i in split_episodes(before, 0.3)[1]}
    other = write_counted(tmp_path / "other", few[40:])
    after = merge([other, path], tmp_path / "both")  # first in the folder, too
    trained, kept_out = split_episodes(after, 0.3)
    assert held_out
    assert {after.column("seed")[i] for i in kept_out} & set(before.column("seed")) == held_out
    assert sorted([*trained, *kept_out]) == list(range(60))


def test_the_sample_set_is_whole_small_and_replays(tmp_path):
    path = sample_dataset()
    assert check(path) == []
    dataset = EpisodeDataset(path)
    assert len(dataset) == 40
    assert sum(file.stat().st_size for file in path.iterdir()) < 1_000_000
    replays = list(replay_episodes(dataset, 5))
    assert len({replay.seed for replay in replays}) == 5
    assert [replay.problem for replay in replays] == [""] * 5


def test_a_replay_names_the_first_frame_that_differs_and_the_version(tmp_path):
    dataset = EpisodeDataset(sample_dataset())
    episode = dataset[0][:]
    frames = episode.frames.copy()
    frames[1] = 0
    forged = type(episode)(**{**vars(episode), "frames": frames, "versions": {**episode.versions, "minigrid": "0.1"}})
    with DatasetWriter(tmp_path / "forged", dataset.header) as writer:
        writer.append(forged)
    (replay,) = replay_episodes(EpisodeDataset(tmp_path / "forged"), 3)
    assert replay.problem == f"1 of {len(episode) + 1} frames differ, the first is 1"
    assert any(line.startswith("minigrid: recorded with 0.1, installed is ") for line in replay.version_changes)
    result = CliRunner().invoke(main.app, ["check", str(tmp_path / "forged"), "--replay", "1"])
    assert result.exit_code == 1
    assert "1 episodes differ" in result.output


def test_the_command_line_merges_selects_and_replays(tmp_path):
    some, both = tmp_path / "some", tmp_path / "both"
    source = str(sample_dataset())
    median = float(np.median(EpisodeDataset(source).column("total_reward")))
    for command in (
        ["select", source, "--outcome", "solved", "--min-return", str(median), "--to", str(some)],
        ["merge", source, str(some), "--to", str(both)],
        ["check", str(both), "--replay", "2"],
    ):
        result = CliRunner().invoke(main.app, command)
        assert result.exit_code == 0, result.output
    assert "every frame is the recorded one" in result.output
    assert 0 < len(EpisodeDataset(some)) < 40
    assert len(EpisodeDataset(both)) == 40
