"""The test of paired differences: calibrated under no difference, consistent with its interval, powerful enough."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

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


@pytest.mark.parametrize("pairs", [1, 2, 3, 5, 9, 10, 11, 14, 50])
@pytest.mark.parametrize(
    "kind", ["solved or not", "nearly always solved", "of solved levels by their length", "with heavy tails"]
)
def test_policies_that_play_alike_are_called_different_in_at_most_one_case_of_twenty(kind, pairs):
    generator = np.random.default_rng(pairs)
    worlds = 400 if pairs <= 11 else 100
    found = sum(refused(two_alike(kind, generator, pairs)) for _ in range(worlds))
    assert found <= stats.binom(worlds, LEVEL).ppf(0.999)  # as many as chance may make of a rate of 5 %


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
