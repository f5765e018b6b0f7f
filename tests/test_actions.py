"""ActionCodec: exact both ways."""

import gymnasium
import numpy as np
import pytest
from worlds import refusal

from agentgym.actions import ActionCodec


@pytest.mark.parametrize("start", [0, -1, 5])
def test_every_action_of_a_space_is_one_token_and_comes_back(start):
    space = gymnasium.spaces.Discrete(3, start=start)
    codec = ActionCodec.of(space)
    actions = np.arange(start, start + 3)
    tokens = codec.encode(actions)
    assert tokens.tolist() == [[0], [1], [2]]
    assert tokens.shape == (3, codec.length)
    assert codec.decode(tokens).tolist() == actions.tolist()
    assert [codec.name(action) for action in actions] == [str(action) for action in actions]


def test_actions_of_any_shape_keep_it():
    codec = ActionCodec(("left", "right"))
    actions = np.array([[0, 1, 1], [1, 0, 0]])
    assert codec.encode(actions).shape == (2, 3, 1)
    assert np.array_equal(codec.decode(codec.encode(actions)), actions)


def test_tokens_are_named_after_actions():
    codec = ActionCodec.of(gymnasium.spaces.Discrete(2), ["left", "right"])
    assert codec.tokens == ["<action:left>", "<action:right>"]
    assert codec.num_tokens == 2


def test_an_action_outside_the_space_is_refused():
    codec = ActionCodec(("left", "right"), start=1)
    for action in (0, 3):
        with pytest.raises(ValueError, match=rf"\[1, 3\), found \[{action}\]"):
            codec.encode(np.array([action]))


def test_a_space_without_tokens_is_refused_by_name():
    assert "Box(0.0, 1.0, (2,), float32)" in refusal(ActionCodec.of, gymnasium.spaces.Box(0, 1, (2,)))


def test_names_that_are_not_as_many_as_the_actions_are_refused():
    with pytest.raises(ValueError, match="3 actions need as many names, not 2"):
        ActionCodec.of(gymnasium.spaces.Discrete(3), ["left", "right"])
