"""Surveys: every episode is counted once, and what is known of an expert is said before anything is recorded."""

import json

import pytest
from worlds import TASK, refusal

from agentgym import collection, experts
from agentgym.collection import collect, make_header
from agentgym.experts import outcomes
from agentgym.recipes import BudgetRecipe, SuiteRecipe, TaskRecipe, load_dataset
from agentgym.survey import survey, write_survey

SUITE = SuiteRecipe(
    name="two", description="", tasks=[TaskRecipe(id="MiniGrid-Empty-5x5-v0"), TaskRecipe(id="MiniGrid-Playground-v0")]
)


class Slow:
    """Turns for ever."""

    def check(self, environment):
        pass

    def start(self, environment, seed):
        assert seed != 1, "not this one"

    def act(self, observation):
        return 0


@pytest.fixture
def slow(monkeypatch):
    monkeypatch.setitem(experts.EXPERTS, "slow", (Slow, "for tests"))


@pytest.fixture
def table(monkeypatch):
    """A shipped table in which the bot solved some of four episodes of the task."""

    def say(solved):
        found = {"episodes": 4, "tasks": [{"task": TASK, "solved": solved}]}
        monkeypatch.setattr(outcomes, "_table", lambda expert: found)

    return say


def test_a_survey_counts_outcomes_by_task_and_names_what_is_refused(tmp_path):
    found = survey("minigrid-planner", SUITE, seeds=range(3), budget=BudgetRecipe(), workers=1)
    assert found["tasks"] == [
        {
            "task": "MiniGrid-Empty-5x5-v0",
            "solved": 3,
            "failed": 0,
            "error": 0,
            "timeout": 0,
            "mean_steps": 5.0,
            "mean_return": 0.955,
            "reasons": {},
            "unsolved_seeds": [],
        }
    ]
    assert list(found["refused"]) == ["MiniGrid-Playground-v0"]
    page = write_survey(found, tmp_path)
    assert json.loads((tmp_path / "minigrid-planner.json").read_text()) == found
    assert "| MiniGrid-Empty-5x5-v0 | 3 | 0 | 0 | 0 | 5.0 | 0.955 |  |" in page.read_text()


def test_a_budget_of_steps_ends_an_episode_and_errors_are_counted_by_reason(slow):
    suite = SUITE.model_copy(update={"tasks": SUITE.tasks[:1]})
    (row,) = survey("slow", suite, seeds=range(3), budget=BudgetRecipe(steps=7), workers=1)["tasks"]
    assert (row["error"], row["timeout"], row["solved"]) == (1, 2, 0)
    assert row["reasons"] == {"no end after 7 steps": 2, "AssertionError: not this one": 1}
    assert row["unsolved_seeds"] == [0, 1, 2]


def test_a_recording_counts_what_ran_out_of_steps_as_timeout(slow, tmp_path):
    recipe = load_dataset("babyai-goto-redball", ["episodes=2", "first_seed=2", "expert=slow", "budget.steps=7"])
    assert collect(recipe, tmp_path / "data", workers=1)["timeout"] == 2


def test_an_expert_that_solved_nothing_of_a_task_is_refused_before_recording(table):
    recipe = load_dataset("babyai-goto-redball")
    table(solved=0)
    assert refusal(make_header, recipe) == (
        f"expert 'babyai-bot' cannot do {TASK}: it solved none of 4 episodes (datasets/experts/babyai-bot.md); "
        "take the task out of the suite or choose another expert"
    )


def test_an_expert_that_solves_less_than_half_of_a_task_is_doubted(table):
    recipe = load_dataset("babyai-goto-redball")
    table(solved=2)
    assert collection.doubts(recipe) == []
    table(solved=1)
    line = f"expert 'babyai-bot' solved only 1 of 4 episodes of {TASK} (datasets/experts/babyai-bot.md)"
    assert collection.doubts(recipe) == [line]
    make_header(recipe)
