"""How the windows of an update are cut into batches."""

import numpy as np
import pytest

from agentgym.training.batches import cut_by_length


@pytest.mark.parametrize(
    ("steps", "batches", "unit", "cuts"),
    [
        ([1, 1, 1, 1, 1, 1, 8, 8], 2, 1, [0, 6, 8]),  # 22 steps; in halves 36
        ([1, 1, 1, 1, 1, 1, 1, 8], 2, 2, [0, 6, 8]),
        ([1, 1, 1, 2, 2, 9, 9, 9, 9], 3, 1, [0, 5, 6, 9]),  # not [0, 3, 5, 9]: 36 at once are more than 3 times 9
        ([8] * 6, 3, 1, [0, 2, 4, 6]),
        ([3, 4, 5, 6], 1, 2, [0, 4]),
        ([1, 2, 3, 4], 4, 1, [0, 1, 2, 3, 4]),
    ],
)
def test_an_update_is_cut_where_the_fewest_steps_are_padded(steps, batches, unit, cuts):
    assert cut_by_length(np.array(steps), batches, unit).tolist() == cuts


@pytest.mark.parametrize("seed", range(5))
def test_no_cut_costs_more_than_equal_batches_in_all_or_at_once(seed):
    batches, size = 4, 12
    steps = np.sort(np.random.default_rng(seed).integers(1, 25, batches * size))
    cuts = cut_by_length(steps, batches, unit=3)
    sizes = np.diff(cuts)
    costs, equal = sizes * steps[cuts[1:] - 1], size * steps[size - 1 :: size]
    assert sizes.sum() == len(steps)
    assert not (sizes % 3).any()
    assert costs.sum() <= equal.sum()
    assert costs.max() <= size * steps[-1]
