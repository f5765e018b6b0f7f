"""A game of Atari Pong, which the console ends after 18 minutes."""

import pytest

from agentgym import make
from agentgym.recipes import TaskRecipe


def test_a_game_of_pong_is_cut_before_the_console_ends_it():
    assert make("ALE/Pong-v5").longest == 65_208 // 4
    assert make(TaskRecipe(id="ALE/Pong-v5", arguments={"max_num_frames_per_episode": 400})).longest == 100
    assert make(TaskRecipe(id="ALE/Pong-v5", arguments={"max_num_frames_per_episode": 0})).longest == 65_208 // 4
    assert make(TaskRecipe(id="ALE/Pong-v5", arguments={"frameskip": 8})).longest == 65_208 // 8


@pytest.mark.slow
def test_after_so_many_frames_the_console_overwrites_the_score_of_pong():
    opponent, points = 13, 5
    ale = make("ALE/Pong-v5").twin(frame_skip=4)
    for _ in range(65_208 // 4):
        ale.setRAM(opponent, points)  # so that the game is not lost before
        ale.act(0)
    assert not ale.game_over()
    ale.setRAM(opponent, points)
    assert ale.act(0) > 1
    assert ale.getRAM()[opponent] == 1
