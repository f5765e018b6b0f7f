"""Fine-tuning by reinforcement: it learns what is rewarded, resumes, and gives a run back."""

import json

import pytest
import torch
from counting_env import CountingEnv
from refusals import refusal
from tiny import experiment_recipe, model_of, tokenizer_of, write_run

from agentgym import environments, recipes
from agentgym.evaluation import measures, policy_registry
from agentgym.experiments import ppo
from agentgym.experiments.ppo import finetune
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.report import ppo_page
from agentgym.training.run_folder import open_run, read_recipe

M, PAYS = 2, 2


class PayingEnv(CountingEnv):
    """Four steps; action 2 pays, and an episode that ends with it is a success."""

    frame_shape = (56, 56, 3)
    action_names = ("left", "right", "forward", "pickup", "drop", "toggle", "done")  # as the agent knows them

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        self.number = 1
        return observation, info

    def step(self, action):
        observation, _, terminated, truncated, _ = super().step(action)
        info = {"is_success": int(action) == PAYS} if terminated else {}
        return observation, float(action == PAYS), terminated, truncated, info


@pytest.fixture(scope="module")
def init(dataset, tmp_path_factory):
    """A run folder with an untrained agent."""
    path = tmp_path_factory.mktemp("finetuning") / "agent"
    open_run(path, experiment_recipe())
    torch.manual_seed(0)
    model_of(dataset, window=M).save_pretrained(path / "model")
    tokenizer_of(dataset).save_pretrained(path / "model")
    return path


@pytest.fixture(autouse=True)
def world(monkeypatch):
    monkeypatch.setattr(environments, "make", lambda task, frame=None: PayingEnv())


def recipe_of(init, *overrides):
    small = ("ppo.steps=32", "ppo.environments=2", "ppo.rollout_steps=8", "ppo.batch_size=16", "ppo.epochs=1")
    points = ("ppo.value_warmup_rollouts=0", "evaluation.episodes=2", "evaluation.every=16", f"init={init}")
    return recipes.load_finetuning("babyai-goto-redball-ppo", [*small, *points, *overrides])


def test_it_learns_what_pays_and_gives_a_run_back(init, tmp_path):
    more = ("ppo.steps=192", "ppo.rollout_steps=32", "ppo.batch_size=32", "ppo.epochs=2", "evaluation.every=64")
    fast = ("ppo.learning_rate=3e-3", "ppo.final_learning_rate=3e-3", "ppo.target_kl=10.0")
    recipe = recipe_of(init, *more, *fast)
    curve = finetune(recipe, tmp_path / "tuned")
    assert (curve[0]["success_rate"], curve[-1]["success_rate"]) == (0.0, 1.0)
    assert [point["steps"] for point in curve] == [0, 64, 128, 192]
    assert curve[-1]["mean_return"] == 4.0
    assert not (tmp_path / "tuned/checkpoint.zip").exists()
    player = policy_registry.resolve_policy(str(tmp_path / "tuned"))
    assert player.run == tmp_path / "tuned"
    assert policy_registry.load(player, sampled=False).codec.num_tokens == 7
    assert finetune(recipe, tmp_path / "tuned") == curve  # what is done is not done again
    page = ppo_page.write_results(recipe, {"tuned": curve, "other": curve}, measures.SUCCESS, tmp_path / "results")
    assert json.loads(page.with_suffix(".json").read_text())["curves"] == {"tuned": curve, "other": curve}
    for text in (page.read_text(), page.with_suffix(".svg").read_text()):
        assert "tuned" in text
        assert "other" in text
    assert "| +100.0 |" in page.read_text()
    by_return = ppo_page.write_results(recipe, {"tuned": curve}, measures.RETURN, tmp_path / "results").read_text()
    assert "| run | return before [95 %] | after [95 %] | gain | steps |" in by_return
    assert f"| +{4 - curve[0]['mean_return']:.3f} |" in by_return
    assert "success" not in by_return.lower()


def test_only_the_value_head_learns_at_first_and_the_encoder_never_where_it_is_frozen(init, tmp_path):
    before = AgentPolicy.from_pretrained(init).model.state_dict()
    for warm, moved in ((9, set()), (0, {"language_model"})):
        run = tmp_path / str(warm)
        held = ("ppo.steps=16", "ppo.final_learning_rate=1e-4", "ppo.freeze_vision=true")
        finetune(recipe_of(init, f"ppo.value_warmup_rollouts={warm}", *held), run)
        after = AgentPolicy.from_pretrained(run).model.state_dict()
        assert {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])} == moved


def test_an_interrupted_one_continues(init, tmp_path):
    recipe, run = recipe_of(init), tmp_path / "tuned"

    def interrupt(count, note):
        if len((run / "curve.jsonl").read_text().splitlines() if (run / "curve.jsonl").exists() else "") == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, run, on_progress=interrupt)
    assert not (run / "model").exists()
    steps = [point["steps"] for point in finetune(recipe, run)]
    assert steps == [0, 16, 32]
    changed = recipe_of(init, "ppo.clip=0.3")
    assert "holds fine-tuning of another recipe (ppo.clip: 0.2 -> 0.3)" in refusal(finetune, changed, run)


@pytest.mark.parametrize("start", ["random", "cnn"])
def test_random_weights_and_a_cnn_policy_train_by_the_same_recipe(init, tmp_path, start):
    recipe = recipe_of(init, f"start={start}", "ppo.tether=0.0", "ppo.steps=16")
    assert [point["steps"] for point in finetune(recipe, tmp_path / "other")] == [0, 16]
    assert ((tmp_path / "other/model").is_dir(), (tmp_path / "other/model.zip").is_file()) == (
        start == "random",
        start == "cnn",
    )


def test_an_agent_that_resizes_its_frames_is_tuned_and_acts_again(dataset, tmp_path):
    agent = write_run(tmp_path / "agent", dataset, "model.frame_side=48", window=M, frame_side=48)
    recipe = recipe_of(agent, "ppo.steps=16", "ppo.final_learning_rate=1e-4")
    assert [point["steps"] for point in finetune(recipe, tmp_path / "tuned")] == [0, 16]
    before, after = (AgentPolicy.from_pretrained(each) for each in (agent, tmp_path / "tuned"))
    assert after.model.frame_size.side == before.model.frame_size.side == 48
    assert after.domain.frame_shape == (56, 56)
    weights = after.model.state_dict()
    assert any(not torch.equal(weights[name], values) for name, values in before.model.state_dict().items())


def test_what_does_not_fit_is_one_clear_line(init, tmp_path, monkeypatch):
    assert "expected 'tether' or 'entropy' to be 0" in refusal(recipe_of, init, "ppo.tether=0.1", "ppo.entropy=0.1")
    known = recipe_of(init, "evaluation.first_seed=1000020")
    known = known.model_copy(update={"suite": read_recipe(init).suites[0]})
    assert "was trained on 2 of the levels" in refusal(finetune, known, tmp_path / "known")
    assert not (tmp_path / "known").exists()
    assert "expected ppo.tether to be 0" in refusal(recipe_of, init, "ppo.tether=0.1", "start=random")
    assert "is not a run folder" in refusal(finetune, recipe_of(tmp_path / "nothing"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(PayingEnv, "action_names", tuple("abcdefg"))
    assert "the agent was trained for left, right" in refusal(finetune, recipe_of(init), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("mine")
    assert "exists and holds no fine-tuning" in refusal(finetune, recipe_of(init), tmp_path / "mine")
    assert "has no learning curve" in refusal(ppo.read_points, tmp_path)
