"""A demonstration is never wrong in silence: what is not the dataset's is refused by name, and costs nothing else."""

import re
from dataclasses import replace

import numpy as np
import pytest
from counted import append_counted, counted_episode, counted_header, same
from nasty_tasks import make, recipe_of
from refusals import refusal

from agentgym.data.store import (
    DatasetWriter,
    EpisodeDataset,
    UnfitEpisodeError,
    check,
    repair,
)
from agentgym.errors import UserError
from agentgym.experts import collection

FRAMES = {
    "Float": "float32[24, 24, 3] in 0 to 1",
    "TooBright": "int64[24, 24, 3] in 0 to 510",
    "RGBA": "uint8[24, 24, 4]",
    "Grey": "uint8[24, 24] in",
    "NoneRender": "its frame is None",
    "ListRender": "of type list",
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_that_is_no_picture_is_refused_with_its_type_shape_and_range(name):
    line = refusal(collection.make_headers, recipe_of(name))
    assert f"nasty:Nasty/{name}-v0" in line
    assert FRAMES[name] in line
    assert "expected uint8[height, width, 3] in 0 to 255" in line


def test_whole_numbers_in_0_to_255_are_the_same_picture_in_uint8():
    one, other = make("Int64"), make("Base")
    assert np.array_equal(one.reset(seed=3)[0]["frame"], other.reset(seed=3)[0]["frame"])
    assert one.reset(seed=3)[0]["frame"].max() == 255


def test_an_episode_with_one_wrong_frame_is_an_error_with_its_reason_and_the_others_are_kept(tmp_path):
    told = []
    outcomes = collection.collect(recipe_of("LateFloat"), tmp_path / "data", workers=1, on_problem=told.append)
    assert outcomes == {"solved": 2, "failed": 0, "error": 2, "timeout": 0}
    assert EpisodeDataset(tmp_path / "data").column("seed") == [1_000_000, 1_000_002]
    assert told[0].startswith(
        "2 episodes ended in an error, 2 of them in: UserError: nasty:Nasty/LateFloat-v0: its frame"
    )
    assert "float64[24, 24, 3] in 0 to 1" in told[0]


def test_a_reward_that_is_no_number_is_named():
    assert "its reward is array([1., 2.]); expected one number" in refusal(
        collection.make_headers, recipe_of("TwoRewards")
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frames": np.zeros((6, 8, 10, 3), np.uint8)}, "its frames are [8, 10, 3], those of the dataset [8, 8, 3]"),
        ({"actions": np.array([0, 1, 3, 1, 0])}, "action 3 of step 2 is outside the space"),
        ({"actions": np.array([0, -1, 0, 1, 0])}, "action -1 of step 1 is outside the space"),
        ({"actions": np.array([0, 1.5, 0, 1, 0])}, "is float64; expected whole numbers"),
        ({"actions": np.zeros((5, 1), np.int64)}, "actions have shape [1]; expected []"),
        ({"labels": np.array([0, 1, 2, 3, 0])}, "label 3 of step 3 is outside the space"),
        ({"seed": 2**63}, "its seed has 64 bits; at most 63 are stored"),
        ({"seed": 2**127}, "its seed has 128 bits; at most 63 are stored"),
        ({"seed": 1.5}, "its seed is 1.5, not a whole number"),
        ({"instruction": "\ud800"}, "its instruction is not Unicode text"),
        ({"task": None}, "its task is None, not text"),
        ({"versions": {"numpy": 2}}, "its version of numpy is 2, not text"),
        ({"rewards": np.zeros((5, 2))}, "its rewards are float64[5, 2]; expected one number a step"),
        ({"rewards": np.array(["a"] * 5)}, "its rewards are <U1[5]"),
        ({"rewards": np.array([2**60 + 1] * 5)}, "its rewards are int64 that float64 does not hold exactly"),
    ],
)
def test_an_episode_that_is_not_the_datasets_is_refused_by_append_and_costs_no_other(tmp_path, changes, said):
    good = [counted_episode(seed) for seed in range(3)]
    with DatasetWriter(tmp_path, counted_header(), commit_seconds=1000) as writer:
        writer.append(good[0])
        writer.append(good[1])
        with pytest.raises(UnfitEpisodeError) as caught:
            writer.append(replace(counted_episode(7), **changes))
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
        writer.append(good[2])
    assert issubclass(UnfitEpisodeError, UserError)
    assert issubclass(UnfitEpisodeError, ValueError)
    assert check(tmp_path) == []
    assert all(same(stored, episode) for stored, episode in zip(EpisodeDataset(tmp_path), good, strict=True))


def test_rewards_that_are_not_finite_and_seeds_of_63_bits_are_stored_exactly(tmp_path):
    rewards = np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324])
    with DatasetWriter(tmp_path, counted_header()) as writer:
        writer.append(replace(counted_episode(), rewards=rewards, seed=2**63 - 1))
        writer.append(counted_episode(1, rewards=np.arange(5, dtype=np.int32), actions=np.arange(5, dtype=np.int8) % 3))
    first, second = EpisodeDataset(tmp_path)
    assert first.rewards.tobytes() == rewards.tobytes()
    assert first.seed == 2**63 - 1
    assert second.rewards.tolist() == [0, 1, 2, 3, 4]
    assert second.actions.dtype == np.int64
    assert check(tmp_path) == []


def test_a_list_of_frames_is_refused_by_name():
    with pytest.raises(ValueError, match=r"frames must be an array of uint8\[T \+ 1, H, W, 3\], not a list"):
        counted_episode(frames=[np.zeros((8, 8, 3), np.uint8)] * 6)


@pytest.fixture
def unguarded(monkeypatch):
    """A writer as it was, that took everything."""
    monkeypatch.setattr("agentgym.data.store.writer.fit", lambda episode, header: episode)


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"frames": np.zeros((6, 8, 10, 3), np.uint8)},
            r"its frames are \[8, 10, 3\], those of the dataset \[8, 8, 3\]",
        ),
        ({"actions": np.array([0, 1, 9, 1, 0])}, "is unfit: action 9 of step 2 is outside the space"),
        ({"labels": np.array([0, 1, 9, 1, 0])}, "is unfit: label 9 of step 2 is outside the space"),
    ],
)
def test_check_finds_what_older_versions_recorded_and_repair_keeps_the_others(tmp_path, changes, said):
    good = [counted_episode(seed) for seed in (0, 2)]
    append_counted(tmp_path, [good[0], counted_episode(1, **changes), good[1]])
    (problem,) = check(tmp_path)
    assert re.search(r"episode 1 \(seed 1\) " + said, problem)
    (line,) = repair(tmp_path)
    assert "1 episode of 3 lost (seed 1)" in line
    assert re.search(said, line)
    assert check(tmp_path) == []
    assert all(same(stored, episode) for stored, episode in zip(EpisodeDataset(tmp_path), good, strict=True))
    assert EpisodeDataset(tmp_path).seeds("Count-v0") == {0, 2}


@pytest.mark.usefixtures("unguarded")
def test_frames_of_another_size_are_never_read_as_those_of_the_dataset(tmp_path):
    append_counted(tmp_path, [counted_episode(0), counted_episode(1, frames=np.zeros((6, 8, 10, 3), np.uint8))])
    dataset = EpisodeDataset(tmp_path)
    assert same(dataset[0], counted_episode(0))
    assert "its frames are [8, 10, 3]" in refusal(lambda: dataset[1])


# ----------------------------------------------------------------------------- recorders


# ----------------------------------------------------------------------------- shards
