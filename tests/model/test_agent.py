"""AgentModel: causal, blind to padding, the same for a batch as for singles, and exact on disk."""

import pytest
import torch
from refusals import refusal
from small_agent import ACTIONS, CLOSE, TEXT, inputs_of, model_of, row, run

from agentgym.model.tokenizer import PAD


def test_logits_are_over_the_text_tokens_then_the_action_tokens(model):
    output = run(model, inputs_of())
    assert output.language_logits.shape == (2, 4, TEXT + ACTIONS)
    assert output.action_logits.shape == (2, 3, 1, TEXT + ACTIONS)
    assert output.reconstruction is None


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_later_frame_changes_no_earlier_logits(model, step):
    inputs = inputs_of()
    other = {**inputs, "frames": inputs["frames"].clone()}
    other["frames"][:, step] = 255 - other["frames"][:, step]
    before, after = run(model, inputs), run(model, other)
    torch.testing.assert_close(after.language_logits, before.language_logits, **CLOSE)
    torch.testing.assert_close(after.action_logits[:, :step], before.action_logits[:, :step], **CLOSE)
    assert not torch.allclose(after.action_logits[:, step], before.action_logits[:, step], **CLOSE)


@pytest.mark.parametrize("step", [0, 1, 2])
def test_an_action_changes_the_logits_of_later_actions_only(model, step):
    inputs = inputs_of()
    other = {**inputs, "actions": inputs["actions"].clone()}
    other["actions"][:, step] = (other["actions"][:, step] + 1) % ACTIONS
    before, after = run(model, inputs), run(model, other)
    assert torch.equal(after.action_logits[:, : step + 1], before.action_logits[:, : step + 1])
    for later in range(step + 1, 3):
        assert not torch.allclose(after.action_logits[:, later], before.action_logits[:, later], **CLOSE)


def test_a_later_word_changes_no_earlier_logits_and_every_action(model):
    inputs = inputs_of()
    other = {**inputs, "instruction": inputs["instruction"].clone()}
    other["instruction"][:, 3] = 4 + (other["instruction"][:, 3] - 3) % (TEXT - 4)
    before, after = run(model, inputs), run(model, other)
    torch.testing.assert_close(after.language_logits[:, :3], before.language_logits[:, :3], **CLOSE)
    for step in range(3):
        assert not torch.allclose(after.action_logits[:, step], before.action_logits[:, step], **CLOSE)


def test_padding_the_instruction_changes_nothing(model):
    inputs = inputs_of()
    padding = torch.full((2, 3), PAD)
    padded = {
        **inputs,
        "instruction": torch.cat([padding, inputs["instruction"]], dim=1),
        "instruction_mask": torch.cat([torch.zeros_like(padding), inputs["instruction_mask"]], dim=1),
    }
    before, after = run(model, inputs), run(model, padded)
    torch.testing.assert_close(after.action_logits, before.action_logits, **CLOSE)
    torch.testing.assert_close(after.language_logits[:, 3:], before.language_logits, **CLOSE)


def test_padding_the_steps_changes_nothing(model):
    inputs = inputs_of()
    more = inputs_of(steps=2, seed=9)
    padded = dict(inputs)
    for name in ("frames", "actions"):
        padded[name] = torch.cat([inputs[name], more[name]], dim=1)
    padded["step_mask"] = torch.cat([inputs["step_mask"], torch.zeros(2, 2, dtype=torch.bool)], dim=1)
    before, after = run(model, inputs), run(model, padded)
    torch.testing.assert_close(after.action_logits[:, :3], before.action_logits, **CLOSE)
    torch.testing.assert_close(after.language_logits, before.language_logits, **CLOSE)


def test_a_batch_equals_its_rows_one_by_one(model):
    inputs = inputs_of(batch=4)
    inputs["instruction"][1, :2], inputs["instruction_mask"][1, :2] = PAD, 0
    inputs["step_mask"][2, 1:] = False
    noise = torch.rand(int(inputs["step_mask"].sum()), 9, generator=torch.Generator().manual_seed(0))
    together = run(model, inputs, mask_noise=noise)
    first = 0
    for index in range(4):
        alone_inputs = row(inputs, index)
        frames = int(alone_inputs["step_mask"].sum())
        alone = run(model, alone_inputs, mask_noise=noise[first : first + frames])
        real_steps, real_words = inputs["step_mask"][index], inputs["instruction_mask"][index, :-1].bool()
        pairs = [
            (together.action_logits[index, real_steps], alone.action_logits[0, real_steps]),
            (together.language_logits[index, real_words], alone.language_logits[0, real_words]),
            (together.reconstruction.predicted[first : first + frames], alone.reconstruction.predicted),
        ]
        for a, b in pairs:
            torch.testing.assert_close(a, b, **CLOSE)
        assert torch.equal(together.reconstruction.masked[first : first + frames], alone.reconstruction.masked)
        first += frames


def test_the_reconstruction_is_of_the_real_frames_in_order(model):
    inputs = inputs_of()
    inputs["step_mask"][0, 1:] = False
    reconstruction = run(model, inputs, mask_noise=torch.rand(4, 9)).reconstruction
    real = inputs["frames"][inputs["step_mask"]]
    assert torch.equal(model.vision_encoder.unpatchify(reconstruction.patches), real)
    assert reconstruction.predicted.shape == reconstruction.patches.shape
    assert reconstruction.masked.sum(1).tolist() == [7] * 4  # of 9 patches 25 % are seen


