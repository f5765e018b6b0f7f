"""What an episode of an expert may cost: seconds of a core, by the task."""

import time

import pytest

from agentgym.environments import make
from agentgym.experts.budget import OutOfTime, seconds_for, time_limit
from agentgym.recipes import BudgetRecipe


def use_a_core(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_time_limit_ends_its_block_and_is_gone_after_it():
    with pytest.raises(OutOfTime), time_limit(0.05):
        use_a_core(10)
    with time_limit(0.05):
        pass
    use_a_core(0.1)


def test_a_time_limit_counts_the_time_of_a_core_and_not_the_clocks():
    with time_limit(0.2):
        time.sleep(0.4)


def test_a_budget_fits_the_task_where_the_recipe_leaves_it_out():
    usual = BudgetRecipe()
    tasks = ("BabyAI-GoToRedBall-v0", "MinAtar/Breakout-v1", "ALE/Breakout-v5")
    assert [seconds_for(usual, make(task)) for task in tasks] == [20.0, 250.0, 2700.0]
    assert seconds_for(BudgetRecipe(seconds=0.5), make("ALE/Pong-v5")) == 0.5
