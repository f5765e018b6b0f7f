"""Scores against numbers worked out elsewhere."""

import numpy as np
import pytest

from agentgym.evaluation.statistics import (
    bootstrap_interval,
    interquartile_mean,
    normalise,
    optimality_gap,
    over_tasks,
    performance_profile,
    score,
    who_is_one,
    wilson_interval,
)


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


def test_the_interval_of_the_return_covers_it_also_where_nearly_every_episode_succeeds():
    generator, true = np.random.default_rng(0), 0.99 * 0.9
    worlds, covered, by_bootstrap = 200, 0, 0
    for _ in range(worlds):
        solved = generator.random(50) < 0.99
        returns = solved * generator.uniform(0.85, 0.95, 50)
        low, high = score(solved, returns, [1] * 50)["return_ci95"]
        covered += low <= true <= high
        low, high = bootstrap_interval(returns)
        by_bootstrap += low <= true <= high
    assert by_bootstrap / worlds < 0.85
    assert covered / worlds >= 0.93


def test_where_no_rare_outcome_is_known_the_interval_of_the_return_is_the_bootstraps():
    returns = np.random.default_rng(1).normal(-20, 5, 60)
    nothing = np.zeros(60, bool)
    assert score(nothing, returns, [1] * 60)["return_ci95"] == bootstrap_interval(returns)
    assert score(nothing, np.full(60, 3.0), [1] * 60)["return_ci95"] == (3.0, 3.0)


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


def test_a_normalised_score_is_0_for_random_and_1_for_the_expert():
    assert normalise([0.2, 0.9, 0.55, 1.25], random=0.2, expert=0.9) == pytest.approx([0, 1, 0.5, 1.5])
    assert normalise([0.2], random=0.2, expert=0.2) is None


def test_the_scores_over_tasks_are_those_worked_out_by_hand():
    eight = np.array([[0.0, 0.1, 0.4, 0.5, 0.6, 0.7, 1.0, 1.3]])
    assert interquartile_mean(eight) == pytest.approx([(0.4 + 0.5 + 0.6 + 0.7) / 4])
    assert optimality_gap(eight) == pytest.approx([1 - (0.1 + 0.4 + 0.5 + 0.6 + 0.7 + 1.0 + 1.0) / 8])
    found = over_tasks([np.array([score, score]) for score in eight[0]])
    assert found["tasks"] == 8
    assert found["mean"] == pytest.approx(4.6 / 8)
    assert found["iqm"] == pytest.approx(0.55)
    assert found["iqm_ci95"] == pytest.approx((0.55, 0.55))  # constant within each task: nothing to draw


def test_the_stratified_bootstrap_draws_within_tasks_and_is_seeded():
    generator = np.random.default_rng(1)
    tasks = [generator.normal(level, 1.0, 200) for level in (0.0, 10.0)]
    found = over_tasks(tasks)
    assert found == over_tasks(tasks)
    half = 1.96 * np.sqrt(sum(task.var() / 200 for task in tasks)) / 2  # drawn across tasks it would be ten times wider
    middle = (tasks[0].mean() + tasks[1].mean()) / 2
    assert found["mean_ci95"] == pytest.approx((middle - half, middle + half), abs=0.02)


def test_the_profile_is_the_share_of_episodes_above_each_threshold_tasks_weighing_the_same():
    profile = performance_profile([np.array([0.5, 1.1]), np.array([0.1, 0.1, 0.1, 0.7])])
    above = dict(zip(profile["thresholds"], profile["shares"], strict=True))
    assert above[0.0] == 1.0
    assert above[0.2] == pytest.approx((1.0 + 0.25) / 2)
    assert above[0.5] == pytest.approx((0.5 + 0.25) / 2)
    assert above[1.0] == pytest.approx((0.5 + 0.0) / 2)
    assert above[1.2] == 0.0


def test_a_scale_says_who_scores_1():
    bot = {"normalised": 0.5, "published": {"random": 0.0, "expert": 1.0}}
    human = {"normalised": 0.5, "published": {"random": 0.0, "human": 1.0}}
    without = {"normalised": None, "published": None}
    assert who_is_one([bot, without]) == "expert"
    assert who_is_one([human, human]) == "human"
    assert who_is_one([bot, human, without]) == "expert (in 1 of 2 tasks a human)"
