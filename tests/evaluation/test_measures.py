"""What a curve speaks of: success where its tasks say what that is, else return."""

import pytest

from agentgym.evaluation.measures import RETURN, SUCCESS, measure_of, score
from agentgym.evaluation.results import RolloutResult
from agentgym.recipes import TaskRecipe

LEVEL, GAME, OTHER = (TaskRecipe(id=name) for name in ("BabyAI-GoToObj-v0", "MinAtar/Breakout-v1", "CartPole-v1"))
JUDGED = TaskRecipe(id="CartPole-v1", success_return=100.0)


@pytest.mark.parametrize(
    ("tasks", "rates", "measure"),
    [
        ([LEVEL], [0.0], SUCCESS),
        ([GAME], [0.0], RETURN),
        ([OTHER], [0.0, 0.0], RETURN),  # it may say what success is, and has not
        ([OTHER], [0.0, 0.1], SUCCESS),
        ([JUDGED], [0.0], SUCCESS),
        ([LEVEL, GAME], [0.5], RETURN),
        ([LEVEL, JUDGED], [0.0], SUCCESS),
    ],
)
def test_success_is_spoken_of_where_every_task_says_what_it_is(tasks, rates, measure):
    assert measure_of(tasks, rates) is measure


def test_a_point_has_both_scores_and_each_measure_says_its_own():
    played = [RolloutResult("Room-v0", seed, "", seed == 0, 20.0 * (seed == 0), 1, (0,)) for seed in range(2)]
    point = score(played)
    assert (point["levels"], point["success_rate"], point["mean_return"]) == (2, 0.5, 10.0)
    assert SUCCESS.said(point) == "success 50.0%"
    assert RETURN.said(point) == "return 10.00"
    assert SUCCESS.cell(point) == "50.0% [9.5%, 90.5%]"
    assert SUCCESS.gain({"success_rate": 0.25}, point) == "+25.0"
    assert RETURN.gain({"mean_return": 12.5}, point) == "-2.500"


def test_an_old_point_has_no_interval():
    assert SUCCESS.cell({"success_rate": 0.5}) == "50.0%"
