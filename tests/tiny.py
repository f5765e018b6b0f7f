"""The smallest experiment: a few recorded episodes, a model two layers deep, its windows and its sampler."""

from itertools import count
from pathlib import Path

import numpy as np
import torch

from agentgym import recipes
from agentgym.data.store import EpisodeDataset
from agentgym.experts import collection
from agentgym.model.agent import AgentModel
from agentgym.model.presets import make_config
from agentgym.model.tokenizer import tokenize, train_tokenizer
from agentgym.recipes import DatasetRecipe, ExperimentRecipe
from agentgym.spaces.domains import Domain
from agentgym.training.run_folder import open_run
from agentgym.training.windows import WindowSource, split_episodes

TASK = "BabyAI-GoToRedBall-v0"


def dataset_recipe(*overrides: str) -> DatasetRecipe:
    """Twenty-four GoToRedBall episodes, a quarter of them held out."""
    return recipes.load_dataset("babyai-goto-redball", ["episodes=24", "held_out=0.25", *overrides])


def experiment_recipe(*overrides: str) -> ExperimentRecipe:
    """Six updates on `dataset_recipe`'s episodes."""
    small = (
        "dataset.episodes=24",
        "dataset.held_out=0.25",
        "training.updates=6",
        "training.batch_size=4",
        "training.optimizer=adamw",  # Muon makes rounding errors larger, so that fewer things are equal
        "training.learning_rate=1e-3",
        "training.window=4",
        "training.warmup_updates=2",
        "training.log_every=1",
        "training.precision=float32",  # the same on every processor
        "training.checkpoint_every=3",
        "training.evaluate_every=6",
        "training.evaluate_episodes=0",
        "evaluation.episodes=6",
        "evaluation.videos=2",
    )
    return recipes.load_experiment("babyai-goto-redball", [*small, *overrides])


def record(path: Path) -> EpisodeDataset:
    """`dataset_recipe`, recorded in this process."""
    collection.collect(dataset_recipe(), path, workers=1)
    return EpisodeDataset(path)


def write_run(path: Path, dataset: EpisodeDataset, *overrides: str, window: int = 4, words=slice(0), **changes) -> Path:
    """A run folder with an untrained agent whose actions depend on what it sees, and on those rows of its words."""
    open_run(path, experiment_recipe(*overrides))
    torch.manual_seed(0)
    model = model_of(dataset, window=window, **changes)
    torch.nn.init.normal_(model.projector.weight, std=1.0)
    torch.nn.init.normal_(model.language_model.embeddings.weight[words], std=1.0)
    model.save_pretrained(path / "model")
    tokenizer_of(dataset).save_pretrained(path / "model")
    return path


def tokenizer_of(dataset: EpisodeDataset):
    """A tokenizer for a dataset's instructions."""
    return train_tokenizer(dataset.column("instruction"), dataset.header.space.tokens)


def model_of(dataset: EpisodeDataset, *, window: int = 4, task: str = TASK, **changes) -> AgentModel:
    """A fresh `tiny` model for a dataset; seed torch before."""
    space, (side, *_) = dataset.header.space, dataset.header.frame_shape
    config = make_config(
        "tiny",
        num_text_tokens=len(tokenizer_of(dataset)) - space.num_tokens,
        domains=[Domain(space, (side, side), window, (task,))],
        **{"instruction_tokens": 64, "frame_side": side, **changes},
    )
    return AgentModel(config)


def sources_of(dataset: EpisodeDataset, *, window: int = 4) -> tuple[WindowSource, WindowSource]:
    """Windows to train on and windows held out."""
    tokenizer = tokenizer_of(dataset)
    trained, held_out = split_episodes(dataset, 0.25)
    first, second = (
        WindowSource(
            dataset,
            episodes,
            window=window,
            tokenize=lambda text: tokenize(tokenizer, text),
            patches_per_frame=49,
        )
        for episodes in (trained, held_out)
    )
    return first, second


def logits_of(policy, monkeypatch):
    """The logits of every later call, while action (call number) % 7 is taken."""
    sampler = ScriptedSampler(number % 7 for number in count(1))
    monkeypatch.setattr(policy, "sampler", sampler)
    return sampler.seen


class ScriptedSampler:
    """Chooses what the script says, one number or one for each row, and keeps the logits that it was shown."""

    def __init__(self, script=()):
        self.script, self.seen = iter(script), []

    def choose(self, logits):
        self.seen.append(logits.copy())
        return np.broadcast_to(next(self.script), len(logits)).copy()

    def start(self, row, seed):
        pass

    def select(self, rows):
        pass
