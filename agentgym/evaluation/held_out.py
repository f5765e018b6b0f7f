"""Metrics of a trained agent on held-out recordings: next actions and captions."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentgym.data.store import EpisodeDataset
from agentgym.errors import UserError
from agentgym.evaluation.action_metrics import next_action_scores
from agentgym.evaluation.caption_generation import score_by_task, write_captions
from agentgym.model.agent import AgentModel
from agentgym.model.device import default_device
from agentgym.model.loading import load_agent
from agentgym.model.tokenizer import load_tokenizer, tokenize
from agentgym.recipes import LossRecipe
from agentgym.spaces.domains import Domain
from agentgym.training.captions import CaptionSource
from agentgym.training.datasets import CAPTION
from agentgym.training.forward import read_windows
from agentgym.training.losses import likeliest_tokens
from agentgym.training.windows import WindowSource, split_episodes

BATCH = 64
ACTIONS = LossRecipe(masked_image=0.0)  # the autoencoder has no part in it


def score_next_actions(
    checkpoint: Path, dataset: EpisodeDataset, held_out: float, hashed_by: str = "blake2b", *, window: int | None = None
) -> dict[str, Any] | None:
    """The next-action metrics over all held-out episodes, by the windows of training; None when none are held out.

    Every action (the expert's label where there is one) is predicted from the recorded steps before it in its window,
    not from the agent's own. Two more need no agent: always the action that is commonest in training,
    and the action that was executed last, again. `window` is that of the part, where an agent has several for these
    actions and frames.
    """
    trained, episodes = split_episodes(dataset, held_out, hashed_by)
    if not len(episodes):
        return None
    model, tokenizer = load_agent(checkpoint, device=default_device()), load_tokenizer(checkpoint)
    space = dataset.header.space
    source = WindowSource(
        dataset,
        episodes,
        window=_domain_of(model, dataset, window).window,
        tokenize=lambda text: tokenize(tokenizer, text),
        patches_per_frame=model.vision_encoder.num_patches,
        codec=space.within(model.config.action_tokens or ()),
        frame_size=model.frame_size,
    )
    true: dict[int, list[tuple[int, ...]]] = {int(episode): [] for episode in episodes}
    predicted: dict[int, list[tuple[int, ...]]] = {int(episode): [] for episode in episodes}
    nats = torch.zeros((), device=model.device)
    everything = np.arange(len(source))  # windows come in the order of their steps
    for read, output, losses in read_windows(model, source, everything, ACTIONS, size=BATCH, device=model.device):
        nats += losses.action.sum
        likeliest = likeliest_tokens(output.action_logits, model.config.num_text_tokens, read.targets).cpu()
        batch = read.to(likeliest.device)
        for row, episode in enumerate(batch.episodes):
            taken = batch.step_mask[row] & ~batch.context_mask[row]
            there = torch.ones_like(batch.targets[row]) if batch.target_mask is None else batch.target_mask[row]
            true[episode] += _actions(batch.targets[row, taken], there[taken])
            predicted[episode] += _actions(likeliest[row, taken], there[taken])
    scores = next_action_scores(list(true.values()), list(predicted.values()), nats=float(nats))
    return {**scores, "trivial": _trivial_accuracies(dataset, trained, episodes)}


def _domain_of(model: AgentModel, dataset: EpisodeDataset, window: int | None) -> Domain:
    """The domain in which a dataset was trained on: of its actions, and of several such of its frames and tasks."""
    header, tasks = dataset.header, set(dataset.column("task"))
    fitting = [domain for domain in model.config.all_domains() if domain.space == header.space]
    return max(
        fitting,
        key=lambda each: (each.frame_shape == header.frame_shape[:2], each.window == window, tasks <= set(each.tasks)),
    )


def _trivial_accuracies(
    dataset: EpisodeDataset, trained: NDArray[np.int64], held_out: NDArray[np.int64]
) -> dict[str, float]:
    """How often the action that is commonest in training is right, and how often the one executed last."""
    executed, labels = dataset.column("actions"), dataset.column("labels")

    def targets(episode: int) -> list[str]:
        return list(map(repr, labels[episode] or executed[episode]))

    counts = Counter(action for episode in trained for action in targets(episode))
    [(commonest, _)] = counts.most_common(1) or [("", 0)]
    expected = [targets(episode) for episode in held_out]
    before = [["", *map(repr, executed[episode])][:-1] for episode in held_out]
    steps = sum(map(len, expected))
    return {
        "commonest": sum(actions.count(commonest) for actions in expected) / steps,
        "last": sum(a == b for x, y in zip(expected, before, strict=True) for a, b in zip(x, y, strict=True)) / steps,
    }


def score_captions(
    checkpoint: Path, dataset: EpisodeDataset, held_out: float, hashed_by: str = "blake2b"
) -> list[dict[str, Any]] | None:
    """The captions of all held-out episodes, scored task by task; None when none are held out.

    Raises UserError when the agent was not trained to caption.
    """
    trained, episodes = split_episodes(dataset, held_out, hashed_by)
    if not len(episodes):
        return None
    model, tokenizer = load_agent(checkpoint, device=default_device()), load_tokenizer(checkpoint)
    domain = next((domain for domain in model.config.all_domains() if CAPTION in domain.tasks), None)
    if domain is None:
        raise UserError(f"{checkpoint}: was not trained to caption; give its recipe a part with caption = true")
    source = CaptionSource(
        dataset,
        episodes,
        window=domain.window,
        tokenize=lambda text: tokenize(tokenizer, text),
        patches_per_frame=model.vision_encoder.num_patches,
        codec=domain.space.within(model.config.action_tokens or ()),
        frame_size=model.frame_size,
    )
    tasks, texts = dataset.column("task"), dataset.column("instruction")
    answers = write_captions(model, tokenizer, source)
    seen = [(tasks[episode], texts[episode]) for episode in trained]
    return score_by_task([tasks[episode] for episode in episodes], source.instructions, answers, seen)


def _actions(tokens: Tensor, there: Tensor) -> list[tuple[int, ...]]:
    """Tokens [T, ...] as one tuple a step, of the places where a token is."""
    return [tuple(row[mask.bool()].tolist()) for row, mask in zip(tokens, there, strict=True)]
