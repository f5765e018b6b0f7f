"""Agents by name: those that ship act as their cards say, and a name that is none has a remedy."""

import numpy as np
import pytest
import torch
from refusals import refusal
from typer.testing import CliRunner

from agentgym import environments
from agentgym.cli.main import app
from agentgym.files import read_json
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.agents import default_agent, find_agent, shipped_agents
from agentgym.recipes import load_experiment
from agentgym.spaces import SpaceCodec

AGENTS = sorted(shipped_agents())


@pytest.mark.parametrize("name", AGENTS)
def test_a_shipped_agent_plays_its_tasks(name):
    policy = AgentPolicy.from_pretrained(name, device="cpu")
    recipe = load_experiment(str(find_agent(name) / "recipe.json"))
    for suite in recipe.suites:
        env = environments.make(suite.tasks[0], frame=suite.frame)
        observation, _ = env.reset(seed=0)
        player, state = policy.playing(SpaceCodec.of(env.action_space, env.action_names), env.task), None
        for _ in range(3):
            action, state = player.predict(observation, state, deterministic=True)
            observation = env.step(action)[0]
        env.close()


@pytest.mark.parametrize("name", AGENTS)
def test_a_shipped_agent_has_its_scores_and_its_card(name):
    folder = find_agent(name)
    scores = read_json(folder / "evaluation.json")["tasks"]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert all(task["task"] in card for task in scores)
    assert f"agentgym playground {name}" in card
    for dataset in load_experiment(str(folder / "recipe.json")).datasets:
        assert f"| {dataset.name} |" in card
        assert f"| {dataset.expert} | {dataset.episodes:,} | {len(dataset.suite.tasks)} |" in card


def test_all_shipped_agents_together_are_small():
    files = [file for folder in shipped_agents().values() for file in folder.rglob("*") if file.is_file()]
    assert AGENTS
    assert sum(file.stat().st_size for file in files) < 12_000_000


def test_half_precision_weights_act_in_single_precision():
    policy = AgentPolicy.from_pretrained(default_agent(), device="cpu")
    assert {tensor.dtype for tensor in policy.model.parameters()} == {torch.float32}
    assert all(np.isfinite(tensor.detach().numpy()).all() for tensor in policy.model.parameters())


def test_the_list_shows_every_shipped_agent():
    shown = CliRunner().invoke(app, ["list", "agents"]).output
    assert all(name in shown for name in AGENTS)


def test_a_name_that_is_no_agent_has_a_remedy():
    assert f"did you mean '{AGENTS[0]}'" in refusal(find_agent, AGENTS[0][:-1])
    assert "name a run" in refusal(find_agent, "nobody")
