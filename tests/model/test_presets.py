"""Presets: the sizes that they promise, checked where no memory is needed."""

import pytest
import torch
from refusals import refusal

from agentgym.model.agent import AgentModel
from agentgym.model.presets import PRESETS, describe_frames, make_config
from agentgym.spaces import SpaceCodec
from agentgym.spaces.domains import Domain

CODEC = SpaceCodec.discrete(tuple("abcdefg"), start=2)
DATA = {"num_text_tokens": 500, "instruction_tokens": 10, "frame_side": 56}


def config_of(preset, window=4, **changes):
    domains = [Domain(CODEC, (56, 56), window, ("t",))]
    return make_config(preset, **{**DATA, "domains": domains, **changes})


def model_of(preset, **changes):
    with torch.device("meta"):
        return AgentModel(config_of(preset, **changes))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_paper_preset_is_clip_b_16_and_opt_125m():
    opt_vocabulary = 50_272
    model = model_of("paper", num_text_tokens=opt_vocabulary, window=9)
    assert count(model.vision_encoder) + 197 * 768 == 85_799_424  # openai/clip-vit-base-patch16's vision model
    assert count(model.language_model) - CODEC.num_tokens * 768 == 125_239_296  # facebook/opt-125m
    assert model.visual_tokens == 196
    assert count(model.projector) == 768 * 768 + 768


def test_the_nine_frames_of_the_paper_fit_and_eleven_do_not():
    assert config_of("paper", window=9).language_config.max_position_embeddings == 2048
    line = refusal(config_of, "paper", window=11)
    assert line == "window 11 needs 2177 positions, the language model has 2048: choose a smaller window"


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_built_and_knows_its_actions(preset):
    model = model_of(preset)
    assert model.language_model.embeddings.num_embeddings == 500 + 7
    config = model.config
    assert config.action_tokens == [f"<action:{name}>" for name in "abcdefg"]
    assert config.all_domains() == (Domain(CODEC, (56, 56), 4, ("t",)),)
    assert config.window == 4


def test_spaces_with_equal_names_share_tokens_and_the_longest_window_counts():
    buttons = SpaceCodec.discrete(("c", "h"))
    domains = [Domain(CODEC, (56, 56), 4, ("t",)), Domain(buttons, (24, 24), 9, ("u",))]
    config = config_of("tiny", domains=domains)
    assert config.action_tokens == [f"<action:{name}>" for name in "abcdefgh"]
    assert (config.window, config.language_config.vocab_size) == (9, 508)
    assert config.all_domains() == tuple(domains)


@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_has_dropout(preset):
    config = config_of(preset)
    for part, names in (
        (config.language_config, ("dropout", "attention_dropout", "layerdrop")),
        (config.vision_config, ("attention_dropout",)),
    ):
        assert [getattr(part, name) for name in names] == [0.0] * len(names)


@pytest.mark.parametrize(("preset", "merge", "tokens"), [("tiny", None, 1), ("tiny", 1, 49), ("tiny", 2, 16)])
def test_a_frame_has_as_many_tokens_as_its_merge_leaves(preset, merge, tokens):
    model = model_of(preset, patch_merge=merge)
    assert model.visual_tokens == tokens
    assert model.config.language_config.max_position_embeddings == 10 + 4 * (tokens + 1)


@pytest.mark.parametrize(("preset", "side", "whole"), [("tiny", 60, 64), ("tiny", 84, 88), ("small", 210, 216)])
def test_frames_that_end_within_a_patch_are_completed_with_black(preset, side, whole):
    model = AgentModel(config_of(preset, frame_side=side))
    frames = torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8)
    completed = model.vision_encoder.unpatchify(model.vision_encoder.patchify(frames))
    assert completed.shape == (2, whole, whole, 3)
    assert torch.equal(completed[:, :side, :side], frames)
    assert not completed[:, side:].any()
    assert not completed[:, :, side:].any()
    assert f"frames of {side}x{side}, completed to {whole}x{whole}" in describe_frames(model.config)


@pytest.mark.parametrize(
    ("side", "merge", "tokens"), [(56, 7, 1), (80, 10, 1), (112, 14, 1), (120, 8, 4), (224, 14, 4)]
)
def test_tiny_makes_few_tokens_of_a_frame_of_any_size(side, merge, tokens):
    model = model_of("tiny", frame_side=side)
    assert (model.config.patch_merge, model.visual_tokens) == (merge, tokens)


def test_what_a_preset_makes_of_a_frame_is_said():
    assert describe_frames(config_of("tiny", frame_side=80)) == (
        "frames of 80x80: 100 patches of 8x8, patch_merge 10: 1 visual token"
    )
    assert describe_frames(config_of("small", frame_side=80)).endswith("patch_merge 2: 25 visual tokens")


def test_a_frame_that_is_not_square_is_said_to_be_made_so():
    domain = Domain(CODEC, (210, 160), 4, ("Task-v0",))
    wide = make_config("tiny", **{**DATA, "frame_side": 160}, domains=[domain])
    assert describe_frames(wide).startswith("frames of 160x160 (210x160 resized to it): ")
    whole = make_config("tiny", **{**DATA, "frame_side": 210}, domains=[domain], complete_frames=True)
    assert describe_frames(whole).startswith("frames of 210x210 (210x160 fitted into it), completed to 216x216: ")
