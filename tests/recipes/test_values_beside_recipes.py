"""Values that are given beside a recipe, as options or arguments, are checked as its own are."""

import pytest
from refusals import refusal

from agentgym.recipes import BudgetRecipe, EvaluationRecipe, with_values


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 1e300])
def test_a_budget_that_is_given_beside_a_recipe_is_checked_as_one_in_it(seconds):
    line = refusal(with_values, BudgetRecipe(), {"seconds": seconds, "steps": None}, prefix="expert_")
    assert line.startswith(f"expert_seconds: found {seconds}; ")
    assert with_values(BudgetRecipe(steps=3), {"seconds": 2.0}) == BudgetRecipe(seconds=2.0, steps=3)


@pytest.mark.parametrize("changes", [{"episodes": 10**12}, {"first_seed": 2**63}, {"environments": 0}, {"vector": "x"}])
def test_so_are_the_numbers_of_an_evaluation(changes):
    [(name, value)] = changes.items()
    assert refusal(with_values, EvaluationRecipe(), changes).startswith(f"{name}: found {value!r}; ")
