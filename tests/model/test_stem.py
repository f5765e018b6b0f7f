"""The convolutional stem: what is hidden stays hidden, and it is the convolutions of the whole frame."""

import pytest
import torch
import torch.nn.functional as F
from transformers import CLIPVisionConfig

from agentgym.errors import UserError
from agentgym.model.stem import ConvolutionalStem
from agentgym.model.vision import VisionEncoder

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def encoder_of():
    torch.manual_seed(0)
    config = CLIPVisionConfig(**SIZES, image_size=12, patch_size=4)
    return VisionEncoder(config, convolutional_stem=True).eval()


def some_frames(count=3, size=12):
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_the_features_are_the_convolutions_of_the_frame():
    encoder, frames = encoder_of(), some_frames()
    pixels = (frames.permute(0, 3, 1, 2) / 255 - encoder.mean) / encoder.std
    first, second = encoder.stem.convolutions
    hidden = F.conv2d(pixels, first.weight, first.bias, stride=2, padding=1).relu()
    hidden = F.conv2d(hidden, second.weight, second.bias, stride=2, padding=1).relu()
    expected = hidden.permute(0, 2, 3, 1).flatten(1, 2)  # 3x3 places, row by row
    torch.testing.assert_close(encoder.stem(encoder.patchify(frames)), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_what_is_not_visible_changes_nothing():
    encoder = encoder_of()
    patches = encoder.patchify(some_frames(1))
    visible = torch.tensor([[4, 0, 7]])
    other = patches.clone()
    other[:, [i for i in range(9) if i not in visible[0]]] = 5.0
    assert torch.equal(encoder(patches, visible), encoder(other, visible))


@torch.no_grad()
def test_seeing_all_patches_is_seeing_plainly():
    encoder = encoder_of()
    patches = encoder.patchify(some_frames())
    torch.testing.assert_close(encoder(patches, torch.arange(9).expand(3, 9)), encoder(patches))


@torch.no_grad()
def test_a_thing_that_moves_by_a_patch_moves_its_features():
    stem = ConvolutionalStem(5, 4, 16)
    frames = torch.zeros(2, 25, 3, 4, 4)
    frames[0, 6, :, 1, 2] = frames[1, 7, :, 1, 2] = 1.0
    here, there = stem(frames.flatten(2)).unflatten(1, (5, 5))
    torch.testing.assert_close(here[:, :-1], there[:, 1:])


@pytest.mark.parametrize("patch", [1, 14])
def test_patches_that_cannot_be_halved_to_one_place_are_refused(patch):
    with pytest.raises(UserError, match="cannot be halved"):
        ConvolutionalStem(2, patch, 64)


@torch.no_grad()
def test_acting_is_in_float32_where_training_is_in_bfloat16():
    encoder = encoder_of()
    patches = encoder.patchify(some_frames())
    plain = encoder.stem(patches)
    encoder.stem.trains_in_bfloat16 = True
    assert torch.equal(encoder.stem(patches), plain)
    trained = encoder.train().stem(patches)
    assert trained.dtype == torch.float32
    assert 0 < (trained - plain).abs().max() < 0.05
