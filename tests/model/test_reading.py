"""Reader: what the model computes over whole sequences, a few tokens at a time."""

import numpy as np
import pytest
import torch
from worlds import model_of

from agentgym.model.agent import AgentModel
from agentgym.model.reading import Reader


@pytest.fixture(scope="module", params=["relu", "gelu", "quick_gelu"])
def model(request, dataset):
    torch.manual_seed(0)
    config = model_of(dataset, patch_merge=2).config
    config.vision_config.hidden_act = request.param
    config.language_config.activation_function = request.param
    return AgentModel(config).eval()


@torch.inference_mode()
def test_frames_are_encoded_as_the_model_does(model):
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 56, 56, 3), np.uint8))
    torch.testing.assert_close(Reader(model).encode(frames), model.encode(frames), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_reading_on_in_parts_gives_what_reading_at_once_gives(model):
    reader, language = Reader(model), model.language
    embeddings = torch.randn(2, 30, language.config.hidden_size, generator=torch.Generator().manual_seed(0))
    whole = language(inputs_embeds=embeddings).last_hidden_state
    cache = reader.empty_cache(2, 30)
    first = reader.read_on(embeddings[:, :17], cache, np.zeros(2, np.int64))
    # From here on the rows have different lengths: the second goes back to its tenth token and reads from there.
    lengths = np.array([17, 10])
    parts = torch.stack([embeddings[row, length : length + 13] for row, length in enumerate(lengths)])
    second = reader.read_on(parts, cache, lengths)
    torch.testing.assert_close(first, whole[:, :17], atol=1e-5, rtol=0)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(second[row], whole[row, length : length + 13], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_change_of_the_weights_is_seen_at_once(model):
    reader, frames = Reader(model), torch.zeros(1, 56, 56, 3, dtype=torch.uint8)
    before = reader.encode(frames)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.vision.clip.encoder.layers[0].mlp.fc1.weight.mul_(2)
    changed = reader.encode(frames)
    torch.testing.assert_close(changed, model.encode(frames), atol=1e-5, rtol=0)
    assert not torch.equal(changed, before)
    model.load_state_dict(state)
    assert torch.equal(reader.encode(frames), before)
