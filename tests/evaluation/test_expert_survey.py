"""Surveys: every episode is counted once, and what is known of an expert is said before anything is recorded."""

import json
import math

import pytest
from refusals import refusal
from tiny import TASK

from agentgym import experts
from agentgym.evaluation import expert_survey as surveying
from agentgym.evaluation.expert_survey import survey, write_survey
from agentgym.evaluation.expert_survey_log import Played, SurveyLog
from agentgym.experts import collection, outcomes
from agentgym.experts.collection import collect, make_headers
from agentgym.recipes import BudgetRecipe, SuiteRecipe, TaskRecipe, load_dataset
from agentgym.report.result_files import write_result_files

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
    found = survey("minigrid-planner", SUITE, seeds=range(3), budget=BudgetRecipe(), to=tmp_path, workers=1)
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


def test_a_budget_of_steps_ends_an_episode_and_errors_are_counted_by_reason(slow, tmp_path):
    suite = SUITE.model_copy(update={"tasks": SUITE.tasks[:1]})
    (row,) = survey("slow", suite, seeds=range(3), budget=BudgetRecipe(steps=7), to=tmp_path, workers=1)["tasks"]
    assert (row["error"], row["timeout"], row["solved"]) == (1, 2, 0)
    assert row["reasons"] == {"no end after 7 steps": 2, "AssertionError: not this one": 1}
    assert row["unsolved_seeds"] == [0, 1, 2]


def cut(path, *, after):
    """A survey of six episodes that is cut short once so many of them have ended."""

    def interrupt(count, note):
        interrupt.left -= bool(note)
        if not interrupt.left:
            raise KeyboardInterrupt

    interrupt.left = after
    with pytest.raises(KeyboardInterrupt):
        survey(
            "minigrid-planner", SUITE, seeds=range(6), budget=BudgetRecipe(), to=path, workers=1, on_progress=interrupt
        )


@pytest.fixture
def played(monkeypatch):
    """The seeds that were played, in their order."""
    seeds, play = [], surveying._play
    monkeypatch.setattr(surveying, "_play", lambda *job: (seeds.append(job[3]), play(*job))[1])
    return seeds


def whole(path, **terms):
    values = {"seeds": range(6), "budget": BudgetRecipe(), "to": path, "workers": 1} | terms
    found = survey("minigrid-planner", SUITE, **values)
    return {key: value for key, value in found.items() if key != "seconds"}


def test_a_survey_that_was_cut_continues_and_plays_no_seed_twice(tmp_path, played):
    cut(tmp_path, after=2)
    cut(tmp_path, after=1)
    logger = tmp_path / "minigrid-planner.jsonl"
    with logger.open("a") as stream:
        stream.write('{"task": "MiniGr')  # a line that a crash cut short
    found = whole(tmp_path)
    assert sorted(played) == list(range(6))
    assert found == whole(tmp_path / "uncut")
    write_survey(found | {"seconds": 1.0}, tmp_path)
    assert sorted(file.name for file in tmp_path.glob("minigrid*")) == ["minigrid-planner.json", "minigrid-planner.md"]


def test_an_unfinished_survey_of_other_terms_is_left_as_it_is(tmp_path):
    cut(tmp_path, after=2)
    before = (tmp_path / "minigrid-planner.jsonl").read_bytes()
    line = refusal(whole, tmp_path, budget=BudgetRecipe(seconds=5.0))
    assert "holds the episodes of another survey (budget.seconds: None -> 5.0)" in line
    assert (tmp_path / "minigrid-planner.jsonl").read_bytes() == before


def test_two_surveys_do_not_write_one_file(tmp_path):
    with SurveyLog(tmp_path / "minigrid-planner.jsonl", {}):
        assert "another survey is writing it" in refusal(whole, tmp_path)


def test_a_zip_is_not_loaded_unless_it_is_trusted(tmp_path):
    line = refusal(survey, "sb3:any.zip", SUITE, seeds=range(1), budget=BudgetRecipe(), to=tmp_path)
    assert "give --trust" in line


def test_a_recording_counts_what_ran_out_of_steps_as_timeout(slow, tmp_path):
    recipe = load_dataset("babyai-goto-redball", ["episodes=2", "first_seed=2", "expert=slow", "budget.steps=7"])
    assert collect(recipe, tmp_path / "data", workers=1)["timeout"] == 2


def test_an_expert_that_solved_nothing_of_a_task_is_refused_before_recording(table):
    recipe = load_dataset("babyai-goto-redball")
    table(solved=0)
    assert refusal(make_headers, recipe) == (
        f"expert 'babyai-bot' cannot do {TASK}: it solved none of 4 episodes (datasets/experts/babyai-bot.md); "
        "take the task out of the suite or choose another expert"
    )


def test_an_expert_that_solves_less_than_half_of_a_task_is_doubted(table):
    recipe = load_dataset("babyai-goto-redball")
    table(solved=2)
    assert collection.warnings_about(recipe) == []
    table(solved=1)
    line = f"expert 'babyai-bot' solved only 1 of 4 episodes of {TASK} (datasets/experts/babyai-bot.md)"
    assert collection.warnings_about(recipe) == [line]
    make_headers(recipe)


def test_a_return_that_is_not_finite_is_kept_and_no_reader_of_json_stumbles_over_it(tmp_path):
    played = Played("t", 0, "failed", math.nan, 1, None, 0.1)
    for _ in range(2):  # the second one reads what the first one wrote
        with SurveyLog(tmp_path / "expert.jsonl", {"episodes": 1}) as log:
            if not log.played:
                log.add(played)
            assert math.isnan(log.played[0].total_reward)
    page = write_result_files(BudgetRecipe(), "x", {"return": math.nan}, "<svg/>", "page", tmp_path)
    found = json.loads(page.with_suffix(".json").read_text(), parse_constant=pytest.fail)
    assert found["return"] is None


def test_where_success_is_not_defined_the_table_counts_none_as_failed(tmp_path):
    suite = SuiteRecipe(name="games", description="", tasks=[TaskRecipe(id="MinAtar/Breakout-v1")])
    page = write_survey(
        survey("trained", suite, seeds=range(1), budget=BudgetRecipe(), to=tmp_path, workers=1), tmp_path
    )
    assert "| MinAtar/Breakout-v1 | – | – | 0 | 0 | " in page.read_text()