def test_the_masked_autoencoder_changes_no_logits(model):
    inputs = inputs_of()
    with_it = run(model, inputs, mask_noise=torch.rand(6, 9))
    assert torch.equal(with_it.action_logits, run(model, inputs).action_logits)


def test_a_frame_is_reconstructed_the_same_whichever_others_are(model):
    inputs = inputs_of()
    noise, some = torch.rand(2, 3, 9), torch.tensor([[True, False, True], [False, True, False]])
    every = run(model, inputs, mask_noise=noise.flatten(0, 1)).reconstruction
    few = run(model, inputs, mask_noise=noise[some], masked_frames=some).reconstruction
    torch.testing.assert_close(few.predicted, every.predicted[some.flatten()])
    assert torch.equal(few.masked, every.masked[some.flatten()])


def test_no_frame_may_be_reconstructed_and_every_weight_still_has_a_gradient(model):
    none = torch.zeros(2, 3, dtype=torch.bool)
    output = model(**inputs_of(), mask_noise=torch.rand(0, 9), masked_frames=none)
    (output.action_logits.sum() + output.reconstruction.predicted.sum()).backward()
    assert all(weight.grad is not None for weight in model.mae_decoder.parameters())
    model.zero_grad(set_to_none=True)


def test_reading_the_encoded_frames_is_the_forward_pass(model):
    inputs = inputs_of()
    with torch.no_grad():
        visual = model.encode(inputs["frames"].flatten(0, 1)).unflatten(0, (2, 3))
        layout, hidden = model.read(inputs["instruction"], inputs["instruction_mask"], visual, inputs["actions"])
        logits = model.logits(layout.predicts_actions(hidden))
    torch.testing.assert_close(logits, run(model, inputs).action_logits, **CLOSE)


@pytest.mark.parametrize(("merge", "tokens"), [(1, 9), (2, 4), (3, 1)])
def test_patches_are_merged_in_squares_and_every_patch_counts(merge, tokens):
    model = model_of(patch_merge=merge)
    frames = inputs_of()["frames"].flatten(0, 1)[:1]
    patches = model.vision_encoder.patchify(frames).requires_grad_()
    visual = model.project(model.vision_encoder(patches))
    assert visual.shape == (1, tokens, 32)
    visual.square().sum().backward()
    assert (patches.grad.abs().sum(-1) > 0).all()


def test_a_merged_token_holds_the_patches_of_its_square(model):
    features = torch.zeros(1, 9, 16)
    features[0, 5] = torch.arange(16.0)  # row 1, column 2: the square at the right of the upper row
    with torch.no_grad():
        changed = (model.project(features) - model.project(torch.zeros(1, 9, 16))).abs().sum(-1)[0] > 0
    assert changed.tolist() == [False, True, False, False]


def test_every_parameter_but_the_positions_learns_from_the_three_losses(model):
    inputs = inputs_of()
    output = model(**inputs, mask_noise=torch.rand(6, 9))
    total = output.language_logits.float().logsumexp(-1).sum() + output.action_logits.float().logsumexp(-1).sum()
    (total + output.reconstruction.predicted.square().sum()).backward()
    still = {name for name, value in model.named_parameters() if value.requires_grad and value.grad is None}
    model.zero_grad()
    assert still == set()


def test_the_vocabulary_is_tied(model):
    names = [name for name, value in model.named_parameters() if value.shape[0] == TEXT + ACTIONS]
    assert names == ["language_model.embeddings.weight"]


def test_a_model_depends_on_its_seed_only():
    first, second = model_of().state_dict(), model_of().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_table_is_what_transformers_asks_for_and_is_not_resized(model):
    assert model.get_input_embeddings() is model.language_model.embeddings
    assert "with_domains adds actions" in refusal(model.resize_token_embeddings, 7)


def test_what_is_computed_of_short_actions_does_not_depend_on_longer_ones(model):
    inputs = inputs_of(batch=2, steps=3)
    alone = run(model, inputs).action_logits
    empty = torch.zeros(2, 3, 2, dtype=torch.long)
    wide = {**inputs, "actions": torch.cat([inputs["actions"], empty], dim=2)}
    mask = torch.tensor([True, False, False]).expand(2, 3, 3).clone()
    same = run(model, {**wide, "action_mask": mask}).action_logits
    torch.testing.assert_close(same[:, :, 0], alone[:, :, 0])
    mask[0, 1] = True  # one action of the first row has three tokens
    other = run(model, {**wide, "action_mask": mask}).action_logits
    torch.testing.assert_close(other[1, :, 0], alone[1, :, 0])
    torch.testing.assert_close(other[0, :2, 0], alone[0, :2, 0])
    assert not torch.allclose(other[0, 2, 0], alone[0, 2, 0])


def test_the_instructions_padding_changes_nothing_where_actions_have_different_lengths(model):
    inputs = inputs_of(batch=1)
    mask = torch.ones(1, 3, 1, dtype=torch.bool)
    padding = torch.full((1, 2), PAD)
    padded = {
        **inputs,
        "instruction": torch.cat([padding, inputs["instruction"]], dim=1),
        "instruction_mask": torch.cat([torch.zeros_like(padding), inputs["instruction_mask"]], dim=1),
        "action_mask": mask,
    }
    torch.testing.assert_close(run(model, padded).action_logits, run(model, inputs).action_logits)
