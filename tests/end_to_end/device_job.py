"""The main job on the pretended device: act, train with rollouts, evaluate, explain, tune by PPO (see test_any_device).

python device_job.py FOLDER
"""

# ruff: noqa: E402 (the device is there before anything is imported)

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import pretended_device

pretended_device.install()

import numpy as np
import torch
from tiny import TASK, ScriptedSampler, experiment_recipe, model_of, record, tokenizer_of

from agentgym import recipes
from agentgym.evaluation import policy_registry, protocol, scoring
from agentgym.experiments import imitation, ppo
from agentgym.files import read_json
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.attribution import explain
from agentgym.recipes import TaskRecipe
from agentgym.training.run_folder import open_run

DEVICE = pretended_device.device()
SHORT = TaskRecipe(id=TASK, limit=3)  # an untrained agent would wander for long


def acts_as_on_the_cpu(dataset, **sizes):
    torch.manual_seed(0)
    model, tokenizer = model_of(dataset, window=3, **sizes), tokenizer_of(dataset)
    seen = []
    for device in ("cpu", DEVICE):
        policy = AgentPolicy(model.to(device), tokenizer, sampler=ScriptedSampler([0, 1] * 6))
        state, frames = None, np.random.default_rng(0)
        for step in range(6):
            words = np.zeros((2, 32), np.uint8)
            for row, text in enumerate((b"go to the red ball", b"go to it" if step < 5 else b"stop")):
                words[row, : len(text)] = np.frombuffer(text, np.uint8)
            observation = {"frame": frames.integers(0, 256, (2, 56, 56, 3), np.uint8), "instruction": words}
            _, state = policy.predict(observation, state, np.array([False, step == 4]))
        seen.append(np.array(policy.sampler.seen))
    assert state.cache.keys_values.device == DEVICE
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-5)
    print("acted", sizes, flush=True)


def trains_with_rollouts(folder):
    run = folder / "run"
    for _ in range(2):  # the second time all that is left is to read the checkpoint
        recipe = experiment_recipe(
            "training.updates=2",
            "training.optimizer=muon",
            "training.evaluate_every=1",
            "training.checkpoint_every=1",
            "training.evaluate_episodes=2",
            "losses.masked_image=0.02",
        )
        start = imitation.prepare(recipe, folder / "data")
        open_run(run, recipe)
        recipe.dataset.suite.tasks[0] = SHORT
        (run / "training.json").unlink(missing_ok=True)
        imitation.train_run(recipe, folder / "data", run, start=start)
    assert read_json(run / "training.json")["device"] == pretended_device.NAME
    assert (run / "checkpoints/0000002/model.safetensors").is_file()
    print("trained", flush=True)


def evaluates(folder):
    suite = folder / "short.toml"
    suite.write_text(f'description = "short"\n[[tasks]]\nid = "{TASK}"\nlimit = 3\n')
    config = protocol.configure_evaluation(
        str(folder / "run"), suite=str(suite), to=folder / "scored", episodes=2, data=str(folder / "data")
    )
    assert scoring.evaluate(config)["device"] == pretended_device.NAME
    assert policy_registry.load_once(config.policy, sampled=False).device == DEVICE
    print("evaluated", flush=True)


def explains(folder):
    policy = AgentPolicy.from_pretrained(folder / "run")
    frames = np.zeros((5, 56, 56, 3), np.uint8)
    logits, state = policy.action_logits({"frame": frames[:2], "instruction": np.zeros((2, 8), np.uint8)})
    assert (logits.shape, policy.executed(state, np.arange(2)).cache.keys_values.device) == ((2, 7), DEVICE)
    found = explain(policy.model, policy.tokenizer, "go to the red ball", frames, np.arange(5))
    assert np.isfinite(found.patches).all()
    print("explained", flush=True)


def tunes(folder):
    small = ("ppo.steps=8", "ppo.environments=2", "ppo.rollout_steps=4", "ppo.batch_size=8", "ppo.epochs=1")
    points = ("ppo.value_warmup_rollouts=0", "evaluation.episodes=1", "evaluation.every=8", f"init={folder / 'run'}")
    recipe = recipes.load_finetuning("babyai-goto-redball-ppo", [*small, *points])
    recipe.suite.tasks[0] = SHORT
    points = ppo.finetune(recipe, folder / "tuned")
    assert [point["device"] for point in points] == [pretended_device.NAME] * len(points)
    assert AgentPolicy.from_pretrained(folder / "tuned").device == DEVICE
    print("tuned", flush=True)


def main(folder):
    dataset = record(folder / "data")
    for sizes in ({"instruction_attention": True}, {"temporal_attention": True}, {"convolutional_stem": True}):
        acts_as_on_the_cpu(dataset, **sizes)
    trains_with_rollouts(folder)
    evaluates(folder)
    explains(folder)
    tunes(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
