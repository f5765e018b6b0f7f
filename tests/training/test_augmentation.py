"""Colour jitter: within its bounds, one draw a window, nothing where nothing is asked for."""

import pytest
import torch

from agentgym.recipes import ColourJitter
from agentgym.training.augmentation import jitter_colours

NONE = {"brightness": (1.0, 1.0), "contrast": (1.0, 1.0), "saturation": (1.0, 1.0), "hue": 0.0}
FRAMES = torch.randint(0, 256, (2, 3, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LOW, HIGH = torch.zeros(2, 4), torch.ones(2, 4)


def test_factors_of_one_change_nothing():
    difference = jitter_colours(FRAMES, torch.rand(2, 4), ColourJitter(**NONE)).int() - FRAMES.int()
    assert difference.abs().max() <= 1


@pytest.mark.parametrize("chances", [LOW, HIGH])
def test_brightness_multiplies_the_pixels(chances):
    dark = FRAMES // 4 * 2
    factor = 0.7 if chances is LOW else 1.4
    jittered = jitter_colours(dark, chances, ColourJitter(**{**NONE, "brightness": (0.7, 1.4)}))
    assert (jittered.float() - dark.float() * factor).abs().max() <= 1


def test_no_saturation_is_grey_and_a_frame_of_one_colour_has_no_contrast_to_change():
    grey = jitter_colours(FRAMES, LOW, ColourJitter(**{**NONE, "saturation": (0.0, 1.0)}))
    assert (grey.amax(-1) - grey.amin(-1)).max() <= 1
    plain = torch.full((2, 3, 8, 8, 3), 90, dtype=torch.uint8)
    contrasted = jitter_colours(plain, HIGH, ColourJitter(**{**NONE, "contrast": (0.7, 1.4)}))
    assert (contrasted.int() - 90).abs().max() <= 1


def test_hue_keeps_the_luma_and_moves_the_colours():
    muted = FRAMES // 2 + 64
    turned = jitter_colours(muted, HIGH, ColourJitter(**{**NONE, "hue": 0.05}))
    luma = torch.tensor([0.299, 0.587, 0.114])
    assert ((turned.float() - muted.float()) @ luma).abs().max() < 1.5
    assert (turned.int() - muted.int()).abs().max() > 10


def test_equal_frames_of_a_window_stay_equal_and_windows_differ():
    same = FRAMES[:1, :1].expand(2, 3, -1, -1, -1)
    jittered = jitter_colours(same, torch.tensor([[0.1, 0.9, 0.2, 0.8], [0.9, 0.1, 0.7, 0.3]]), ColourJitter())
    assert torch.equal(jittered[:, 0], jittered[:, 2])
    assert not torch.equal(jittered[0], jittered[1])
