"""Absurd sizes are refused by an estimate, before anything of them is allocated."""

import json
import shutil
import time

import pytest
import torch
from refusals import refusal
from tiny import experiment_recipe, model_of, tokenizer_of

from agentgym.experiments.imitation import prepare
from agentgym.model.loading import load_agent
from agentgym.model.sizes import check_room, count_numbers, machine_memory
from agentgym.policies.agent_policy import AgentPolicy


@pytest.fixture(scope="module")
def checkpoint(dataset, tmp_path_factory):
    """A whole checkpoint folder."""
    path = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    model_of(dataset).save_pretrained(path)
    tokenizer_of(dataset).save_pretrained(path)
    return path


def changed(checkpoint, to, place, value):
    """A copy of the checkpoint whose configuration has another value at a place."""
    shutil.copytree(checkpoint, to)
    values = json.loads((to / "config.json").read_text())
    here = values
    for key in place[:-1]:
        here = here[key]
    here[place[-1]] = value
    (to / "config.json").write_text(json.dumps(values))
    return to


def test_the_estimate_is_about_the_number_of_parameters(checkpoint):
    model = load_agent(checkpoint)
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert 0.9 * counted < count_numbers(model.config.to_dict()) < 1.1 * counted


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("language_config", "num_hidden_layers"), 10_000, "in up to 10,000 layers, the weights next to it hold"),
        (("vision_config", "num_hidden_layers"), 10**9, "the weights next to it hold"),
        (("vision_config", "hidden_size"), 10**6, "the weights next to it hold"),
        (("vision_config", "image_size"), 10**6, "the weights next to it hold"),
        (("language_config", "vocab_size"), 10**9, "the weights next to it hold"),
        (("language_config", "max_position_embeddings"), 10**9, "the weights next to it hold"),
        (("decoder_layers",), 10**6, "the weights next to it hold"),
        (("patch_merge",), 10**5, "the weights next to it hold"),
        (("language_config", "ffn_dim"), "wide", "is not a whole configuration"),
        (("language_config", "hidden_size"), 0, "is not a whole configuration"),
        (("vision_config",), None, "is not a whole configuration"),
        (("domains", 0, "window"), 10**6, "windows of 1000000 steps of 1 visual tokens do not fit"),
        (("domains", 0, "window"), "long", "config.json: "),
        (("domains", 0), 7, "config.json: "),
    ],
)
def test_a_configuration_that_its_weights_are_not_of_is_refused_at_once(checkpoint, tmp_path, place, value, said):
    folder = changed(checkpoint, tmp_path / "changed", place, value)
    began = time.process_time()
    assert said in refusal(AgentPolicy.from_pretrained, folder)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["training.batch_size=10000000"], "a batch of 10,000,000 windows of up to 4 steps"),
        (["training.batch_size=4096", "model.frame_side=1024"], "frames of 1024x1024"),
    ],
)
def test_a_training_that_does_not_fit_into_memory_is_refused_before_it_begins(recorded, recipe, settings, said):
    whole = experiment_recipe(*settings).model_copy(update={"dataset": recipe})
    line = refusal(prepare, whole, recorded)
    assert said in line
    assert "choose a smaller" in line


def test_the_memory_there_is_is_enough_for_a_little():
    assert machine_memory() > 2**28
    check_room(2**20, "a little", "do without")
    assert refusal(check_room, 2**60, "much", "do without").endswith("GiB; do without")
