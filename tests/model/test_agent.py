"""AgentModel: causal, blind to padding, the same for a batch as for singles, and exact on disk."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, CLIPVisionConfig, OPTConfig
from worlds import refusal

from agentgym.model.agent import AgentConfig, AgentModel
from agentgym.model.loading import load_agent
from agentgym.model.tokenizer import PAD
from agentgym.spaces import SpaceCodec
from agentgym.spaces.domains import Domain

TEXT, ACTIONS = 20, 3
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
LANGUAGE = {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
FORMAT_2 = Path(__file__).parent / "format_2"


SPACE = SpaceCodec.discrete(("left", "right", "forward"))


def config_of(**changes):
    values = {
        "vision_config": CLIPVisionConfig(**VISION, image_size=12, patch_size=4).to_dict(),
        "language_config": OPTConfig(
            **LANGUAGE,
            word_embed_proj_dim=32,
            max_position_embeddings=64,
            vocab_size=TEXT + ACTIONS,
            dropout=0.0,
        ).to_dict(),
        "patch_merge": 2,
        "decoder_width": 8,
        "num_text_tokens": TEXT,
        "action_tokens": list(SPACE.tokens),
        "domains": [Domain(SPACE, (12, 12), 3, ("Count-v0",)).to_json()],
        "window": 3,
    }
    return AgentConfig(**{**values, **changes})


def model_of(**changes):
    torch.manual_seed(0)
    return AgentModel(config_of(**changes)).eval()


@pytest.fixture(scope="module")
def model():
    return model_of()


def inputs_of(batch=2, steps=3, words=4, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(high, *shape):
        return torch.randint(0, high, shape, generator=generator)

    return {
        "instruction": torch.cat([torch.full((batch, 1), 2), 4 + draw(TEXT - 4, batch, words)], dim=1),
        "instruction_mask": torch.ones(batch, words + 1, dtype=torch.long),
        "frames": draw(256, batch, steps, 12, 12, 3).to(torch.uint8),
        "actions": draw(ACTIONS, batch, steps, 1),
        "step_mask": torch.ones(batch, steps, dtype=torch.bool),
    }


def run(model, inputs, **more):
    with torch.no_grad():
        return model(**inputs, **more)


def row(inputs, index):
    return {name: value[index : index + 1] for name, value in inputs.items()}


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
def test_an_action_changes_the_logits_of_later_actions_alone(model, step):
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


def test_a_model_depends_on_its_seed_alone():
    first, second = model_of().state_dict(), model_of().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def saved(model, tmp_path):
    model.save_pretrained(tmp_path)
    return tmp_path


def test_a_saved_model_is_the_same_when_loaded_bit_for_bit(model, saved):
    loaded = load_agent(saved)
    state, expected = loaded.state_dict(), model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert torch.equal(run(loaded, inputs_of()).action_logits, run(model, inputs_of()).action_logits)
    assert not loaded.training
    for name in ("action_tokens", "domains", "num_text_tokens", "window", "patch_merge", "checkpoint_format"):
        assert getattr(loaded.config, name) == getattr(model.config, name)


def change_config(path, **changes):
    file = path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def change_tensors(path, change):
    file = path / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def test_a_folder_without_a_model_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        assert refusal(load_agent, path) == f"{path}: no config.json; name a checkpoint folder, such as runs/NAME/model"


def test_a_folder_without_weights_is_refused(saved):
    (saved / "model.safetensors").unlink()
    assert refusal(load_agent, saved) == f"{saved}: has no model.safetensors; the weights are missing"


def test_a_tensor_too_many_is_refused_by_name(saved):
    change_tensors(saved, lambda tensors: tensors.update(extra=torch.zeros(2)))
    assert refusal(load_agent, saved) == f"{saved}: tensor extra is left over (1 in all)"


def test_a_missing_tensor_is_refused_by_name(saved):
    change_tensors(saved, lambda tensors: tensors.pop("projector.bias"))
    assert refusal(load_agent, saved) == f"{saved}: tensor projector.bias is missing (1 in all)"


def test_a_tensor_of_another_shape_is_refused_by_name(saved):
    change_tensors(saved, lambda tensors: tensors.update({"projector.bias": torch.zeros(5)}))
    line = refusal(load_agent, saved)
    assert line.startswith(f"{saved}: tensor ")
    assert "projector.bias" in line
    assert "of another shape" in line


@pytest.mark.parametrize("left", [0, 10, 5000])
def test_weights_that_are_cut_short_are_refused(saved, left):
    file = saved / "model.safetensors"
    file.write_bytes(file.read_bytes()[:left])
    assert refusal(load_agent, saved).startswith(f"{saved}: the weights cannot be read")


def test_another_kind_of_model_is_refused(saved):
    change_config(saved, model_type="llama")
    expected = f"{saved / 'config.json'}: model_type is 'llama', not 'agentgym': another kind of model"
    assert refusal(load_agent, saved) == expected


@pytest.mark.parametrize("kind", ["grounded", "clips"])
def test_a_checkpoint_of_format_2_gives_the_numbers_that_it_gave(kind, tmp_path):
    """The folders were written by an agentgym that had transformers' modules, and so were the numbers beside them."""
    folder = FORMAT_2 / kind
    told = {name: torch.from_numpy(value) for name, value in np.load(folder / "expected.npz").items()}
    loaded = load_agent(folder)
    loaded.save_pretrained(tmp_path)
    for model in (loaded, load_agent(tmp_path), AgentModel.from_pretrained(folder).eval()):
        assert model.config.checkpoint_format == 3
        with torch.no_grad():
            output = model(
                told["words"],
                told["mask"],
                told["frames"],
                told["actions"],
                torch.ones(2, 4, dtype=torch.bool),
                mask_noise=told["noise"],
                mask_ratio=0.5,
            )
        torch.testing.assert_close(output.action_logits, told["action_logits"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(output.reconstruction.predicted, told["predicted"], atol=1e-5, rtol=1e-5)


def test_a_checkpoint_of_format_1_is_the_same_agent(tmp_path):
    shutil.copytree(FORMAT_2 / "grounded", tmp_path / "old")
    file = tmp_path / "old" / "config.json"
    values = json.loads(file.read_text())
    del values["action_tokens"], values["domains"]
    named = {"action_names": ["left", "right", "wait"], "action_start": 0, "action_length": 1}
    file.write_text(json.dumps({**values, **named, "tasks": ["T"], "checkpoint_format": 1}))
    old, new = load_agent(tmp_path / "old"), load_agent(FORMAT_2 / "grounded")
    assert old.config.all_domains() == new.config.all_domains()
    assert all(torch.equal(tensor, new.state_dict()[name]) for name, tensor in old.state_dict().items())


def test_another_checkpoint_format_is_refused(saved):
    change_config(saved, checkpoint_format=4)
    file = saved / "config.json"
    assert refusal(load_agent, saved) == f"{file}: checkpoint format 4; this agentgym reads formats 1 to 3"


def test_a_config_that_is_no_json_is_refused(saved):
    (saved / "config.json").write_text('{"model_type": ')
    assert refusal(load_agent, saved).startswith(f"{saved / 'config.json'}: ")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(saved, value):
    change_tensors(saved, lambda tensors: tensors["projector.weight"].view(-1)[3:4].fill_(value))
    assert refusal(load_agent, saved).startswith(f"{saved}: tensor projector.weight has numbers that are not finite")


def test_transformers_own_loaders_know_the_agent(model, saved):
    assert AutoConfig.from_pretrained(saved).num_text_tokens == model.config.num_text_tokens
    loaded = AutoModel.from_pretrained(saved)
    assert isinstance(loaded, AgentModel)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


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
