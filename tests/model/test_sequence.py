"""The drawing: every token at its place, and what predicts what."""

import numpy as np
import pytest
import torch

from agentgym.model.sequence import Layout, SlidingWindow, pack, unpack

LAYOUT = Layout(instruction=3, visual=4, action=2, steps=2)

# The drawing for L = 3, k = 4, n = 2, T = 2, each token by its place in its own part.
DRAWING = "w0 w1 w2 | v00 v01 v02 v03 | a00 a01 | v10 v11 v12 v13 | a10 a11".replace("|", "").split()


def numbered(names):
    return torch.tensor([float(DRAWING.index(name)) for name in names.split()])


def parts():
    instruction = numbered("w0 w1 w2").view(1, 3, 1)
    visual = numbered("v00 v01 v02 v03 v10 v11 v12 v13").view(1, 2, 4, 1)
    action = numbered("a00 a01 a10 a11").view(1, 2, 2, 1)
    return instruction, visual, action


def test_the_sequence_is_the_drawing():
    assert LAYOUT.length == len(DRAWING)
    assert LAYOUT.join(*parts()).flatten().tolist() == list(range(len(DRAWING)))


def test_each_word_is_predicted_by_the_word_before_it():
    hidden = LAYOUT.join(*parts())
    assert LAYOUT.predicts_instruction(hidden).flatten().tolist() == numbered("w0 w1").tolist()


def test_the_last_visual_token_predicts_the_action_and_each_of_its_tokens_the_next():
    hidden = LAYOUT.join(*parts())
    predicts = LAYOUT.predicts_actions(hidden)
    assert predicts.shape == (1, 2, 2, 1)
    assert predicts.flatten().tolist() == numbered("v03 a00 v13 a10").tolist()


def test_only_padding_is_empty_and_a_row_is_read_without_it():
    actions, steps = torch.ones(2, 2, 2, dtype=torch.bool), torch.tensor([[True, True], [True, False]])
    actions[1, 1] = False
    real = LAYOUT.real(torch.tensor([[0, 1, 1], [1, 1, 1]]), actions, steps)
    assert real.tolist() == [[False] + [True] * 14, [True] * 9 + [False] * 6]
    sequence = LAYOUT.join(*parts()).expand(2, -1, -1)
    packed = pack(sequence, real)
    assert packed[0, :, 0].tolist() == list(range(1, 15))
    assert packed[1, :9, 0].tolist() == list(range(9))
    assert torch.equal(unpack(packed, real)[real], sequence[real])


def test_a_window_grows_until_it_is_full_then_keeps_a_third():
    window = SlidingWindow(6)
    assert window.table == (0, 1, 2, 3, 4, 5, 2)
    assert window.starts(11).tolist() == [0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 8]
    assert SlidingWindow(1).starts(3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("longest", [1, 2, 3, 6, 9])
def test_windows_are_cut_where_the_one_that_acts_moves(longest):
    window, lengths = SlidingWindow(longest), np.array([0, 1, 5, 6, 7, 20])
    cut = window.cut(lengths)
    for episode, length in enumerate(lengths.tolist()):
        steps, seen, acted = window.starts(length).tolist(), 0, []
        for _ in range(length):
            seen = int(window.before_next(np.array(seen))) + 1
            acted.append(seen)
        assert [step + 1 - start for step, start in enumerate(steps)] == acted
        mine = cut[cut[:, 0] == episode]
        assert mine[:, 1].tolist() == sorted(set(steps))
        stops = [max(step for step, start in enumerate(steps) if start == first) + 1 for first in mine[:, 1]]
        assert mine[:, 2].tolist() == stops
