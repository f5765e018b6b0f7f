"""Windows as batches: every action is a target once an epoch, and the order and the split are functions."""

import zlib
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from counted import counted_episode, counted_header
from refusals import refusal

from agentgym.data.store import DatasetWriter, EpisodeDataset
from agentgym.model.tokenizer import PAD
from agentgym.recipes import with_later_keys
from agentgym.recipes.experiments import TrainingRecipe
from agentgym.spaces import SpaceCodec
from agentgym.training import order as drawing
from agentgym.training.order import mixed_order, order, quotas
from agentgym.training.windows import WindowSource, prefetch, split_episodes

LENGTHS = (3, 1, 5, 4)
EPISODES = [counted_episode(seed, steps=steps) for seed, steps in enumerate(LENGTHS)]


def tokenize(text):
    """A start token, then one token for each step that the instruction speaks of."""
    return np.array([2] + [9] * int(text.split()[-1]))


@pytest.fixture
def dataset(tmp_path):
    with DatasetWriter(tmp_path, counted_header()) as writer:
        for episode in EPISODES:
            writer.append(episode)
    return EpisodeDataset(tmp_path)


def source_of(dataset, episodes=(0, 1, 2, 3), window=2, **keywords):
    return WindowSource(dataset, np.array(episodes), window=window, tokenize=tokenize, patches_per_frame=4, **keywords)


@pytest.mark.parametrize("window", [1, 2, 3, 100])
def test_every_action_is_a_target_exactly_once_an_epoch(dataset, window):
    source = source_of(dataset, window=window)
    targets = []
    for index in order(len(source), 0, 0, len(source)):
        batch = source.batch(np.array([index]))
        steps = batch.frames[0, batch.step_mask[0] & ~batch.context_mask[0], 0, 0, 0].tolist()
        targets += [(batch.episodes[0], step) for step in steps]
    expected = [(episode, 10 * episode + step) for episode, steps in enumerate(LENGTHS) for step in range(steps)]
    assert sorted(targets) == expected


def test_a_batch_holds_the_frames_and_actions_of_its_windows(dataset):
    source = source_of(dataset, window=3)
    batch = source.batch(np.arange(len(source)))
    for row, (episode, start, stop) in enumerate(source.table.tolist()):
        steps = stop - start
        assert batch.episodes[row] == episode
        assert np.array_equal(batch.frames[row, :steps].numpy(), EPISODES[episode].frames[start:stop])
        assert batch.actions[row, :steps, 0].tolist() == EPISODES[episode].actions[start:stop].tolist()
        number = batch.instruction_of[row]
        words = batch.instruction[number][batch.instruction_mask[number].bool()].tolist()
        assert words == tokenize(EPISODES[episode].instruction).tolist()


def test_a_batch_holds_each_instruction_once(dataset):
    source = source_of(dataset, window=3)
    batch = source.batch(np.arange(len(source)))
    assert len(batch.instruction) == len({EPISODES[episode].instruction for episode in batch.episodes})
    assert len(batch.instruction_of) == len(source) > len(batch.instruction)


def test_labels_are_the_targets_and_the_executed_actions_stay_in_the_history(tmp_path):
    with DatasetWriter(tmp_path, counted_header()) as writer:
        writer.append(counted_episode(0, steps=4, labels=np.array([2, 2, 1, 0])))
        writer.append(counted_episode(1, steps=2))  # no labels
    source = source_of(EpisodeDataset(tmp_path), episodes=(0, 1), window=4)
    batch = source.batch(np.arange(2))
    assert batch.actions[..., 0].tolist() == [[0, 1, 2, 0], [0, 1, 0, 0]]
    assert batch.targets[..., 0].tolist() == [[2, 2, 1, 0], [0, 1, 0, 0]]
    assert batch.step_mask.tolist() == [[True] * 4, [True, True, False, False]]


