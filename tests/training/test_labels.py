"""Labels that differ from the executed actions: L_act is the equation, token by token."""

import gymnasium
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from counted import counted_episode, counted_header
from gymnasium.spaces import Discrete, MultiBinary, MultiDiscrete
from tiny import model_of, tokenizer_of

from agentgym.data.store import DatasetWriter, EpisodeDataset
from agentgym.model.tokenizer import tokenize
from agentgym.recipes import LossRecipe
from agentgym.spaces import SpaceCodec
from agentgym.spaces.values import stack
from agentgym.training.losses import compute_losses
from agentgym.training.windows import WindowSource

SIDE = 16  # four patches
SPACES = {
    "one token": Discrete(3),
    "two tokens": MultiDiscrete([2, 3]),
    "buttons": MultiBinary(3),
    "parts": gymnasium.spaces.Dict(aim=MultiDiscrete([3, 2]), press=MultiBinary(2)),
}


def recorded(path, space, lengths, labelled=True):
    """A dataset of random frames, actions and, of every other episode, labels."""
    space.seed(0)
    generator = np.random.default_rng(0)
    header = counted_header(space=SpaceCodec.of(space), frame_shape=(SIDE, SIDE, 3))
    with DatasetWriter(path, header) as writer:
        for seed, steps in enumerate(lengths):

            def draw(steps=steps):
                return stack(header.space.root, [space.sample() for _ in range(steps)])

            frames = generator.integers(0, 256, (steps + 1, SIDE, SIDE, 3), np.uint8)
            labels = draw() if labelled and seed % 2 == 0 else None
            text = "count " * (1 + seed)
            writer.append(counted_episode(seed, steps, instruction=text, frames=frames, actions=draw(), labels=labels))
    return EpisodeDataset(path)


def source_of(dataset, window):
    tokenizer = tokenizer_of(dataset)
    return WindowSource(
        dataset,
        np.arange(len(dataset)),
        window=window,
        tokenize=lambda text: tokenize(tokenizer, text),
        patches_per_frame=4,
    )


def run(model, batch):
    return model(**batch.inputs)


def reference(model, batch):
    """-log p of every target's tokens: each target read in the place of the executed action, in a row of its own."""
    nats = 0.0
    for row, said in enumerate(batch.instruction_of.tolist()):
        words = batch.instruction_mask[said].bool()
        for step in torch.nonzero(batch.step_mask[row] & ~batch.context_mask[row]).flatten().tolist():
            masks = [
                torch.ones_like(tokens).bool() if mask is None else mask
                for tokens, mask in ((batch.actions, batch.action_mask), (batch.targets, batch.target_mask))
            ]
            actions = torch.cat([batch.actions[row, :step], batch.targets[row, step : step + 1]])
            mask = torch.cat([masks[0][row, :step], masks[1][row, step : step + 1]])
            output = model(
                batch.instruction[said, words][None],
                batch.instruction_mask[said, words][None],
                batch.frames[row, None, : step + 1],
                actions[None],
                torch.ones(1, step + 1, dtype=torch.bool),
                action_mask=mask[None],
            )
            there = masks[1][row, step]
            targets = batch.targets[row, step][there] + model.config.num_text_tokens
            nats += F.cross_entropy(output.action_logits[0, step][there], targets, reduction="sum").item()
    return nats


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("window", [3, 8])
def test_a_labels_token_follows_its_own_tokens_and_later_steps_the_executed_action(tmp_path, kind, window):
    dataset = recorded(tmp_path, SPACES[kind], (5, 3, 7))
    torch.manual_seed(0)
    model = model_of(dataset, window=window, patch_merge=1).eval()
    for name, weight in model.named_parameters():
        if "positions" not in name or "language" in name:
            torch.nn.init.normal_(weight, std=0.15)
    source = source_of(dataset, window)
    batch = source.batch(np.arange(len(source)))
    assert (batch.labels is None) == (kind == "one token")
    with torch.no_grad():
        ours = compute_losses(run(model, batch), batch, LossRecipe()).action.sum.item()
        assert ours == pytest.approx(reference(model, batch), rel=1e-5)


def test_without_labels_nothing_more_is_read(tmp_path):
    dataset = recorded(tmp_path, SPACES["buttons"], (5, 3), labelled=False)
    source = source_of(dataset, 4)
    assert source.batch(np.arange(len(source))).labels is None


def test_labels_that_are_the_executed_actions_give_the_same_logits(tmp_path):
    dataset = recorded(tmp_path, SPACES["parts"], (5, 3, 4), labelled=False)
    torch.manual_seed(0)
    model, source = model_of(dataset, window=4).eval(), source_of(dataset, 4)
    batch = source.batch(np.arange(len(source)))
    with torch.no_grad():
        plain = model(**{**batch.inputs, "labels": None})
        told = model(**{**batch.inputs, "labels": batch.targets})
    there = batch.target_mask
    torch.testing.assert_close(told.action_logits[there], plain.action_logits[there], atol=1e-5, rtol=0)
    torch.testing.assert_close(told.language_logits, plain.language_logits, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_the_second_token_of_a_label_is_learnt_from_its_first_whatever_was_executed(tmp_path):
    header = counted_header(space=SpaceCodec.of(MultiDiscrete([2, 2])), frame_shape=(SIDE, SIDE, 3))
    generator = np.random.default_rng(0)
    with DatasetWriter(tmp_path, header) as writer:
        for seed in range(60):
            labels = np.repeat(generator.integers(0, 2, (4, 1)), 2, axis=1)  # both tokens the same
            executed = generator.integers(0, 2, (4, 2))
            frames = np.zeros((5, SIDE, SIDE, 3), np.uint8)
            writer.append(counted_episode(seed, 4, frames=frames, actions=executed, labels=labels))
    dataset = EpisodeDataset(tmp_path)
    torch.manual_seed(0)
    model, source = model_of(dataset, window=4), source_of(dataset, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for update in range(60):
        batch = source.batch(source.order(0, 16 * update, 16))
        compute_losses(run(model, batch), batch, LossRecipe(masked_image=0)).total.backward()
        optimizer.step()
        optimizer.zero_grad()
    batch = source.batch(np.arange(len(source)))
    with torch.no_grad():
        logits = run(model.eval(), batch).action_logits[..., 1, :]
    probability = logits.softmax(-1).gather(-1, batch.targets[..., 1:] + model.config.num_text_tokens)
    assert probability.mean() > 0.98
