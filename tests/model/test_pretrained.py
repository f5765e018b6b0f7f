"""Published CLIP and OPT models as parts of an agent: every format, strictly, with the same numbers as before."""

import json
import shutil

import numpy as np
import pytest
import torch
from refusals import refusal
from safetensors.torch import load_file, save_file
from tiny import experiment_recipe, record
from transformers import CLIPConfig, CLIPModel, CLIPVisionModel, OPTConfig, OPTForCausalLM, OPTModel

from agentgym.experiments import imitation
from agentgym.model.pretrained import find_folder, from_pretrained_parts, read_parts
from agentgym.model.tokenizer import START, tokenize, train_tokenizer
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.spaces import SpaceCodec
from agentgym.training.datasets import open_parts
from agentgym.training.first_model import first_model

CODEC = SpaceCodec.discrete(("left", "right"))
TOKENIZER = train_tokenizer(["go to the red ball"], ())
VOCABULARY = len(TOKENIZER) + 3  # as OPT's table, longer than its tokenizer
TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
CLIP = CLIPConfig(vision_config={**TOWER, "image_size": 32, "patch_size": 16}, text_config={**TOWER, "vocab_size": 9})
OPT = OPTConfig(
    vocab_size=VOCABULARY, hidden_size=24, ffn_dim=32, num_hidden_layers=2, num_attention_heads=2,
    word_embed_proj_dim=24, max_position_embeddings=512,
)  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A CLIP and an OPT with weights that are nowhere zero or one, as transformers saves them."""
    path = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    for name, model in (("clip", CLIPModel(CLIP)), ("opt", OPTForCausalLM(OPT))):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(path / name)
    TOKENIZER.save_pretrained(path / "opt")
    return path


def agent_of(folders, **changes):
    sizes = {"codec": CODEC, "window": 2, "instruction_tokens": 16, "preset": "tiny", "patch_merge": 1}
    sources = {"vision": folders / "clip", "language": folders / "opt"}
    return from_pretrained_parts(**{**sources, **sizes, **changes}).eval()


def same_weights(first, second):
    return all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())


def rewritten(folder, target, change):
    """A copy of a folder with other tensors: `change` maps them to new ones, or writes them itself and returns None."""
    shutil.copytree(folder, target)
    tensors = load_file(target / "model.safetensors")
    (target / "model.safetensors").unlink()
    changed = change(tensors)
    if changed is not None:
        save_file({name: tensor.contiguous() for name, tensor in changed.items()}, target / "model.safetensors")
    return target


@torch.no_grad()
def test_with_only_text_the_logits_are_those_of_the_language_part(folders):
    agent, opt = agent_of(folders), OPTForCausalLM.from_pretrained(folders / "opt", dtype=torch.float32).eval()
    text = torch.randint(4, VOCABULARY, (3, 12))
    nothing = torch.zeros(3, 0, agent.visual_tokens, 24), torch.zeros(3, 0, 1, dtype=torch.long)
    _, hidden = agent.read(text, torch.ones_like(text), *nothing)
    logits = agent.logits(hidden)[..., :VOCABULARY]
    assert torch.allclose(logits, opt(text).logits, atol=1e-5)
    assert logits.abs().max() > 0.1


@torch.no_grad()
def test_with_clips_positions_put_back_the_patch_features_are_clips(folders):
    agent, clip = agent_of(folders), CLIPVisionModel.from_pretrained(folders / "clip", dtype=torch.float32).eval()
    frames = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    patches = agent.vision_encoder.patchify(frames)
    pixels = (frames.permute(0, 3, 1, 2) / 255 - agent.vision_encoder.mean) / agent.vision_encoder.std
    expected = clip(pixels).last_hidden_state[:, 1:]
    assert not torch.allclose(agent.vision_encoder(patches), expected, atol=1e-2)
    places = clip.embeddings.position_embedding.weight
    agent.vision_encoder.positions.copy_(places[1:])
    agent.vision_encoder.start += places[0]
    assert torch.allclose(agent.vision_encoder(patches), expected, atol=1e-5)
    normalised = agent.vision_encoder.last_norm(expected)
    assert torch.allclose(normalised, clip.post_layernorm(expected), atol=1e-6)


def test_what_differs_from_the_files_is_listed(folders):
    parts = read_parts(folders / "clip", folders / "opt")
    towers = {name.split(".")[0] for name in parts.vision.set_aside}
    assert towers == {"text_model", "text_projection", "visual_projection", "logit_scale", "vision_model"}
    assert [name for name in parts.vision.set_aside if name.startswith("vision_model")] == [
        "vision_model.embeddings.position_embedding.weight"
    ]
    assert set(parts.language.set_aside) <= {"lm_head.weight"}


def test_new_token_rows_are_the_mean_row_and_noise(folders):
    table = agent_of(folders).language_model.embeddings.weight
    text, actions = table[:VOCABULARY], table[VOCABULARY:]
    assert len(actions) == CODEC.num_tokens
    assert (actions - text.mean(0)).abs().max() < 0.1
    assert not torch.equal(actions[0], actions[1])


NAMES = {
    "transformers 5, vision alone": ("clip", lambda name: name.removeprefix("vision_model."), "vision_model."),
    "transformers 4, position_ids": ("clip", lambda name: name, ""),
    "decoder without model": ("opt", lambda name: name.removeprefix("model."), ""),
}


@pytest.mark.parametrize("form", NAMES)
def test_the_names_of_transformers_4_and_5_are_read(folders, tmp_path, form):
    part, rename, start = NAMES[form]

    def change(tensors):
        named = {rename(name): tensor for name, tensor in tensors.items() if name.startswith(start)}
        if form == "transformers 4, position_ids":
            named["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
        return named

    other = rewritten(folders / part, tmp_path / part, change)
    torch.manual_seed(1)
    expected = agent_of(folders)
    torch.manual_seed(1)
    assert same_weights(expected, agent_of(folders, **{"vision" if part == "clip" else "language": other}))


def test_models_saved_by_the_parts_own_classes_are_read(folders, tmp_path):
    CLIPVisionModel.from_pretrained(folders / "clip").save_pretrained(tmp_path / "vision")
    OPTModel.from_pretrained(folders / "opt").save_pretrained(tmp_path / "language")
    torch.manual_seed(1)
    expected = agent_of(folders)
    torch.manual_seed(1)
    assert same_weights(expected, agent_of(folders, vision=tmp_path / "vision", language=tmp_path / "language"))


def test_float16_bin_files_with_a_head_are_read_as_float32(folders, tmp_path):
    def change(tensors):
        halves = {name: tensor.half() for name, tensor in tensors.items()}
        halves["lm_head.weight"] = halves["model.decoder.embed_tokens.weight"]
        torch.save(halves, tmp_path / "opt" / "pytorch_model.bin")

    other = rewritten(folders / "opt", tmp_path / "opt", change)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "dtype": "float16", "dropout": 0.1}))
    agent, original = agent_of(folders, language=other), agent_of(folders)
    assert {parameter.dtype for parameter in agent.parameters()} == {torch.float32}
    assert agent.config.language_config.dropout == 0
    found, whole = (each.language_model.transformer.blocks[1].widen.weight for each in (agent, original))
    assert torch.equal(found, whole.half().float())


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_weights_in_shards_are_read(folders, tmp_path, form):
    name, save = ("model.safetensors", save_file) if form == "safetensors" else ("pytorch_model.bin", torch.save)

    def change(tensors):
        places = {key: f"part-{i % 2}.{form}" for i, key in enumerate(tensors)}
        for shard in set(places.values()):
            save({key: tensors[key] for key in tensors if places[key] == shard}, tmp_path / "opt" / shard)
        (tmp_path / "opt" / f"{name}.index.json").write_text(json.dumps({"weight_map": places}))

    other = rewritten(folders / "opt", tmp_path / "opt", change)
    torch.manual_seed(1)
    expected = agent_of(folders)
    torch.manual_seed(1)
    assert same_weights(expected, agent_of(folders, language=other))
    (other / f"part-1.{form}").unlink()
    assert f"part-1.{form}: is missing" in refusal(read_parts, folders / "clip", other)


VISION = "vision_model.encoder.layers.1.mlp.fc1.bias"
LANGUAGE = "model.decoder.layers.0.fc2.weight"
WRONG = {
    "missing": ("clip", lambda t: {k: v for k, v in t.items() if k != VISION}, "layers.1.mlp.fc1.bias is missing"),
    "left over": ("clip", lambda t: {**t, "vision_model.x": t[VISION].clone()}, "tensor x is left over (1 in all)"),
    "misshapen": ("opt", lambda t: {**t, LANGUAGE: t[LANGUAGE][:, :5]}, "decoder.layers.0.fc2.weight is [24, 5]"),
    "no table": ("opt", lambda t: {LANGUAGE: t[LANGUAGE]}, "tensor decoder.embed_tokens.weight is missing"),
    "untied": (
        "opt",
        lambda t: {**t, "lm_head.weight": t["model.decoder.embed_tokens.weight"] + 1},
        "lm_head.weight is not tied",
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_tensor_out_of_place_is_named(folders, tmp_path, wrong):
    part, change, expected = WRONG[wrong]
    other = rewritten(folders / part, tmp_path / part, change)
    line = refusal(agent_of, folders, **{"vision" if part == "clip" else "language": other})
    assert line.startswith(str(other))
    assert expected in line


def test_a_folder_that_is_not_whole_or_of_another_kind_is_refused(folders, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "has no config.json" in refusal(read_parts, empty, folders / "opt")
    assert "model_type is 'opt'; expected 'clip'" in refusal(read_parts, folders / "opt", folders / "opt")
    shutil.copy(folders / "clip" / "config.json", empty)
    assert "has no weights; put model.safetensors or pytorch_model.bin there" in refusal(read_parts, empty, empty)
    (empty / "model.safetensors").write_bytes(b"12345678 no tensors")
    assert "the weights cannot be read" in refusal(read_parts, empty, empty)


def test_the_tokenizer_is_the_language_parts_own_grown_by_the_action_tokens(folders):
    tokenizer = read_parts(folders / "clip", folders / "opt").tokenizer(CODEC.tokens)
    assert len(tokenizer) == VOCABULARY + 2
    assert tokenizer.convert_ids_to_tokens([VOCABULARY - 1, VOCABULARY]) == [
        f"<unused:{VOCABULARY - 1}>",
        "<action:left>",
    ]
    assert tokenize(tokenizer, "go to the red ball").tolist() == tokenize(TOKENIZER, "go to the red ball").tolist()


def test_a_tokenizer_of_vocabulary_and_merges_is_read_as_opts(folders, tmp_path):
    shutil.copytree(folders / "opt", tmp_path / "opt")
    values = json.loads((tmp_path / "opt" / "tokenizer.json").read_text())["model"]
    for file in (tmp_path / "opt").glob("*token*"):
        file.unlink()
    (tmp_path / "opt" / "vocab.json").write_text(json.dumps(values["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in values["merges"]]
    (tmp_path / "opt" / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    tokenizer = read_parts(folders / "clip", tmp_path / "opt").tokenizer(CODEC.tokens)
    tokens = tokenize(tokenizer, "to the red ball")
    assert tokens[0] == START
    assert tokens[-3:].tolist() == tokenize(TOKENIZER, "go to the red ball")[-3:].tolist()
    (tmp_path / "opt" / "merges.txt").unlink()
    line = refusal(read_parts(folders / "clip", tmp_path / "opt").tokenizer, CODEC.tokens)
    assert "has no tokenizer; put tokenizer.json, or vocab.json and merges.txt, there" in line


def test_without_a_network_the_error_says_what_to_put_where(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    line = refusal(find_folder, "facebook/opt-125m")
    assert line.startswith("facebook/opt-125m: there is no such folder, and the Hugging Face Hub did not give it")
    assert "put its config.json, weights (model.safetensors or pytorch_model.bin)" in line
    assert "not a Hub id" in refusal(find_folder, "no/such/folder")


@pytest.mark.parametrize("part", ["vision", "language"])
def test_a_single_part_is_published_and_the_other_drawn_as_the_preset_has_it(folders, tmp_path, part):
    data = record(tmp_path / "data")
    name = {"vision": "clip", "language": "opt"}[part]
    recipe = experiment_recipe(f'model.init.{part}="{folders / name}"', "model.patch_merge=2")
    parts = open_parts(tmp_path / "data", recipe)
    model, tokenizer = first_model(recipe, parts)
    torch.manual_seed(0)
    both = agent_of(folders, codec=data.header.space, instruction_tokens=1)
    inner = {"vision": "vision_encoder.transformer", "language": "language_model.transformer"}[part]
    assert same_weights(model.get_submodule(inner), both.get_submodule(inner))
    sizes = model.config.vision_config.hidden_size, model.config.language_config.hidden_size
    assert sizes == {"vision": (16, 128), "language": (64, 24)}[part]
    assert (len(tokenizer) == VOCABULARY + data.header.space.num_tokens) == (part == "language")


def test_shards_outside_the_folder_are_refused(folders, tmp_path):
    shutil.copytree(folders / "opt", tmp_path / "opt")
    (tmp_path / "opt" / "model.safetensors").unlink()
    index = {"weight_map": {"decoder.embed_tokens.weight": "../secret.safetensors"}}
    (tmp_path / "opt" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "names '../secret.safetensors'; expected files in its folder" in refusal(read_parts, None, tmp_path / "opt")


def test_a_recipe_that_starts_from_parts_trains_and_acts_on_frames_of_another_size(folders, tmp_path):
    data = record(tmp_path / "data")
    init = [f'model.init.vision="{folders / "clip"}"', f'model.init.language="{folders / "opt"}"']
    recipe = experiment_recipe(*init, "model.patch_merge=2", "training.updates=1", "training.evaluate_every=1")
    imitation.train_run(recipe, tmp_path / "data", tmp_path / "run")
    policy = AgentPolicy.from_pretrained(tmp_path / "run" / "model")
    sizes = policy.model.config.vision_config, policy.model.config.language_config
    assert (sizes[0].image_size, sizes[0].hidden_size, sizes[1].hidden_size) == (32, 16, 24)
    episode = data[0]
    observation = {"frame": episode.frames[0], "instruction": np.frombuffer(episode.instruction.encode(), np.uint8)}
    action, _ = policy.predict(observation, deterministic=True)
    assert episode.frames.shape[1:] == (56, 56, 3)
    assert 0 <= action < data.header.space.num_tokens
