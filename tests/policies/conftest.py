"""Untrained agents: a policy, and run folders to load one from."""

import shutil
from dataclasses import replace

import pytest
import torch
from tiny import model_of, tokenizer_of, write_run

from agentgym.model.adapting import with_domains
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.spaces import SpaceCodec
from agentgym.spaces.domains import Domain

M = 4


@pytest.fixture(scope="module")
def policy(demonstrations):
    torch.manual_seed(0)
    return AgentPolicy(model_of(demonstrations, window=M), tokenizer_of(demonstrations))


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """A run folder with an untrained agent whose actions depend on what it sees."""
    return write_run(tmp_path_factory.mktemp("runs") / "agent", dataset, window=M)


@pytest.fixture(scope="module")
def run_of_two(run, tmp_path_factory):
    """The agent of `run` after it was given another space of actions, which comes first."""
    path = tmp_path_factory.mktemp("runs") / "two"
    shutil.copytree(run, path)
    policy = AgentPolicy.from_pretrained(run)
    jumping = Domain(SpaceCodec.discrete(("jump", "left", "duck")), (56, 56), M, ("Jump-v0",))
    for part in with_domains(policy.model, policy.tokenizer, [jumping]):
        part.save_pretrained(path / "model")
    return path


@pytest.fixture(scope="module")
def run_from_three(run, tmp_path_factory):
    """The agent of `run`, whose actions begin with 3."""
    path = tmp_path_factory.mktemp("runs") / "three"
    shutil.copytree(run, path)
    policy = AgentPolicy.from_pretrained(run)
    config, domain = policy.model.config, policy.domains[0]
    root = replace(domain.space.root, starts=(3,))
    config.domains = [replace(domain, space=replace(domain.space, root=root)).to_json()]
    policy.model.save_pretrained(path / "model")
    return path
