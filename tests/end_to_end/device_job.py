"""The main job on the pretended device: act, train with rollouts, tune by PPO, explain. Run by test_any_device.

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
from accelerate import Accelerator
from stable_baselines3 import PPO
from worlds import TASK, ScriptedSampler, experiment_recipe, model_of, record, sources_of, tokenizer_of

from agentgym.evaluation.rollouts import rollout
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.attribution import explain
from agentgym.policies.sb3 import AgentActorCriticPolicy, HistoryObservation
from agentgym.recipes import FrameRecipe
from agentgym.training import loop as training_loop
from agentgym.training.loop import Loop, train

DEVICE = pretended_device.device()
folder = Path(sys.argv[1])


def on_device(model):
    return model.to(DEVICE)


def acts_as_on_the_cpu(dataset, **sizes):
    torch.manual_seed(0)
    model, tokenizer = model_of(dataset, window=3, **sizes), tokenizer_of(dataset)
    seen = []
    for place in (model, None):
        policy = AgentPolicy(place or on_device(model), tokenizer, sampler=ScriptedSampler([0, 1] * 6))
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


def train_with_rollouts(dataset):
    Accelerator.device = property(lambda self: DEVICE)
    # Safetensors asks for storages, which pretended tensors have none of: everything runs but the writing.
    training_loop._save = lambda accelerator, path, update: None
    recipe = experiment_recipe("training.updates=2", "training.evaluate_every=1", "training.checkpoint_every=1")
    torch.manual_seed(0)
    model, tokenizer = model_of(dataset, window=4), tokenizer_of(dataset)
    training, testing = sources_of(dataset, window=4)

    def play(model, index, count):
        policy = AgentPolicy(model, tokenizer)
        assert policy.device == DEVICE
        played = rollout(policy, TASK, frame=FrameRecipe(), seeds=[1], num_environments=1, deterministic=True)
        return [("success_rate", float(episode.success)) for episode in played]

    losses = recipe.losses.model_copy(update={"masked_image": 0.02})
    loop = Loop(recipe.training, losses, training, {"it": testing}, folder / "run", play)
    model = train(on_device(model), loop)
    assert model.device == DEVICE
    print("trained", flush=True)
    return model, tokenizer


def tune(model, tokenizer):
    host = model_of(record_of, window=4)
    host.load_state_dict({name: tensor.cpu() for name, tensor in model.state_dict().items()})
    host.save_pretrained(folder / "checkpoint")
    tokenizer.save_pretrained(folder / "checkpoint")
    import agentgym

    env = HistoryObservation(agentgym.make(TASK), window=4)
    kwargs = {"checkpoint": str(folder / "checkpoint")}
    PPO(AgentActorCriticPolicy, env, policy_kwargs=kwargs, n_steps=8, batch_size=8, n_epochs=1, device=DEVICE).learn(8)
    print("tuned", flush=True)


record_of = record(folder / "data")
for sizes in ({"instruction_attention": True}, {"temporal_attention": True}):
    acts_as_on_the_cpu(record_of, **sizes)
trained, tokens = train_with_rollouts(record_of)
found = explain(trained, tokens, "go to the red ball", np.zeros((5, 56, 56, 3), np.uint8), np.arange(5))
assert np.isfinite(found.patches).all()
print("explained", flush=True)
tune(trained, tokens)
