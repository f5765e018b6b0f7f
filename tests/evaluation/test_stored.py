"""evaluation.json and episodes.json are checked where they are read; a changed place is named."""

import copy
import json
import math

import pytest
from example_scores import episode_of, evaluation_of, score_of, task_of
from refusals import refusal

from agentgym.evaluation.stored import read_episodes, read_evaluation
from agentgym.files import write_json

TASK = task_of(score_of(), random=score_of())
EVALUATION = evaluation_of(TASK, of_a_later_version=[1])
EPISODE = episode_of(seed=1, error=None)
PROTOCOL = {
    "deterministic": True,
    "player": "random",
    "weights": None,
    "first_seed": 0,
    "episodes": 2,
    "tasks": {"T-v0": {}},
}


def changed(values, place, value):
    """The values with another one at a place, or without it."""
    values = copy.deepcopy(values)
    here = values
    for key in place[:-1]:
        here = here[key]
    if value is None:
        del here[place[-1]]
    else:
        here[place[-1]] = value
    return values


def test_what_an_evaluation_wrote_is_read_as_it_is(tmp_path):
    write_json(tmp_path / "evaluation.json", EVALUATION)
    assert read_evaluation(tmp_path / "evaluation.json") == EVALUATION


def test_a_mean_that_was_not_finite_is_none_of_the_numbers(tmp_path):
    write_json(tmp_path / "evaluation.json", changed(EVALUATION, ("tasks", 0, "return_mean"), math.nan))
    assert '"return_mean": null' in (tmp_path / "evaluation.json").read_text()
    assert math.isnan(read_evaluation(tmp_path / "evaluation.json")["tasks"][0]["return_mean"])


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("tasks",), 7, "key 'tasks': found 7;"),
        (("tasks",), [], "key 'tasks': found [];"),
        (("tasks", 0), "x", "key 'tasks.0': found 'x';"),
        (("tasks", 0, "return_ci95"), None, "key 'tasks.0.return_ci95': field required"),
        (("tasks", 0, "return_ci95"), [0.5], "key 'tasks.0.return_ci95': found [0.5];"),
        (("tasks", 0, "random", "episodes"), 0, "key 'tasks.0.random.episodes': found 0;"),
        (("tasks", 0, "episodes"), True, "key 'tasks.0.episodes': found True;"),
        (("tasks", 0, "normalised"), 0.5, "key 'tasks.0.normalised': there is no expert above random"),
        (("tasks", 0, "published"), "a paper", "key 'tasks.0.published': found 'a paper';"),
        (("versions",), {"numpy": 2}, "key 'versions.numpy': found 2;"),
    ],
)
def test_an_evaluation_that_was_changed_is_refused_by_the_place(tmp_path, place, value, said):
    write_json(tmp_path / "evaluation.json", changed(EVALUATION, place, value))
    line = refusal(read_evaluation, tmp_path / "evaluation.json")
    assert said in line
    assert "it is not as it was written" in line


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("agent",), {}, "key 'agent': found {};"),
        (("agent", 0), "", "key 'agent.0': found '';"),
        (("agent", 0, "seed"), 2**63, f"key 'agent.0.seed': found {2**63};"),
        (("agent", 0, "seed"), 5, "key 'agent': episode 0, seed 5 of T-v0, is not of its protocol"),
        (("agent", 0, "task"), "x", "key 'agent': episode 0, seed 1 of x, is not of its protocol"),
        (("agent", 0, "length"), 3, "key 'agent': episode 0 says 3 steps and has 2 actions"),
        (("agent",), [EPISODE, EPISODE], "key 'agent': seed 1 of T-v0 is there twice"),
        (("agent", 0, "unknown"), 3, "key 'agent.0.unknown': found 3;"),
        (("protocol", "first_seed"), None, "key 'protocol.first_seed': field required"),
    ],
)
def test_episodes_that_were_changed_are_refused_by_the_place(tmp_path, place, value, said):
    stored = {"protocol": PROTOCOL, "agent": [EPISODE], "random": []}
    write_json(tmp_path / "episodes.json", stored)
    assert json.loads(json.dumps(read_episodes(tmp_path / "episodes.json"))) == stored
    write_json(tmp_path / "episodes.json", changed(stored, place, value))
    assert said in refusal(read_episodes, tmp_path / "episodes.json")
