"""One flipped bit anywhere in a shard: it is found, costs at most the episode whose value it is, and is mended."""

import warnings

import numpy as np
import pytest
from test_episode import same
from worlds import counted_header, counted_sample

from agentgym.data.store import DatasetWriter, EpisodeDataset, check, repair
from agentgym.data.store.parity import LEAST_GROUPS, PAGE, Parity, parity_of
from agentgym.data.store.structure import value_ranges
from agentgym.errors import UserError

SAMPLES = [counted_sample(seed, steps=steps) for seed, steps in enumerate((3, 9, 1))]
CONTENT = bytes(i * 7 % 251 for i in range(40 * PAGE + 5))


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """Three counted episodes in one shard."""
    path = tmp_path_factory.mktemp("parity") / "data"
    with DatasetWriter(path, counted_header(), commit_seconds=1000) as writer:
        for sample in SAMPLES:
            writer.append(sample)
    return path / "shard-000000.arrow"


def flip(content, place, bit=0):
    flipped = bytearray(content)
    flipped[place] ^= 1 << bit
    return bytes(flipped)


def put(file, content):
    file.unlink()  # a mapped file must not change under its reader
    file.write_bytes(content)


def read_all(path):
    """How many episodes reading loses; each loss is an error that names the episode, the others are as written."""
    lost = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what was put right in memory
        dataset = EpisodeDataset(path)
        assert len(dataset) == len(SAMPLES)
        for episode, sample in enumerate(SAMPLES):
            try:
                assert same(dataset[episode], sample)
            except UserError:
                lost += 1
                with pytest.raises(UserError, match=rf"episode {episode} \(.*\) is damaged"):
                    dataset[episode]
        for name in ("task", "instruction", "seed", "length", "success"):
            dataset.column(name)
    return lost


def test_the_parity_file_comes_back_as_it_went_in_and_refuses_damage():
    parity = parity_of(CONTENT)
    again = Parity.from_bytes(parity.to_bytes())
    assert again.to_bytes() == parity.to_bytes()
    assert again.restore(CONTENT) == CONTENT
    with pytest.raises(ValueError, match="wrong checksum"):
        Parity.from_bytes(flip(parity.to_bytes(), 100))


@pytest.mark.parametrize("length", [0, 1, PAGE - 1, PAGE, PAGE + 1, 5 * PAGE])
def test_files_of_any_size_have_a_parity(length):
    parity = parity_of(CONTENT[:length])
    assert parity.damage(CONTENT[:length]) == []
    assert parity.restore(CONTENT[:length]) == CONTENT[:length]


def test_a_sector_of_a_disk_is_restored_wherever_it_lies():
    parity, sector = parity_of(CONTENT), LEAST_GROUPS * PAGE
    for place in range(0, len(CONTENT) - sector, sector):
        damaged = CONTENT[:place] + bytes(sector) + CONTENT[place + sector :]
        assert parity.restore(damaged) == CONTENT
        assert parity.damage(damaged)[0][0] == place


def test_an_end_that_is_missing_or_too_much_is_restored():
    parity = parity_of(CONTENT)
    assert parity.restore(CONTENT[:-10]) == CONTENT
    assert parity.restore(CONTENT + b"more") == CONTENT
    assert parity.damage(CONTENT + b"more") == [(len(CONTENT), len(CONTENT) + 4)]


def test_more_damage_than_the_parity_tells_is_not_restored():
    parity = parity_of(CONTENT)
    assert parity.restore(flip(flip(CONTENT, 0), len(parity.groups) * PAGE)) is None


def regions(shard, values_step, others_step):
    """Places in every region of a shard: in the values of episodes, and in all else."""
    content = shard.read_bytes()
    values = {place for first, behind in value_ranges(content) for place in range(first, behind)}
    others = sorted(set(range(len(content))) - values)
    return sorted(values)[::values_step], others[::others_step]


def assert_a_bit_anywhere_costs_one_episode_at_most(shard, values, others):
    whole = shard.read_bytes()
    try:
        for place in (*values, *others):
            put(shard, flip(whole, place, place % 8))
            problems = check(shard.parent)
            assert problems, place
            assert all("restores it bit for bit" in problem for problem in problems)
            lost = read_all(shard.parent)
            assert lost <= (1 if place in values else 0), place
            assert lost == sum("is damaged: wrong checksum" in problem for problem in problems)
            assert lost == len(problems) or "no episode is lost" in problems[0]
    finally:
        put(shard, whole)


def test_a_bit_flipped_anywhere_is_found_and_costs_at_most_the_episode_whose_value_it_is(shard):
    values, others = regions(shard, 11, 79)
    assert len(values) > 30
    assert len(others) > 60
    assert_a_bit_anywhere_costs_one_episode_at_most(shard, values, others)


@pytest.mark.slow
def test_a_bit_flipped_at_any_byte_is_found_and_costs_at_most_the_episode_whose_value_it_is(shard):
    assert_a_bit_anywhere_costs_one_episode_at_most(shard, *regions(shard, 1, 1))


@pytest.mark.parametrize("place", [10, 3000, -300, -1])
def test_repair_restores_a_flipped_bit_bit_for_bit(shard, place):
    before = shard.read_bytes()
    put(shard, flip(before, place % len(before)))
    assert repair(shard.parent) == [f"{shard}: restored bit for bit; no episode is lost"]
    assert shard.read_bytes() == before
    assert check(shard.parent) == []


def test_what_all_episodes_share_is_put_right_in_memory_with_a_warning(shard):
    before = shard.read_bytes()
    put(shard, flip(before, len(before) - 1))  # of the magic at the end
    with pytest.warns(UserWarning, match="its structure is damaged and was put right in memory"):
        dataset = EpisodeDataset(shard.parent)
    assert all(same(stored, sample) for stored, sample in zip(dataset, SAMPLES, strict=True))
    put(shard, before)


def test_a_damaged_parity_costs_nothing_and_is_made_again(shard):
    parity = shard.with_suffix(".parity")
    before = parity.read_bytes()
    for content in (flip(before, 50), b"", parity_of(b"other bytes").to_bytes()):
        parity.write_bytes(content)
        (problem,) = check(shard.parent)
        assert "no episode is lost" in problem
        assert read_all(shard.parent) == 0
        assert "no episode is lost" in repair(shard.parent)[0]
        assert parity.read_bytes() == before


def test_damage_beyond_the_parity_keeps_the_longest_good_prefix(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (31, 8, 8, 3), np.uint8)  # which zstd cannot make smaller
    with DatasetWriter(tmp_path, counted_header(), commit_seconds=1000) as writer:
        for seed in range(3):
            writer.append(counted_sample(seed, steps=30, frames=frames))
    file = tmp_path / "shard-000000.arrow"
    content = file.read_bytes()
    first, behind = max(value_ranges(content), key=lambda places: places[1] - places[0])
    middle = (first + behind) // 2
    put(file, flip(flip(content, middle), middle + LEAST_GROUPS * PAGE))  # two pages of one group
    assert all("--repair" not in problem for problem in check(tmp_path))
    assert "episodes 1 to 2 (seeds 1, 2) are lost: episode 1 is damaged" in repair(tmp_path)[0]
    assert check(tmp_path) == []
    assert EpisodeDataset(tmp_path).column("seed") == [0]
