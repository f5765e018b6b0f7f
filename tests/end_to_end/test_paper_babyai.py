"""The table of pretrained vision and language, by one command, from checkpoints of random weights."""

import json

import pytest
import torch
from transformers import CLIPConfig, CLIPModel, OPTConfig, OPTForCausalLM
from typer.testing import CliRunner

from agentgym import recipes
from agentgym.cli.main import app
from agentgym.model.tokenizer import train_tokenizer

SMALL = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
SIZES = {  # of CLIP ViT-B/16 and OPT-125M, and of the same architectures on a few numbers
    "small": ({**SMALL, "intermediate_size": 64}, {**SMALL, "ffn_dim": 64, "word_embed_proj_dim": 32}, "tiny"),
    "true": (
        {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12, "intermediate_size": 3072},
        {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12, "ffn_dim": 3072},
        "paper",
    ),
}


def publish(path, sizes):
    """A CLIP and an OPT of those sizes as they are published: float16, OPT as .bin."""
    torch.manual_seed(0)
    vision, language, _ = SIZES[sizes]
    rows = 50_272 if sizes == "true" else 600
    clip = CLIPConfig(vision_config={**vision, "image_size": 224, "patch_size": 16}, text_config=SMALL)
    CLIPModel(clip).half().save_pretrained(path / "clip")
    opt = OPTForCausalLM(OPTConfig(vocab_size=rows, **language)).half()
    opt.save_pretrained(path / "opt")
    (path / "opt" / "model.safetensors").unlink()
    torch.save(opt.state_dict(), path / "opt" / "pytorch_model.bin")
    train_tokenizer(["go to the red ball", "pick up the key"], []).save_pretrained(path / "opt")


def test_the_recipe_compares_scratch_with_either_part_and_with_both():
    recipe = recipes.load_transfer("paper-babyai")
    given = {name: recipe.init_of(name) for name in recipe.all_starts}
    assert {name: init and (bool(init.vision), bool(init.language)) for name, init in given.items()} == {
        "clip": (True, False),
        "opt": (False, True),
        "both": (True, True),
        "scratch": None,
    }
    assert recipe.model.preset == "paper"
    assert (recipe.losses.language, recipe.losses.masked_image, recipe.losses.action) == (1, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", SIZES)
def test_one_command_makes_the_table(tmp_path, sizes):
    publish(tmp_path, sizes)
    settings = [
        f"starts.clip.vision={tmp_path / 'clip'}",
        f"starts.opt.language={tmp_path / 'opt'}",
        f"starts.both.vision={tmp_path / 'clip'}",
        f"starts.both.language={tmp_path / 'opt'}",
        f"model.preset={SIZES[sizes][2]}",
        "sizes=[2]",
        "seeds=1",
        "training.updates=1",
        "training.window=2",
        "training.batch_size=1",
        "training.accumulation=1",
        "training.warmup_updates=0",
        "training.precision=float32",
        "evaluation.episodes=1",
    ]
    flags = [flag for setting in settings for flag in ("--set", setting)]
    result = CliRunner().invoke(app, ["transfer", "paper-babyai", "--run", str(tmp_path / "run"), "--quiet", *flags])
    assert result.exit_code == 0, result.output
    values = json.loads((tmp_path / "run" / "paper-babyai.json").read_text())
    assert {(point["start"], point["task"]) for point in values["points"]} == {
        (start, task)
        for start in ("scratch", "clip", "opt", "both")
        for task in ("BabyAI-GoToLocal-v0", "BabyAI-PickupLoc-v0")
    }
    page = (tmp_path / "run" / "paper-babyai.md").read_text()
    assert "| task | demonstrations | clip | opt | both | scratch |" in page
    assert f"both is vision `{tmp_path / 'clip'}` and language `{tmp_path / 'opt'}`" in page
