"""The test of paired differences: calibrated under no difference, consistent with its interval, powerful enough."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from agentgym.evaluation import paired_test
from agentgym.evaluation.paired_test import LEVEL, MIN_PAIRS, paired_interval


def refused(*tasks):
    interval = paired_interval([np.asarray(task, float) for task in tasks])
    return interval is not None and (interval[0] > 0 or interval[1] < 0)


def two_alike(kind, generator, pairs):
    """The differences of two policies that play alike."""
    a, b = {
        "solved or not": lambda: generator.random((2, pairs)) < 0.7,
        "nearly always solved": lambda: generator.random((2, pairs)) < 0.97,
        "of solved levels by their length": lambda: (generator.random((2, pairs)) < 0.8) * generator.random((2, pairs)),
        "with heavy tails": lambda: generator.lognormal(sigma=2, size=(2, pairs)),
    }[kind]()
    return a.astype(float) - b.astype(float)


@pytest.mark.parametrize("pairs", [9, 10, 14, 50])
@pytest.mark.parametrize(
    "kind", ["solved or not", "nearly always solved", "of solved levels by their length", "with heavy tails"]
)
def test_policies_that_play_alike_are_called_different_in_at_most_one_case_of_twenty(kind, pairs):
    generator = np.random.default_rng(pairs)
    worlds = 200 if pairs <= 11 else 50
    found = sum(refused(two_alike(kind, generator, pairs)) for _ in range(worlds))
    assert found <= stats.binom(worlds, LEVEL).ppf(0.999)  # as many as chance may make of a rate of 5 %


def refused_each(differences):
    """Of rows of differences, whether each is called beyond chance: as `paired_interval`, of all rows at once."""
    pairs, total = differences.shape[1], differences.sum(axis=1)
    if pairs < MIN_PAIRS:
        return np.zeros(len(differences), bool)
    above = below = flips = 0
    for turned in paired_test._flips(pairs, np.random.default_rng(0)):
        moved = np.round(turned @ differences.T, 9)
        kept = np.round(total - moved, 9)
        mixed = (turned.all(axis=1) | ~turned.any(axis=1))[:, None]
        above = above + (mixed | (moved <= 0) | (kept <= 0)).sum(axis=0)
        below = below + (mixed | (moved >= 0) | (kept >= 0)).sum(axis=0)
        flips += len(turned)
    sampled = pairs > paired_test.ENUMERATED
    most = int(LEVEL * flips) - sampled * int(paired_test.MARGIN * (flips * LEVEL * (1 - LEVEL)) ** 0.5)
    found = np.minimum(above, below) <= most
    assert found[0] == refused(differences[0])
    return found


def largest_chance(pairs):
    """A row of successes for each number of levels that only one of two policies solves: shared between them as
    unequally as chance does in more than one case of twenty."""
    for discordant in range(1, pairs + 1):
        coin = stats.binom(discordant, 0.5)
        wins = max(k for k in range(discordant + 1) if k * 2 >= discordant and 2 * coin.sf(k - 1) > LEVEL)
        yield [1.0] * wins + [-1.0] * (discordant - wins) + [0.0] * (pairs - discordant)


@pytest.mark.parametrize("pairs", range(1, 51))
def test_for_every_number_of_pairs_what_chance_does_in_more_than_one_case_of_twenty_is_not_beyond_it(pairs):
    assert not refused_each(np.array(list(largest_chance(pairs)))).any()


@pytest.mark.slow
@pytest.mark.parametrize("pairs", range(1, 51))
def test_for_every_number_of_pairs_returns_that_are_alike_are_called_different_in_at_most_one_case_of_twenty(pairs):
    generator = np.random.default_rng(pairs)
    for kind in ("of solved levels by their length", "with heavy tails"):
        worlds = np.array([two_alike(kind, generator, pairs) for _ in range(1000)])
        assert refused_each(worlds).sum() <= stats.binom(1000, LEVEL).ppf(0.999)


def test_so_it_is_over_several_tasks_with_different_numbers_of_pairs():
    generator = np.random.default_rng(0)
    found = sum(
        refused(*(two_alike("of solved levels by their length", generator, pairs) for pairs in (1, 4, 6)))
        for _ in range(400)
    )
    assert found <= stats.binom(400, LEVEL).ppf(0.999)


@pytest.mark.parametrize("pairs", range(1, MIN_PAIRS))
def test_under_ten_pairs_there_is_no_interval(pairs):
    assert paired_interval([np.ones(pairs)]) is None


def test_the_interval_is_the_shifts_that_flipping_signs_does_not_refuse():
    differences = np.random.default_rng(1).normal(0.4, 1, 10)
    signs = np.array(list(product((-1, 1), repeat=10)))

    def p_value(shift):
        means = (signs * (differences - shift)).mean(axis=1)
        return float((abs(means) >= abs((differences - shift).mean()) - 1e-12).mean())

    low, high = paired_interval([differences])
    for inside, outside in ((low + 1e-6, low - 1e-6), (high - 1e-6, high + 1e-6)):
        assert p_value(inside) > LEVEL >= p_value(outside)


def test_many_pairs_give_the_interval_of_students_t():
    differences = np.random.default_rng(2).normal(0.1, 1, 400)
    expected = stats.ttest_1samp(differences, 0).confidence_interval()
    assert paired_interval([differences]) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_every_task_weighs_the_same_however_many_pairs_it_has():
    one, many = np.full(1, 1.0), np.random.default_rng(3).normal(0, 0.1, 400)
    assert not refused(one, many)  # half of the mean is a single pair, whose sign is a coin
    assert refused(np.full(10, 1.0), many)
    generator = np.random.default_rng(4)
    few, many = generator.normal(1, 0.1, 20), generator.normal(0, 0.1, 400)
    low, high = paired_interval([few, many])
    assert low < 0.5 < high


def test_a_difference_that_is_there_is_found():
    generator = np.random.default_rng(5)
    solved = [(generator.random(200) < rate).astype(float) for rate in (0.9, 0.6)]
    assert refused(solved[0] - solved[1])


def test_nothing_but_ties_is_no_difference():
    assert paired_interval([np.zeros(50)]) == (0.0, 0.0)
    assert not refused(np.zeros(50))
