"""Scores against numbers worked out elsewhere."""

import numpy as np
import pytest

from agentgym.scores import bootstrap_interval, score, wilson_interval


def test_wilsons_interval_is_the_published_one():
    # 8 of 10: (p + z²/2n ± z sqrt(p(1−p)/n + z²/4n²)) / (1 + z²/n) with z = 1.959964
    assert wilson_interval(8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-5)
    assert wilson_interval(500, 500)[0] == pytest.approx(1 / (1 + 1.959964**2 / 500), abs=1e-6)


def test_the_bootstrap_interval_is_seeded_and_near_the_normal_one():
    values = np.random.default_rng(0).normal(2.0, 1.0, 400)
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values)
    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_a_constant_return_is_its_own_interval():
    assert bootstrap_interval(np.full(7, 0.25)) == (0.25, 0.25)


def test_scores_are_means_over_episodes():
    found = score([True, False, True, True], [1.0, 0.0, 0.5, 0.5], [3, 64, 5, 8])
    assert found["success_rate"] == 0.75
    assert found["return_mean"] == 0.5
    assert found["length_mean"] == 20
    assert found["episodes"] == 4
    assert found["success_ci95"] == wilson_interval(3, 4)


def test_no_episodes_have_no_score():
    with pytest.raises(ValueError, match="no episodes"):
        score([], [], [])
