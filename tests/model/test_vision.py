"""The visual encoder and the masked autoencoder's decoder: CLIP's own numbers, and only what is visible."""

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from agentgym.model.masked_autoencoder import MAEDecoder, split_patches
from agentgym.model.published_names import POSITIONS, clip_tensors
from agentgym.model.vision import (
    CLIP_MEAN,
    CLIP_STD,
    FrameSize,
    VisionEncoder,
    sine_cosine_positions,
    take,
)

CONFIG = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def encoder_of(image_size=12, patch_size=4):
    torch.manual_seed(0)
    encoder = VisionEncoder(CLIPVisionConfig(**CONFIG, image_size=image_size, patch_size=patch_size))
    return encoder.eval()


def some_frames(count=3, size=12):
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_with_clips_own_positions_put_back_the_features_are_clips():
    torch.manual_seed(0)
    config = CLIPVisionConfig(**CONFIG, image_size=12, patch_size=4)
    clip = CLIPVisionModel(config).eval()
    encoder = encoder_of()
    state = clip.state_dict()
    encoder.load_state_dict({**encoder.state_dict(), **clip_tensors(state), "positions": state[POSITIONS][1:]})
    encoder.start += state[POSITIONS][0]  # CLIP's class token has a position
    frames = some_frames()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    pixels = (frames.permute(0, 3, 1, 2) / 255 - mean) / std
    theirs = clip(pixel_values=pixels).last_hidden_state[:, 1:]
    torch.testing.assert_close(encoder(encoder.patchify(frames)), theirs, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_seeing_all_patches_is_seeing_plainly_in_whatever_order():
    encoder = encoder_of()
    patches = encoder.patchify(some_frames())
    plain = encoder(patches)
    torch.testing.assert_close(encoder(patches, torch.arange(9).expand(3, 9)), plain)
    order = torch.stack([torch.randperm(9) for _ in range(3)])
    torch.testing.assert_close(encoder(patches, order), take(plain, order), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_what_is_not_visible_changes_nothing():
    encoder = encoder_of()
    patches = encoder.patchify(some_frames(1))
    visible = torch.tensor([[4, 0, 7]])
    hidden = [i for i in range(9) if i not in visible[0]]
    other = patches.clone()
    other[:, hidden] = 5.0
    assert torch.equal(encoder(patches, visible), encoder(other, visible))


def test_patches_are_put_together_again_as_they_were():
    encoder = encoder_of()
    frames = some_frames()
    assert torch.equal(encoder.unpatchify(encoder.patchify(frames)), frames)


def test_a_patch_holds_the_pixels_of_its_square():
    encoder = encoder_of()
    frames = torch.zeros(1, 12, 12, 3, dtype=torch.uint8)
    frames[:, 4:8, 8:12] = 255  # row 1, column 2
    patches = encoder.patchify(frames)
    bright = [i for i in range(9) if not torch.equal(patches[0, i], patches[0, 0])]
    assert bright == [5]


def test_frames_that_fit_are_completed_with_black_where_the_size_completes():
    frames = torch.randint(0, 256, (2, 3, 56, 40, 3), dtype=torch.uint8)
    completed = FrameSize(80, completes=True).fit(frames)
    assert torch.equal(completed[:, :, :56, :40], frames)
    assert completed.sum() == frames.sum()
    assert not torch.equal(FrameSize(80).fit(frames), completed)


@pytest.mark.parametrize(("shape", "kept"), [((80, 80), (40, 40)), ((210, 160), (52, 40)), ((57, 3), (28, 1))])
def test_larger_frames_shrink_by_a_whole_factor_where_the_size_completes(shape, kept):
    white = torch.full((1, 1, *shape, 3), 255, dtype=torch.uint8)
    fitted = FrameSize(56, completes=True).fit(white)
    assert fitted.shape == (1, 1, 56, 56, 3)
    assert (fitted[:, :, : kept[0], : kept[1]] == 255).all()
    assert int((fitted == 255).sum()) == 3 * kept[0] * kept[1]


@pytest.mark.parametrize("completes", [False, True])
def test_frames_that_are_larger_are_resized_and_those_of_that_size_stay(completes):
    size, grey = FrameSize(16, completes), torch.full((1, 1, 32, 32, 3), 77, dtype=torch.uint8)
    assert torch.equal(size.fit(grey), grey[:, :, :16, :16])
    assert torch.equal(size.fit(grey[:, :, :16, :16]), grey[:, :, :16, :16])


def test_positions_are_fixed_and_the_start_has_none():
    encoder = encoder_of()
    assert "positions" not in dict(encoder.named_parameters())
    assert torch.equal(encoder.positions, sine_cosine_positions(3, 16))
    patches = encoder.patchify(some_frames())
    assert torch.equal(encoder.embed(patches)[:, 0], encoder.first_norm(encoder.start).expand(3, -1))


def test_positions_are_the_sines_and_cosines_of_column_and_row():
    positions = sine_cosine_positions(3, 8)
    x, y = torch.tensor(2.0), torch.tensor(1.0)
    frequency = torch.tensor([1.0, 0.01])
    expected = torch.cat([(x * frequency).sin(), (x * frequency).cos(), (y * frequency).sin(), (y * frequency).cos()])
    torch.testing.assert_close(positions[1 * 3 + 2], expected)
    assert len(torch.unique(positions, dim=0)) == 9


def test_positions_of_a_width_that_four_does_not_divide_are_refused():
    with pytest.raises(ValueError, match="a width that 4 divides, not 6"):
        sine_cosine_positions(3, 6)


@pytest.mark.parametrize(("ratio", "kept"), [(0.75, 4), (0.5, 8), (0.01, 15), (0.99, 1)])
def test_the_patches_with_the_least_noise_are_visible_and_the_others_masked(ratio, kept):
    noise = torch.rand(5, 16, generator=torch.Generator().manual_seed(0))
    visible, masked = split_patches(noise, ratio)
    assert visible.shape == (5, kept)
    for row in range(5):
        assert set(visible[row].tolist()) == set(noise[row].argsort()[:kept].tolist())
        assert set(masked[row].nonzero().flatten().tolist()) == set(range(16)) - set(visible[row].tolist())


@torch.no_grad()
def test_the_decoder_puts_every_visible_patch_at_its_place():
    torch.manual_seed(0)
    decoder = MAEDecoder(16, 9, 48, width=8, layers=1, heads=2)
    features, visible = torch.randn(2, 3, 16), torch.tensor([[0, 4, 8], [2, 1, 7]])
    order = torch.tensor([[2, 0, 1], [1, 2, 0]])
    predicted = decoder(features, visible)
    assert predicted.shape == (2, 9, 48)
    shuffled = decoder(take(features, order), visible.gather(1, order))
    torch.testing.assert_close(shuffled, predicted)
    elsewhere = decoder(features, torch.tensor([[0, 4, 6], [2, 1, 7]]))
    assert not torch.allclose(elsewhere[0], predicted[0])
    torch.testing.assert_close(elsewhere[1], predicted[1])
