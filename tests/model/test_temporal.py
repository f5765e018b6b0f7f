"""Attention over time in the visual encoder: it changes nothing at the start, looks back only, and takes images too."""

import numpy as np
import pytest
import torch
from tiny import experiment_recipe, model_of, sources_of, tokenizer_of
from transformers import CLIPVisionConfig

from agentgym.environments import encode_instruction
from agentgym.errors import UserError
from agentgym.model.vision import VisionEncoder
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.recipes import LossRecipe
from agentgym.training.losses import compute_losses, frames_to_mask

CONFIG = CLIPVisionConfig(
    hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8
)


def encoder(*, trained: bool) -> VisionEncoder:
    """An encoder of clips of up to 5 frames; `trained`: what time adds is no longer 0."""
    torch.manual_seed(0)
    made = VisionEncoder(CONFIG, clip_frames=5)
    if trained:
        for parameter in made.temporal.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


@pytest.fixture
def patches():
    return torch.rand(2 * 4, 4, 3 * 8 * 8, generator=torch.Generator().manual_seed(1))


def test_at_the_start_the_features_are_those_of_the_image_encoder(patches):
    of_clips = encoder(trained=False)
    images = VisionEncoder(CONFIG).eval()
    images.load_state_dict({k: v for k, v in of_clips.state_dict().items() if not k.startswith("temporal")})
    assert torch.allclose(of_clips(patches, time=4), images(patches), atol=1e-6)


def test_a_clip_of_one_frame_is_an_image(patches):
    made = encoder(trained=True)
    assert torch.equal(made(patches, time=1), made(patches))
    assert torch.allclose(made(patches, time=4)[::4], made(patches[::4]), atol=1e-6)  # nothing stands before it


def test_a_frame_is_read_from_those_before_it_only(patches):
    made = encoder(trained=True)
    changed = patches.clone()
    changed[2] += 1  # the third frame of the first clip
    differs = (made(patches, time=4) - made(changed, time=4)).abs().amax((1, 2)) > 1e-6
    assert differs.tolist() == [False, False, True, True, False, False, False, False]


def test_time_is_attended_to_patch_by_patch():
    temporal = encoder(trained=True).temporal[0]
    hidden = torch.rand(4, 5, 16, generator=torch.Generator().manual_seed(2))
    changed = hidden.clone()
    changed[0, 3] = torch.arange(16.0)
    differs = (temporal(hidden, 4) - temporal(changed, 4)).abs().amax(2) > 1e-6
    assert differs.any(0).tolist() == [False, False, False, True, False]
    assert differs[:, 3].all()


def test_a_clip_longer_than_the_encoder_takes_is_an_error(patches):
    with pytest.raises(ValueError, match="a clip of 8 frames; this encoder takes 5 at most"):
        encoder(trained=False)(patches, time=8)


@pytest.fixture(scope="module")
def world(demonstrations):
    torch.manual_seed(0)
    model = model_of(demonstrations, temporal_attention=True)
    for parameter in model.vision_encoder.temporal.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model, sources_of(demonstrations)[0]


def forward(model, batch, noise=None):
    return model(**batch.inputs, mask_noise=noise)


def test_padding_changes_no_logit_of_a_window(world):
    model, source = world
    windows = source.batch(source.order(0, 0, 6))
    steps = windows.step_mask.sum(1)
    assert steps.min() < steps.max()
    together = forward(model, windows).action_logits
    for row, index in enumerate(source.order(0, 0, 6)):
        alone = forward(model, source.batch(source.order(0, 0, 6)[row : row + 1])).action_logits[0]
        assert torch.allclose(together[row, : steps[row]], alone, atol=1e-5), index


def test_a_clip_is_masked_in_tubes_and_reconstructed_where_it_is_real(world):
    model, source = world
    batch = source.batch(source.order(0, 0, 4))
    frames = batch.step_mask.sum(1).tolist()
    noise = torch.rand(sum(frames), 49, generator=torch.Generator().manual_seed(0))
    output = forward(model, batch, noise)
    assert len(output.reconstruction.masked) == sum(frames)
    for clip in output.reconstruction.masked.split(frames):
        assert (clip == clip[0]).all()
    assert output.reconstruction.masked.sum(1).unique().tolist() == [37]
    losses = compute_losses(output, batch, experiment_recipe().losses)
    losses.total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.vision_encoder.temporal.parameters())


@pytest.mark.parametrize("which", ["all", "targets", "one"])
@torch.no_grad()
def test_the_mask_of_a_clip_is_random_whichever_frames_are_chosen(world, which):
    model, source = world
    batch = source.batch(np.array([np.flatnonzero(source.table[:, 1] == 0)[0], np.flatnonzero(source.table[:, 1])[0]]))
    assert batch.context_mask[1].any()
    recipe, generator = LossRecipe(masked_frames=which), torch.Generator().manual_seed(0)
    seen, draws = (set(), set()), 30
    for _ in range(draws):
        noise = torch.rand(*batch.step_mask.shape, 49, generator=generator)
        frames = frames_to_mask(batch, noise, recipe)
        masked = model(**batch.inputs, mask_noise=noise[frames], masked_frames=frames).reconstruction.masked
        for masks, clip in zip(seen, masked.split(frames.sum(1).tolist()), strict=True):
            assert (clip == clip[0]).all()
            masks.add(tuple(clip[0].tolist()))
    assert [len(masks) for masks in seen] == [draws, draws]


def test_an_agent_that_reads_clips_acts_as_it_was_trained(world):
    model, source = world
    dataset, tokenizer = source._dataset, tokenizer_of(source._dataset)
    policy = AgentPolicy(model, tokenizer)
    rows = [row for row in range(len(source)) if source.table[row, 1] == 0 and source.table[row, 2] >= 3][:2]
    batch = source.batch(np.array(rows))
    text = dataset.column("instruction")
    instruction = np.stack([encode_instruction(text[episode], 64) for episode in batch.episodes])
    expected = forward(model, batch).action_logits[..., model.config.num_text_tokens :].argmax(-1)
    state = None
    for step in range(3):
        observation = {"frame": batch.frames[:, step].numpy(), "instruction": instruction}
        actions, state = policy.predict(observation, state, deterministic=True)
        assert actions.tolist() == expected[:, step, 0].tolist()
        state = policy.executed(state, batch.actions[:, step, 0].tolist())


def test_what_reads_frames_one_by_one_refuses_it(world):
    model, _ = world
    with pytest.raises(UserError, match="an exported policy reads frames one by one"):
        model.check_reads_images("an exported policy")
