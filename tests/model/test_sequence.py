"""The drawing: every token at its place, and what predicts what."""

import torch

from agentgym.model.sequence import Layout

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


def test_only_the_padding_of_the_instruction_is_masked():
    mask = LAYOUT.attention_mask(torch.tensor([[0, 1, 1], [1, 1, 1]]))
    assert mask.tolist() == [[0] + [1] * 14, [1] * 15]
