"""The losses, against values worked out by hand."""

import math
from dataclasses import replace

import pytest
import torch

from agentgym.model.masked_autoencoder import Reconstruction
from agentgym.model.output import AgentOutput
from agentgym.recipes import LossRecipe
from agentgym.training.losses import compute_losses, frames_to_mask
from agentgym.training.windows import Batch

TEXT, ACTIONS = 2, 2  # the vocabulary: two text tokens, then two action tokens
PATCHES, PIXELS = 4, 3


def world(seed=0, batch=2, steps=3, words=3):
    """A batch with random contents and outputs: no model, nothing padded."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    frames = batch * steps
    masked = torch.tensor([[True, True, False, True]]).expand(frames, PATCHES)
    instruction = torch.randint(0, TEXT, (batch, words), generator=generator)
    actions = torch.randint(0, ACTIONS, (batch, steps, 1), generator=generator)
    inputs = Batch(
        instruction=instruction,
        instruction_mask=torch.ones(batch, words, dtype=torch.long),
        instruction_of=torch.arange(batch),
        frames=torch.zeros(batch, steps, 8, 8, 3, dtype=torch.uint8),
        actions=actions,
        targets=actions,
        step_mask=torch.ones(batch, steps, dtype=torch.bool),
        context_mask=torch.zeros(batch, steps, dtype=torch.bool),
        episodes=tuple(range(batch)),
        action_mask=None,
        target_mask=None,
        patches_per_frame=PATCHES,
        num_action_tokens=ACTIONS,
    )
    output = AgentOutput(
        language_logits=draw(batch, words - 1, TEXT + ACTIONS),
        action_logits=draw(batch, steps, 1, TEXT + ACTIONS),
        reconstruction=Reconstruction(draw(frames, PATCHES, PIXELS), draw(frames, PATCHES, PIXELS), masked),
    )
    return output, inputs


def log(*probabilities):
    """Logits that make these probabilities."""
    return torch.tensor(probabilities).log()


@pytest.fixture
def by_hand():
    """One sample of one word to predict and two steps, with easy probabilities and errors.

    The word has probability 1/2; the two actions 1/4 and 1/8. The reconstruction of frame 1 is off by 1 in every pixel
    of its first patch and by 2 in those of its second; that of frame 2 by 3 in its fourth patch, which is visible.
    """
    predicted = torch.zeros(2, PATCHES, PIXELS)
    predicted[0, 0], predicted[0, 1], predicted[1, 3] = 1.0, 2.0, 3.0
    masked = torch.tensor([[True, True, True, False], [True, True, True, False]])
    output = AgentOutput(
        language_logits=log(0.25, 0.5, 0.125, 0.125).view(1, 1, 4),
        action_logits=torch.stack([log(0.25, 0.25, 0.25, 0.25), log(0.125, 0.5, 0.25, 0.125)]).view(1, 2, 1, 4),
        reconstruction=Reconstruction(torch.zeros(2, PATCHES, PIXELS), predicted, masked),
    )
    inputs = Batch(
        instruction=torch.tensor([[0, 1]]),
        instruction_mask=torch.ones(1, 2, dtype=torch.long),
        instruction_of=torch.zeros(1, dtype=torch.long),
        frames=torch.zeros(1, 2, 8, 8, 3, dtype=torch.uint8),
        actions=torch.tensor([[[1], [1]]]),  # executed, which the losses do not look at
        targets=torch.tensor([[[0], [1]]]),
        step_mask=torch.ones(1, 2, dtype=torch.bool),
        context_mask=torch.zeros(1, 2, dtype=torch.bool),
        episodes=(0,),
        action_mask=None,
        target_mask=None,
        patches_per_frame=PATCHES,
        num_action_tokens=ACTIONS,
    )
    return output, inputs


PAPER = {"language": 1.0, "masked_image": 1.0, "action": 1.0}  # the weights
NORMALISER = 1 + 2 * (PATCHES + 1)  # one predicted word, two steps of four patches and one action token


def test_the_parts_are_the_sums_of_the_equations(by_hand):
    losses = compute_losses(*by_hand, LossRecipe())
    assert losses.language.sum.item() == pytest.approx(math.log(2))
    assert losses.action.sum.item() == pytest.approx(math.log(4) + math.log(8))
    assert losses.masked_image.sum.item() == pytest.approx(1 + 4)  # means over a patch's pixels
    assert (losses.language.count, losses.action.count, losses.masked_image.count) == (1, 2, 6)
    assert losses.action.mean == pytest.approx((math.log(4) + math.log(8)) / 2)


def test_the_total_is_their_sum_over_words_patches_and_action_tokens(by_hand):
    losses = compute_losses(*by_hand, LossRecipe(**PAPER))
    assert losses.total.item() == pytest.approx((math.log(2) + 5 + math.log(32)) / NORMALISER)


def test_the_squared_norm_of_the_equation_is_the_sum_over_pixels(by_hand):
    losses = compute_losses(*by_hand, LossRecipe(pixel_reduction="sum"))
    assert losses.masked_image.sum.item() == pytest.approx(PIXELS * 5)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"language": 0.0}, 5 + math.log(32)),
        ({"masked_image": 0.0}, math.log(2) + math.log(32)),
        ({"action": 0.0}, math.log(2) + 5),
        ({"language": 2.0, "masked_image": 0.1, "action": 3.0}, 2 * math.log(2) + 0.5 + 3 * math.log(32)),
        ({"language": 0.0, "masked_image": 0.0, "action": 0.0}, 0.0),
    ],
)
def test_a_weight_scales_its_part_of_the_total_and_not_what_is_logged(by_hand, weights, expected):
    losses = compute_losses(*by_hand, LossRecipe(**{**PAPER, **weights}))
    assert losses.total.item() == pytest.approx(expected / NORMALISER)
    assert losses.language.sum.item() == pytest.approx(math.log(2))
    assert losses.masked_image.sum.item() == pytest.approx(5)


def test_only_masked_patches_count(by_hand):
    output, inputs = by_hand
    before = compute_losses(output, inputs, LossRecipe())
    output.reconstruction.predicted[:, 3] = 100.0  # the visible one of each frame
    assert compute_losses(output, inputs, LossRecipe()).total == before.total
    output.reconstruction.predicted[0, 2] = 1.0
    assert compute_losses(output, inputs, LossRecipe()).masked_image.sum.item() == pytest.approx(6)


def test_without_a_reconstruction_there_is_no_image_loss(by_hand):
    output, inputs = by_hand
    losses = compute_losses(replace(output, reconstruction=None), inputs, LossRecipe())
    assert losses.total.item() == pytest.approx((math.log(2) + math.log(32)) / NORMALISER)
    assert (losses.masked_image.mean, losses.masked_image.count) == (0.0, 0)


def test_right_action_tokens_are_counted_among_the_action_tokens_only():
    output, inputs = world(batch=1, steps=3)
    logits = torch.tensor([[0.0, 0, 2, 1], [9.0, 9, 1, 2], [0.0, 0, 1, 2]]).view(1, 3, 1, 4)
    targets = torch.tensor([[[0], [1], [0]]])
    losses = compute_losses(replace(output, action_logits=logits), replace(inputs, targets=targets), LossRecipe())
    assert losses.correct == 2


def test_a_step_that_is_only_context_is_no_target():
    output, inputs = world()
    before = compute_losses(output, inputs, LossRecipe())
    inputs.context_mask[:, 0] = True
    after = compute_losses(output, inputs, LossRecipe())
    assert after.action.count == before.action.count - len(inputs.actions)
    assert after.masked_image == before.masked_image
    changed = replace(inputs, targets=inputs.targets.clone())
    changed.targets[:, 0] = (changed.targets[:, 0] + 1) % ACTIONS
    assert compute_losses(output, changed, LossRecipe()).total == after.total


def test_empty_places_of_shorter_actions_count_for_nothing():
    output, inputs = world(batch=1, steps=2)
    shorter = compute_losses(output, inputs, LossRecipe())
    wide = replace(
        inputs,
        actions=torch.cat([inputs.actions] * 2, dim=2),
        targets=torch.cat([inputs.targets] * 2, dim=2),
        target_mask=torch.tensor([[[True, False]] * 2]),
    )
    wider = replace(output, action_logits=torch.cat([output.action_logits] * 2, dim=2))
    same = compute_losses(wider, wide, LossRecipe())
    assert same.total.item() == pytest.approx(shorter.total.item())
    assert (same.action.count, same.correct) == (shorter.action.count, shorter.correct)


def test_two_half_batches_average_to_the_whole():
    output, inputs = world(batch=4)

    def half(rows, frames):
        part = Reconstruction(*(value[frames] for value in vars(output.reconstruction).values()))
        names = ("instruction", "instruction_mask", "frames", "actions", "targets", "step_mask", "context_mask")
        return (
            AgentOutput(output.language_logits[rows], output.action_logits[rows], part),
            replace(inputs, **{name: getattr(inputs, name)[rows] for name in names}, instruction_of=torch.arange(2)),
        )

    inputs.step_mask[0, 2] = False  # the samples have different normalisers
    whole = compute_losses(
        replace(output, reconstruction=Reconstruction(*(v[:11] for v in vars(output.reconstruction).values()))),
        inputs,
        LossRecipe(),
    )
    first = compute_losses(*half(slice(0, 2), slice(0, 5)), LossRecipe())
    second = compute_losses(*half(slice(2, 4), slice(5, 11)), LossRecipe())
    assert whole.total.item() == pytest.approx((first.total + second.total).item() / 2, rel=1e-5)
    for part in ("language", "masked_image", "action"):
        parts = [getattr(losses, part) for losses in (first, second, whole)]
        assert (parts[0].sum + parts[1].sum).item() == pytest.approx(parts[2].sum.item(), rel=1e-5)
        assert parts[0].count + parts[1].count == parts[2].count
    assert first.correct + second.correct == whole.correct


def test_padding_changes_nothing(by_hand):
    output, inputs = by_hand
    before = compute_losses(output, inputs, LossRecipe())
    wrong = torch.full((1, 3, 4), 7.0)
    padded_output = replace(
        output,
        language_logits=torch.cat([wrong[:, :2], output.language_logits], dim=1),
        action_logits=torch.cat([output.action_logits, wrong.unsqueeze(2)], dim=1),
    )
    padded_inputs = replace(
        inputs,
        instruction=torch.cat([torch.ones(1, 2, dtype=torch.long), inputs.instruction], dim=1),
        instruction_mask=torch.tensor([[0, 0, 1, 1]]),
        frames=torch.zeros(1, 5, 8, 8, 3, dtype=torch.uint8),
        actions=torch.cat([inputs.actions, torch.zeros(1, 3, 1, dtype=torch.long)], dim=1),
        targets=torch.cat([inputs.targets, torch.zeros(1, 3, 1, dtype=torch.long)], dim=1),
        step_mask=torch.tensor([[True, True, False, False, False]]),
        context_mask=torch.zeros(1, 5, dtype=torch.bool),
    )
    after = compute_losses(padded_output, padded_inputs, LossRecipe())
    assert after.total.item() == pytest.approx(before.total.item())
    assert (after.language.count, after.action.count, after.correct) == (
        before.language.count,
        before.action.count,
        before.correct,
    )


def test_the_losses_are_taken_in_float32():
    output, inputs = world()
    half = replace(
        output,
        language_logits=output.language_logits.bfloat16(),
        action_logits=output.action_logits.bfloat16(),
    )
    assert compute_losses(half, inputs, LossRecipe()).total.dtype == torch.float32


def test_the_gradient_of_the_total_reaches_all_three_parts():
    output, inputs = world()
    leaves = [output.language_logits, output.action_logits, output.reconstruction.predicted]
    for leaf in leaves:
        leaf.requires_grad_()
    compute_losses(output, inputs, LossRecipe()).total.backward()
    assert all(leaf.grad.abs().sum() > 0 for leaf in leaves)
    assert not output.reconstruction.predicted.grad[:, 2].any()  # visible


def test_which_frames_are_masked():
    _, inputs = world(batch=3, steps=3)
    inputs = replace(
        inputs,
        step_mask=torch.tensor([[True, True, True], [True, True, False], [True, False, False]]),
        context_mask=torch.tensor([[True, False, False], [False] * 3, [False] * 3]),
    )
    noise = torch.tensor([[0.95, 0.9, 0.1], [0.3, 0.2, 0.9], [0.1, 0.5, 0.6]])[..., None].expand(-1, -1, PATCHES)

    def chosen(which):
        return frames_to_mask(inputs, noise, LossRecipe(masked_frames=which)).int().tolist()

    assert chosen("all") == [[1, 1, 1], [1, 1, 0], [1, 0, 0]]
    assert chosen("targets") == [[0, 1, 1], [1, 1, 0], [1, 0, 0]]
    assert chosen("one") == [[0, 1, 0], [1, 0, 0], [1, 0, 0]]
    share = frames_to_mask(world(batch=2000)[1], torch.rand(2000, 3, PATCHES), LossRecipe(masked_frames=0.25))
    assert 0.2 < share.float().mean() < 0.3


def test_averaged_over_targets_a_window_counts_as_often_as_it_has_some():
    output, inputs = world(batch=1)
    by_target = compute_losses(output, inputs, LossRecipe(average_over="targets")).total
    torch.testing.assert_close(by_target, 3 * compute_losses(output, inputs, LossRecipe()).total)


def test_a_frame_that_is_not_masked_has_no_error_and_its_patches_stay_in_the_normaliser():
    output, inputs = world()
    some = torch.tensor([[True, False, True], [False, True, False]])
    fewer = replace(output, reconstruction=output.reconstruction.of(some.flatten().nonzero().squeeze(1)))
    recipe = LossRecipe(**PAPER)
    every, few = compute_losses(output, inputs, recipe), compute_losses(fewer, inputs, recipe, some)
    assert (every.masked_image.count, few.masked_image.count) == (18, 9)
    part = (output.reconstruction.predicted - output.reconstruction.patches).square().mean(-1)[:, [0, 1, 3]].sum(1)
    left_out = part.view(2, 3)[~some].sum()
    words, frames, actions = 2, 3 * PATCHES, 3
    expected = every.total - left_out / (words + frames + actions) / 2
    torch.testing.assert_close(few.total, expected)
