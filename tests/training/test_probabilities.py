"""The expert's probabilities: recorded beside its labels, and in the batches of windows that are trained on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from counted import counted_episode, counted_header
from refusals import refusal

from agentgym.data.store import DatasetWriter, EpisodeDataset
from agentgym.data.store.extras import LABEL_PROBABILITIES
from agentgym.experts.collection import collect, make_headers
from agentgym.model.output import AgentOutput
from agentgym.recipes import LossRecipe, load_dataset
from agentgym.training.losses import compute_losses
from agentgym.training.mixture import join
from agentgym.training.windows import WindowSource

GAME = ("episodes=2", "suite.frame.size=[20,20]")


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Two episodes of Breakout."""
    path = tmp_path_factory.mktemp("probabilities") / "data"
    collect(load_dataset("minatar-breakout", GAME), path, workers=1)
    return EpisodeDataset(path)


def source_of(dataset, window=8):
    return WindowSource(
        dataset,
        np.arange(len(dataset)),
        window=window,
        tokenize=lambda text: np.array([2]),
        patches_per_frame=4,
    )


def test_every_step_has_the_probabilities_whose_likeliest_is_its_label(played):
    for number, episode in enumerate(played):
        given = played.extras(number)[LABEL_PROBABILITIES]
        assert (given.dtype, given.shape) == (np.float32, (len(episode) + 1, 3))
        assert np.allclose(given[:-1].sum(1), 1)
        assert not given[-1].any()
        assert np.array_equal(given[:-1].argmax(1), episode.labels)


def test_a_window_has_its_own_steps_probabilities_by_token(played):
    source = source_of(played)
    batch = source.batch(np.array([1, 3]))
    for row, (episode, start, stop) in enumerate(source.table[[1, 3]].tolist()):
        expected = played.extras(episode)[LABEL_PROBABILITIES][start:stop]
        assert np.array_equal(batch.probabilities[row, : stop - start].numpy(), expected)


def test_windows_without_probabilities_have_zeros_beside_those_that_have_some(played):
    soft = source_of(played).batch(np.array([0]))
    labels = source_of(played).batch(np.array([1]))
    both = join([replace(labels, probabilities=None), soft], np.array([1, 0]))
    assert torch.equal(both.probabilities[0], soft.probabilities[0])
    assert not both.probabilities[1].any()


def losses_of(logits, batch):
    """The losses of predictions of one action token a step, after one token of text."""
    return compute_losses(AgentOutput(torch.zeros(len(logits), 0, 4), logits[:, :, None], None), batch, LossRecipe())


def test_the_action_loss_is_the_cross_entropy_with_them(played):
    batch = source_of(played).batch(np.array([0, 1]))
    logits = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0))
    entropy = -(batch.probabilities * logits.log_softmax(-1)[..., 1:]).sum(-1)
    targets = batch.step_mask & ~batch.context_mask
    assert torch.allclose(losses_of(logits, batch).action.sum, entropy[targets].sum())


def test_certain_probabilities_are_labels_and_so_are_absent_ones(played):
    batch = source_of(played).batch(np.array([0, 1]))
    logits = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0))
    certain = torch.nn.functional.one_hot(batch.targets[..., 0], 3).float()
    expected = losses_of(logits, replace(batch, probabilities=None)).action.sum
    for probabilities in (certain, torch.zeros(2, 8, 3)):
        assert torch.allclose(losses_of(logits, replace(batch, probabilities=probabilities)).action.sum, expected)


def test_a_dataset_without_probabilities_is_trained_on_by_its_labels(tmp_path):
    with DatasetWriter(tmp_path, counted_header()) as writer:
        writer.append(counted_episode(0))
    assert source_of(EpisodeDataset(tmp_path)).batch(np.array([0])).probabilities is None


def test_an_expert_that_has_none_is_refused_before_anything_is_recorded():
    recipe = load_dataset("babyai-goto-redball", ["probabilities=true"])
    assert refusal(make_headers, recipe).startswith(
        "dataset babyai-goto-redball: probabilities: expert 'babyai-bot' has none of Discrete(7) in BabyAI-GoToRedBall"
    )
