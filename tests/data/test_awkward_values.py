"""Values that are hard to show, to count or to split are handled as what they are."""

import json
import re
from dataclasses import replace

import gymnasium
import nasty
import numpy as np
import pytest
from counted import counted_episode, write_counted
from refusals import refusal

from agentgym import environments
from agentgym.data.store import EpisodeDataset
from agentgym.recipes import TaskRecipe
from agentgym.report.dataset_page import write_view
from agentgym.spaces import SpaceCodec
from agentgym.spaces.values import name


def test_a_page_of_rewards_that_are_not_finite_has_json_without_nan(tmp_path):
    rewards = [np.array([np.nan, 1, 0, 0, 0.0]), np.array([np.inf, 0, 0, 0, 0.0]), np.zeros(5)]
    path = write_counted(
        tmp_path / "data", [replace(counted_episode(seed), rewards=r) for seed, r in enumerate(rewards)]
    )
    page = write_view(path).read_text()
    assert "return (without 2 that are not finite)" in page
    assert not re.search(r"[\[,: ](NaN|-?Infinity)[\],}]", page)
    assert '"nan"' in page.replace("&#34;", '"')
    assert '"inf"' in page.replace("&#34;", '"')
    json.dumps(EpisodeDataset(path).outcomes(), allow_nan=False)


def test_an_action_outside_its_space_that_an_older_version_recorded_has_a_name():
    root = SpaceCodec.discrete(("left", "right"), start=1).root
    assert [name(root, value) for value in (1, 2, 0, 7)] == [
        "left",
        "right",
        "0 (outside the space)",
        "7 (outside the space)",
    ]


@pytest.mark.parametrize(("space", "tokens"), [("Huge", "200,000,000"), ("Pixels", f"{64 * 64 * 3 * 256:,}")])
def test_a_space_of_too_many_tokens_is_refused_before_they_are_made(space, tokens):
    assert f"has {tokens} action tokens; at most 131,072 are taken" in refusal(SpaceCodec.of, nasty.SPACES[space])


def test_an_unbounded_box_takes_the_limits_of_its_task():
    task = {"id": "nasty:Nasty/Unbounded-v0", "instructions": ["go"]}
    line = refusal(lambda: SpaceCodec.of(environments.make(TaskRecipe(**task)).action_space))
    assert "give limits=(low, high), in a recipe its task's `action_limits`" in line
    env = environments.make(TaskRecipe(**task, action_limits=[-2, 3]))
    assert env.action_space == gymnasium.spaces.Box(-2, 3, (2,), np.float32)
    assert SpaceCodec.of(env.action_space).root.highs == (3.0, 3.0)
