"""Evaluations: who is scored, on which seeds, and what the folder then says."""

import json

import pytest
from refusals import refusal
from tiny import TASK, experiment_recipe, model_of, record, tokenizer_of

from agentgym import executors, experts
from agentgym.evaluation import role_rollouts, task_scores
from agentgym.evaluation.protocol import configure_evaluation
from agentgym.files import write_json
from agentgym.recipes import TaskRecipe


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder whose agent was never trained, and the dataset that it names."""
    folder = tmp_path_factory.mktemp("evaluation")
    dataset = record(folder / "data")
    model_of(dataset).save_pretrained(folder / "run/model")
    tokenizer_of(dataset).save_pretrained(folder / "run/model")
    write_json(folder / "run/recipe.json", experiment_recipe().model_dump(mode="json"))
    write_json(folder / "run/training.json", {"data": str(folder / "data")})
    return folder / "run"


def test_the_random_policy_scores_0_and_the_expert_1(scored):
    random, bot = scored("random", "random"), scored("babyai-bot", "bot")
    assert random["over_tasks"]["mean"] == pytest.approx(0.0)
    assert bot["over_tasks"]["mean"] == pytest.approx(1.0)
    assert bot["over_tasks"]["optimality_gap"] >= 0
    assert [task["normalised"] for task in bot["tasks"]] == pytest.approx([1.0, 1.0])
    assert random["tasks"][0]["random"] == {key: random["tasks"][0][key] for key in random["tasks"][0]["random"]}
    assert random["tasks"][0]["expert"]["return_mean"] == bot["tasks"][0]["return_mean"]


def test_published_scores_are_named_beside_those_measured_here(scored):
    own, shipped = (task["published"] for task in scored("random")["tasks"])
    assert own == {"random": 0.1, "expert": 0.8, "source": "a paper"}
    assert "huggingface/jat" in shipped["source"]


def test_a_run_is_scored_on_its_own_suite_or_on_another(run, scored):
    alone = scored(run, "alone", suite=None, videos=0)
    assert [task["task"] for task in alone["tasks"]] == [TASK]
    other = scored(run, "other")
    assert [task["task"] for task in other["tasks"]] == [TASK, "BabyAI-GoToObj-v0"]
    assert other["tasks"][0]["return_mean"] == alone["tasks"][0]["return_mean"]
    checkpoint = scored(run / "model", "checkpoint", suite=None, videos=0)
    assert checkpoint["tasks"] == alone["tasks"]


def test_next_actions_are_scored_where_the_recordings_are(run, scored):
    found = scored(run)["next_action"]
    assert found["actions"] > 0
    assert 0 <= found["bleu4"] <= found["bleu4_with_delimiters"] <= 1
    assert scored("random", "random")["next_action"] is None


@pytest.mark.parametrize("sampled", [False, True])
def test_the_result_does_not_depend_on_how_many_environments_run_at_once(run, scored, sampled):
    changes = {"deterministic": not sampled, "suite": None, "videos": 0, "episodes": 3}
    one, many = (scored(run, str(count), environments=count, **changes) for count in (1, 3))
    assert one["tasks"] == many["tasks"]
    assert one["deterministic"] is not sampled


@pytest.mark.slow  # each worker imports torch, and a cluster takes its time to start
@pytest.mark.parametrize("sampled", [False, True])
def test_the_episodes_are_the_same_bytes_wherever_and_in_whatever_number_they_are_played(
    run, scored, sampled, tmp_path, monkeypatch
):
    monkeypatch.setattr(role_rollouts, "MANY_STEPS", 1)  # so that it is shared where nothing is said
    ways = {
        "said nothing": {"workers": None},
        "one": {"environments": 1},
        "many": {"environments": 32},
        "async": {"vector": "async"},
        "four": {"workers": 4},
        "async in workers": {"workers": 2, "vector": "async"},
        "ray": {"workers": 2, "engine": "ray"},
        "async in ray": {"workers": 2, "engine": "ray", "vector": "async"},
    }
    for name, changes in ways.items():
        scored(run, name, suite=None, videos=0, episodes=4, deterministic=not sampled, **changes)
    one, *others = ((tmp_path / name / "episodes.json").read_bytes() for name in ways)
    assert others == [one] * len(others)


def test_an_agent_is_shared_by_processes_where_its_episodes_may_be_long(run, scored, monkeypatch):
    shared = []
    monkeypatch.setattr(role_rollouts, "_rollout_agent", lambda *given: shared.append(given[3] is not None) or [])
    for workers, many_steps in ((None, 1), (None, 10**6), (1, 1), (2, 10**6)):
        monkeypatch.setattr(role_rollouts, "MANY_STEPS", many_steps)
        config = configure_evaluation(str(run), suite=None, episodes=1)
        [play, *_] = config.plays
        with executors.start(workers=workers) as started:
            pool = role_rollouts.Workers(started, None if workers is None else workers > 1)
            role_rollouts.play_role(config, play, "agent", [0], pool, lambda count: None)
    assert shared == [True, False, False, True]


def test_drawn_actions_are_others_than_the_likeliest(run, scored, tmp_path):
    scored(run, "likeliest", suite=None, videos=0)
    scored(run, "sampled", suite=None, videos=0, deterministic=False)
    likeliest, sampled = (
        json.loads((tmp_path / name / "episodes.json").read_text()) for name in ("likeliest", "sampled")
    )
    assert likeliest["agent"] != sampled["agent"]
    assert likeliest["expert"] == sampled["expert"]


def test_seeds_are_checked_against_the_manifest_of_what_the_agent_was_trained_on(run, scored):
    found = scored(run)
    assert found["seeds_checked_against"] == str(run.parent / "data")
    text = refusal(scored, run, "overlapping", first_seed=1_000_022)
    assert f"overlap the demonstrations' of {TASK} in 2 seeds, from 1000022 on" in text
    assert scored("random", "untrained", first_seed=1_000_022)["seeds_checked_against"] is None


def test_seeds_are_checked_against_the_recipe_where_the_dataset_is_gone(run, scored, monkeypatch, tmp_path):
    write_json(run / "training.json", {"data": str(tmp_path / "gone")})
    try:
        assert "in 2 seeds" in refusal(scored, run, "overlapping", first_seed=1_000_022)
        found = scored(run)
    finally:
        write_json(run / "training.json", {"data": str(run.parent / "data")})
    assert found["seeds_checked_against"] == "recipe"
    assert found["next_action"] is None


def test_the_same_seed_of_another_task_is_another_level(run, scored, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text('description = "other"\n[[tasks]]\nid = "BabyAI-GoToObj-v0"\n')
    assert scored(run, suite=str(other), first_seed=1_000_000)["tasks"][0]["first_seed"] == 1_000_000


def test_an_evaluation_of_other_weights_or_by_another_protocol_is_not_taken_for_this_one(run, scored):
    scored(run)
    assert "another protocol (deterministic" in refusal(scored, run, deterministic=False)
    weights = run / "model/model.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before[:-4] + bytes(4))
    try:
        assert "another protocol (weights" in refusal(scored, run)
    finally:
        weights.write_bytes(before)


def test_an_experts_errors_are_counted_and_are_failures(scored, monkeypatch):
    bot = experts.EXPERTS["babyai-bot"][0]

    class Fragile(bot):
        def start(self, environment, seed):
            assert seed != 1
            super().start(environment, seed)

    monkeypatch.setitem(experts.EXPERTS, "fragile", (Fragile, ""))
    task = scored("fragile")["tasks"][0]
    assert task["errors"] == 1
    assert task["success_rate"] == 0.5
    assert task["expert"]["errors"] == 0


def test_what_the_budget_cut_is_counted_apart_and_is_no_part_of_the_scale():
    def episode(reward, *, cut=False):
        error = "no end after 1 s" if cut else None
        return {
            "task": TASK,
            "success": reward > 0,
            "total_reward": reward,
            "length": 3,
            "error": error,
            "over_budget": cut,
        }

    task = TaskRecipe(id=TASK)
    episodes = {
        "agent": [episode(0.5)],
        "random": [episode(0.0)],
        "expert": [episode(1.0), episode(0.0, cut=True), episode(0.0, cut=True)],
    }
    assert task_scores.normalised_returns(task, episodes) == pytest.approx([0.5])
    expert = task_scores._score("expert", task, episodes)
    assert (expert["return_mean"], expert["episodes"], expert["errors"], expert["cut"]) == (1.0, 1, 0, 2)
    episodes["expert"] = episodes["expert"][1:]
    assert task_scores.normalised_returns(task, episodes) is None


@pytest.mark.parametrize(
    ("who", "changes", "message"),
    [
        ("randon", {}, "did you mean 'random'"),
        ("random", {"suite": None}, "name what to play with --suite"),
        ("random", {"suite": "babyai-smal"}, "did you mean 'babyai-small'"),
        ("random", {"expert": "babyai-bott"}, "did you mean 'babyai-bot'"),
        ("random", {"data": "nowhere"}, "there is no such dataset folder"),
    ],
)
def test_a_player_or_suite_that_is_not_there_is_one_line(scored, who, changes, message):
    assert message in refusal(scored, who, **changes)