def test_actions_of_different_lengths_are_padded_and_labels_that_differ_are_read_beside_them(tmp_path):
    space = SpaceCodec.of(gymnasium.spaces.MultiBinary(3), ["a", "b", "c"])
    pressed = np.array([[1, 0, 1], [0, 0, 0]], np.int8)
    with DatasetWriter(tmp_path, counted_header(space=space)) as writer:
        writer.append(counted_episode(0, steps=2, actions=pressed, labels=np.ones((2, 3), np.int8)))
    batch = source_of(EpisodeDataset(tmp_path), episodes=(0,)).batch(np.arange(1))
    start, end = 3, 4
    assert batch.actions.tolist() == [[[start, 0, 2, end, 0], [start, end, 0, 0, 0]]]
    assert batch.action_mask.tolist() == [[[True] * 4 + [False], [True] * 2 + [False] * 3]]
    assert batch.targets.tolist() == [[[start, 0, 1, 2, end]] * 2]
    assert batch.target_mask.all()
    assert torch.equal(batch.labels, batch.targets)  # token i follows the label's own, not the executed action's


def test_a_box_has_a_token_a_dimension_and_no_mask(tmp_path):
    space = SpaceCodec.of(gymnasium.spaces.Box(-1, 1, (2,)), bins=4)
    with DatasetWriter(tmp_path, counted_header(space=space)) as writer:
        writer.append(counted_episode(0, steps=2, actions=np.array([[-1, 1], [0.1, -0.1]], np.float32)))
    batch = source_of(EpisodeDataset(tmp_path), episodes=(0,)).batch(np.arange(1))
    assert batch.actions.tolist() == [[[0, 7], [2, 5]]]
    assert batch.action_mask is None


def test_padding_is_marked_and_only_padding_is(dataset):
    source = source_of(dataset, window=3)
    batch = source.batch(np.arange(len(source)))
    lengths = torch.from_numpy(source.table[:, 2] - source.table[:, 1])
    assert batch.step_mask.tolist() == [[step < length for step in range(3)] for length in lengths]
    assert not batch.frames[~batch.step_mask].any()
    assert not batch.actions[~batch.step_mask].any()
    assert torch.equal(batch.instruction == PAD, batch.instruction_mask == 0)


def test_a_batch_is_as_long_as_its_longest_window(dataset):
    source = source_of(dataset, window=3)
    short = np.flatnonzero(source.table[:, 2] - source.table[:, 1] == 1)
    assert source.batch(short).frames.shape == (len(short), 1, 8, 8, 3)


def test_only_the_episodes_that_were_asked_for_are_in_it(dataset):
    source = source_of(dataset, episodes=(1, 3), window=2)
    assert set(source.batch(np.arange(len(source))).episodes) == {1, 3}
    assert len(source) == 1 + 2


def test_each_part_of_a_large_mixture_is_shuffled_once_an_epoch():
    drawing._permutation.cache_clear()
    sizes = range(1000, 1020)
    for first in range(0, 600, 200):
        mixed_order(sizes, [1.0] * len(sizes), 0, first, 200)
    assert drawing._permutation.cache_info().misses == len(sizes)


def test_the_order_is_one_permutation_an_epoch():
    for epoch in range(3):
        assert sorted(order(7, 5, 7 * epoch, 7)) == list(range(7))
    epochs = order(7, 5, 0, 21).reshape(3, 7).tolist()
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_order_is_a_function_of_the_seed():
    assert np.array_equal(order(50, 1, 0, 200), order(50, 1, 0, 200))
    assert not np.array_equal(order(50, 1, 0, 50), order(50, 2, 0, 50))


def test_the_order_continues_wherever_it_was_left():
    whole = order(7, 3, 0, 40)
    for left in (0, 1, 6, 7, 8, 23):
        assert np.array_equal(np.concatenate([order(7, 3, 0, left), order(7, 3, left, 40 - left)]), whole)


def test_a_mixture_draws_each_part_by_its_weight_and_in_its_own_order():
    sizes, weights = (7, 5, 11), (1.0, 3.0, 0.5)
    chosen = mixed_order(sizes, weights, 4, 0, 9000)
    part = np.searchsorted(np.cumsum(sizes), chosen, side="right")
    for round_ in part.reshape(9, 1000):
        assert np.bincount(round_).tolist() == [222, 667, 111]  # 1 : 3 : 0.5 of a thousand
    for number, start in enumerate((0, 7, 12)):
        own = chosen[part == number] - start
        assert np.array_equal(own, order(sizes[number], 4, 0, len(own)))  # so every window once an epoch of the part


