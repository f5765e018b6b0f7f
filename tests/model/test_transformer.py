"""The transformer with published weights: transformers' own CLIP and OPT give the same, whole and with a cache."""

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel, OPTConfig, OPTModel

from agentgym.model.kv_cache import DecodeStep, ExportedCache, KVCache, Prefill
from agentgym.model.language import LanguageModel
from agentgym.model.published_names import POSITIONS, clip_tensors, opt_tensors
from agentgym.model.transformer import CausalAttention, FullAttention
from agentgym.model.vision import VisionEncoder

SIZES = {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 50}
SIZES |= {"word_embed_proj_dim": 32, "max_position_embeddings": 40, "dropout": 0.0}
FAMILIES = {
    "125m": {},
    "350m": {"do_layer_norm_before": False, "word_embed_proj_dim": 16},
    "bias-free": {"enable_bias": False, "layer_norm_elementwise_affine": False, "activation_function": "gelu"},
    "no last norm": {"_remove_final_layer_norm": True, "activation_function": "gelu_new"},
}
CLOSE = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(params=FAMILIES)
def pair(request):
    """An OPT of that family with large weights, and the language model that has its weights."""
    torch.manual_seed(0)
    config = OPTConfig(**{**SIZES, **FAMILIES[request.param]})
    theirs = OPTModel(config).eval()
    for weight in theirs.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    ours = LanguageModel(config).eval()
    ours.load_state_dict(opt_tensors(theirs.state_dict()))
    return theirs, ours


def embedded(ours, rows, tokens):
    return torch.randn(rows, tokens, ours.outer_width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu", "relu"])
def test_the_vision_encoder_with_clips_weights_gives_clips_features(activation):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = CLIPVisionConfig(**sizes, image_size=24, patch_size=8, hidden_act=activation)
    theirs = CLIPVisionModel(config).eval()
    for weight in theirs.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    ours = VisionEncoder(config).eval()
    state = theirs.state_dict()
    places = state[POSITIONS]
    ours.load_state_dict({**ours.state_dict(), **clip_tensors(state)})
    ours.positions.copy_(places[1:])
    ours.start.data += places[0]  # theirs has a position for the class token, ours none
    frames = torch.randint(0, 256, (2, 24, 24, 3), dtype=torch.uint8)
    pixels = (frames.permute(0, 3, 1, 2) / 255 - ours.mean) / ours.std
    with torch.no_grad():
        torch.testing.assert_close(ours(ours.patchify(frames)), theirs(pixels).last_hidden_state[:, 1:], **CLOSE)


@torch.no_grad()
def test_the_language_model_with_opts_weights_gives_opts_states(pair):
    theirs, ours = pair
    inputs = embedded(ours, 2, 12)
    torch.testing.assert_close(ours(inputs), theirs(inputs_embeds=inputs).last_hidden_state, **CLOSE)


def test_it_learns_as_opt_does(pair):
    theirs, ours = pair
    inputs = embedded(ours, 2, 12)
    ours(inputs).square().sum().backward()
    theirs(inputs_embeds=inputs).last_hidden_state.square().sum().backward()
    expected = opt_tensors({name: weight.grad for name, weight in theirs.named_parameters() if weight.grad is not None})
    found = {name: weight.grad for name, weight in ours.named_parameters() if weight.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_reading_on_in_rows_of_different_lengths_gives_what_reading_at_once_gives(pair):
    theirs, ours = pair
    inputs = embedded(ours, 3, 30)
    whole = theirs(inputs_embeds=inputs).last_hidden_state
    cache = KVCache.empty(ours, 3, 36)
    first = ours(inputs[:, :17], Prefill(cache, np.arange(3)))
    torch.testing.assert_close(first, whole[:, :17], **CLOSE)
    same = ours(inputs[:, 17:20], DecodeStep(cache, np.full(3, 17), 3))
    torch.testing.assert_close(same, whole[:, 17:20], **CLOSE)
    # From here on the rows have different lengths: the second goes back to its tenth token and reads from there.
    lengths = np.array([20, 10, 15])
    parts = torch.stack([inputs[row, length : length + 10] for row, length in enumerate(lengths)])
    second = ours(parts, DecodeStep(cache, lengths, 10))
    for row, length in enumerate(lengths):
        torch.testing.assert_close(second[row], whole[row, length : length + 10], **CLOSE)


@torch.no_grad()
def test_a_row_that_begins_again_leaves_the_others_as_they_were(pair):
    theirs, ours = pair
    inputs, fresh = embedded(ours, 3, 20), embedded(ours, 4, 9)[3:]
    cache = KVCache.empty(ours, 3, 36)
    ours(inputs[:, :12], Prefill(cache, np.arange(3)))
    begun = ours(fresh[:, :8], Prefill(cache, np.array([1])))
    torch.testing.assert_close(begun, theirs(inputs_embeds=fresh[:, :8]).last_hidden_state, **CLOSE)
    after = ours(
        torch.stack([inputs[0, 12], fresh[0, 8], inputs[2, 12]])[:, None], DecodeStep(cache, np.array([12, 8, 12]), 1)
    )
    whole = theirs(inputs_embeds=inputs[:, :13]).last_hidden_state
    expected = [whole[0, 12], theirs(inputs_embeds=fresh).last_hidden_state[0, 8], whole[2, 12]]
    torch.testing.assert_close(after[:, 0], torch.stack(expected), **CLOSE)


@torch.no_grad()
def test_keys_and_values_that_go_in_and_out_give_the_same(pair):
    _, ours = pair
    inputs = embedded(ours, 1, 20)
    sizes = ours.transformer.sizes
    known = torch.zeros(sizes.layers, 2, sizes.heads, 0, sizes.width // sizes.heads)
    parts = []
    for start, stop in ((0, 8), (8, 9), (9, 20)):
        context = ExportedCache(known, torch.arange(stop))
        parts.append(ours(inputs[:, start:stop], context))
        known = torch.stack(context.layers)
    torch.testing.assert_close(torch.cat(parts, dim=1), ours(inputs), **CLOSE)


@pytest.mark.parametrize("context", [FullAttention(), CausalAttention()])
def test_attention_in_bfloat16_is_that_of_float32_but_for_rounding(context):
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, 20, 16) for _ in range(3)]
    rounded = [each.bfloat16().requires_grad_() for each in inputs]
    assert torch.allclose(context.attend(0, *rounded).float(), context.attend(0, *inputs), atol=0.05)
