"""The paper preset: the sizes that the documentation states, its recipes, and a step at full size."""

import re
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refusal
from tiny import dataset_recipe, experiment_recipe, record

from agentgym import recipes
from agentgym.experiments import imitation
from agentgym.model.agent import AgentModel
from agentgym.model.presets import PRESETS, count_parameters, make_config
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.spaces import SpaceCodec
from agentgym.spaces.domains import Domain
from agentgym.training import loop
from agentgym.training.run_folder import open_run

PAGE = (Path(__file__).parent.parent.parent / "docs" / "paper.md").read_text(encoding="utf-8")
SIZES = {"num_text_tokens": 50_272, "instruction_tokens": 256, "frame_side": 56}


def domains(window):
    return [Domain(SpaceCodec.discrete(tuple("abcdefg")), (56, 56), window, ())]


def test_the_parameters_of_the_paper_preset_are_those_of_the_documentation():
    counted = count_parameters(make_config("paper", domains=domains(9), **SIZES))
    rows = dict(re.findall(r"^\| `(\w+)` \|.*?\| ([\d,]+) \|$", PAGE, re.MULTILINE))
    assert {name: int(number.replace(",", "")) for name, number in rows.items()} == counted
    assert f"| Together | | {sum(counted.values()):,} |" in PAGE
    with_a_head = (sum(counted.values()) + 50_272 * 768) / 1e6
    assert f"the sum is {with_a_head:.1f}M" in PAGE


def test_the_documentation_says_what_was_not_shown_and_names_the_parts_by_the_papers_letters():
    text = " ".join(PAGE.split())
    assert "No run from published CLIP or OPT weights was made" in text
    assert "no result of the paper is reproduced" in text
    model = AgentModel.__init__.__code__.co_names
    for letter, name in (
        ("E_θ", "vision_encoder"),
        ("ℓ", "projector"),
        ("F_φ", "language_model"),
        ("D_θ", "mae_decoder"),
    ):
        assert f"| {letter} | `{name}` |" in PAGE
        assert name in model


def test_nine_steps_of_all_patches_fit_the_language_model_and_ten_do_not():
    make_config("paper", domains=domains(9), **SIZES)
    line = refusal(make_config, "paper", domains=domains(10), **SIZES)
    assert line == "window 10 needs 2226 positions, the language model has 2048: choose a smaller window"


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_says_how_large_its_frames_are(preset):
    config = make_config(preset, domains=domains(2), **SIZES)
    assert (config.frame_side, config.vision_config.image_size) == (56, 224 if preset == "paper" else 56)


@pytest.mark.parametrize(
    ("name", "window", "masked"), [("paper-games", 9, 0.75), ("paper-robots", 4, 0.75), ("paper-fine-tuning", 9, 0.5)]
)
def test_the_papers_recipes_have_the_papers_settings(name, window, masked):
    recipe = recipes.load_experiment(name)
    loop, jitter = recipe.training, recipe.training.colour_jitter
    assert (loop.window, recipe.losses.mask_ratio) == (window, masked)
    assert (loop.learning_rate, loop.final_learning_rate) == (1e-4, 0.0)
    assert loop.warmup_updates > 0
    assert {jitter.brightness, jitter.contrast, jitter.saturation} == {(0.7, 1.4)}
    assert jitter.hue == 0.05
    assert (recipe.losses.language, recipe.losses.masked_image, recipe.losses.action) == (1, 1, 1)


def test_fine_tuning_starts_from_a_trained_agent(tmp_path):
    record(tmp_path / "data")
    first = experiment_recipe("training.updates=2", "training.evaluate_every=2")
    open_run(tmp_path / "first", first)
    imitation.train_run(first, tmp_path / "data", tmp_path / "first")
    again = f'model.init.agent="{tmp_path / "first"}"'
    tuned = experiment_recipe(again, "training.updates=1", "training.learning_rate=1e-9", "training.warmup_updates=0")
    imitation.train_run(tuned, tmp_path / "data", tmp_path / "tuned")
    before, after = (AgentPolicy.from_pretrained(tmp_path / name / "model").model for name in ("first", "tuned"))
    for name, tensor in before.state_dict().items():
        assert torch.allclose(tensor, after.state_dict()[name], atol=1e-6), name
    other = experiment_recipe(again, "training.window=5")
    line = refusal(imitation.train_run, other, tmp_path / "data", tmp_path / "other")
    assert line.endswith("sees 4 frames of 56 pixels; this recipe has 5 of 56")


@pytest.mark.parametrize("init", ['{agent = "a", vision = "b"}', '{agent = "a", vision = "b", language = "c"}', "{}"])
def test_a_start_that_is_not_one_way_is_refused(init):
    line = refusal(recipes.load_experiment, "babyai-goto-redball", [f"model.init={init}"])
    assert "expected 'vision', 'language' or both, or only 'agent'" in line


@pytest.mark.slow
def test_the_paper_preset_trains_a_step_saves_loads_and_acts_within_16_gib(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "HELD_OUT_WINDOWS", 1)
    data = record(tmp_path / "data")
    recipe = experiment_recipe(
        'model.preset="paper"',
        "training.window=9",
        "training.batch_size=1",
        "training.updates=1",
        "training.gradient_checkpointing=true",
        "training.evaluate_every=2",
        "training.colour_jitter.hue=0.05",
    )
    recipe = recipe.model_copy(update={"dataset": dataset_recipe()})
    assert not recipe.training.evaluate_episodes
    imitation.train_run(recipe, tmp_path / "data", tmp_path / "run")
    policy = AgentPolicy.from_pretrained(tmp_path / "run" / "model")
    episode = data[0]
    observation = {"frame": episode.frames[0], "instruction": np.frombuffer(episode.instruction.encode(), np.uint8)}
    action, _ = policy.predict(observation, deterministic=True)
    assert 0 <= action < data.header.space.num_tokens
    assert policy.model.vision_encoder.num_patches == 196
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 16 * 2**20  # kilobytes