def test_a_mixture_continues_wherever_it_was_left():
    whole = mixed_order((7, 5), (2.0, 1.0), 3, 0, 3100)
    for left in (0, 1, 999, 1000, 1001, 2500):
        rest = mixed_order((7, 5), (2.0, 1.0), 3, left, 3100 - left)
        assert np.array_equal(np.concatenate([mixed_order((7, 5), (2.0, 1.0), 3, 0, left), rest]), whole)


def test_a_mixture_of_one_is_the_plain_order():
    assert np.array_equal(mixed_order((7,), (0.3,), 3, 5, 40), order(7, 3, 5, 40))


@pytest.mark.parametrize(
    ("weights", "expected"), [((1, 1, 1), [334, 333, 333]), ((0.1, 0.9), [100, 900]), ((5, 5), [500, 500])]
)
def test_the_places_of_a_round_are_shared_out_by_weight(weights, expected):
    assert quotas(weights).tolist() == expected


def test_a_weight_too_small_to_be_drawn_is_refused():
    assert "mixture.1: weight 0.0001 is under a thousandth" in refusal(quotas, (1.0, 0.0001))


def test_unlike_datasets_are_not_joined(dataset, tmp_path):
    with DatasetWriter(tmp_path / "other", counted_header(space=SpaceCodec.discrete(("a", "b")))) as writer:
        writer.append(counted_episode(9, steps=2))
    assert "its actions is not that of" in refusal(EpisodeDataset.join, [dataset, EpisodeDataset(tmp_path / "other")])


def columns(tasks, seeds):
    return SimpleNamespace(column=lambda name: {"task": tasks, "seed": seeds}[name])


def test_every_episode_is_either_trained_on_or_held_out_in_about_the_share_asked_for():
    seeds = list(range(4000))
    trained, held_out = split_episodes(columns(["a"] * 4000, seeds), 0.1)
    assert sorted([*trained, *held_out]) == seeds
    assert len(held_out) / 4000 == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("task", ["BabyAI-GoToRedBall-v0", "BabyAI-GoToLocal-v0", "ALE/Pong-v5"])
def test_a_thousand_seeds_in_a_row_are_held_out_in_the_share_asked_for(task):
    data = columns([task] * 1000, list(range(1_000_000, 1_001_000)))
    assert 70 <= len(split_episodes(data, 0.1)[1]) <= 130  # three standard deviations


def test_a_run_of_an_older_version_keeps_the_episodes_that_it_held_out():
    data = columns(["a"] * 1000, list(range(1000)))
    expected = [seed for seed in range(1000) if zlib.crc32(f"a:{seed}".encode()) / 2**32 < 0.1]
    assert split_episodes(data, 0.1, "crc32")[1].tolist() == expected
    assert with_later_keys({"training": {"updates": 1}})["training"]["held_out_hash"] == "crc32"
    assert TrainingRecipe(updates=1).held_out_hash == "blake2b"


def test_whether_an_episode_is_held_out_does_not_depend_on_other_episodes():
    seeds = np.arange(1000)
    held_out = set(seeds[split_episodes(columns(["a"] * 1000, seeds.tolist()), 0.1)[1]])
    some = np.random.default_rng(0).permutation(seeds)[:300]
    held_out_of_some = set(some[split_episodes(columns(["a"] * 300, some.tolist()), 0.1)[1]])
    assert held_out_of_some == held_out & set(some)


def test_a_larger_share_holds_out_what_a_smaller_one_did():
    data = columns(["a"] * 500, list(range(500)))
    assert set(split_episodes(data, 0.05)[1]) < set(split_episodes(data, 0.2)[1])
    assert len(split_episodes(data, 0.0)[1]) == 0


def test_prefetching_changes_neither_the_values_nor_their_order():
    assert list(prefetch(lambda number: number**2, range(3, 50))) == [number**2 for number in range(3, 50)]


def test_an_error_in_a_prefetched_batch_is_raised_where_it_is_used():
    def make(number):
        if number == 2:
            raise OSError("the disk is gone")
        return number

    batches = prefetch(make, range(5))
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


def test_prefetching_makes_no_more_than_it_may_and_stops_when_it_is_left():
    made = []
    batches = prefetch(lambda number: made.append(number) or number, range(1000), depth=2)
    next(batches)
    batches.close()
    assert len(made) <= 5
