"""MinAtar's frames hide nothing: whatever channels a cell has can be read from its colour."""

import numpy as np
import pytest

from agentgym.environments import make
from agentgym.environments.minatar_colours import CHANNELS, STEP, colour_table, draw_cells, read_cells
from agentgym.experts import make as make_expert
from agentgym.recipes import FrameRecipe

GAMES = ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")


@pytest.mark.parametrize("game", GAMES)
def test_the_state_of_every_game_can_be_read_from_its_frame(game):
    env = make(f"MinAtar/{game}-v1", frame=FrameRecipe(size=(20, 20)))
    expert, several = make_expert("trained"), 0
    for seed in range(2):
        observation, _ = env.reset(seed=seed)
        expert.start(env, seed)
        for _ in range(150):
            np.testing.assert_array_equal(read_cells(observation["frame"][::2, ::2], env.state.shape[2]), env.state)
            several += (env.state.sum(axis=2) > 1).sum()
            observation, _, terminated, truncated, _ = env.step(expert.act(observation))
            if terminated or truncated:
                break
    assert several, "no cell had two channels: the test says little"


@pytest.mark.parametrize("channels", [4, 6, 7, 10])
def test_every_combination_of_channels_has_a_colour_of_its_own(channels):
    table = colour_table(channels).astype(int)
    apart = np.abs(table[:, None] - table).max(axis=2)
    assert apart[~np.eye(len(table), dtype=bool)].min() >= STEP


def test_a_single_channel_has_its_own_colour_and_an_empty_cell_is_black():
    state = np.zeros((2, 6, 10), bool)
    state[0, range(5), range(5)] = True
    drawn = draw_cells(state)
    np.testing.assert_array_equal(drawn[0, :5], CHANNELS[:5])
    assert not drawn[1].any()
    assert not drawn[0, 5].any()


def test_the_direction_of_the_aliens_is_seen():
    env = make("MinAtar/SpaceInvaders-v1", frame=FrameRecipe(size=(10, 10)))
    env.reset(seed=0)
    state = env.state
    turned = state.copy()
    turned[:, :, [2, 3]] = state[:, :, [3, 2]]
    assert state[:, :, 2:4].any()
    assert (draw_cells(state) != draw_cells(turned)).any()


def test_a_colour_that_is_no_combinations_is_refused():
    with pytest.raises(ValueError, match="no combination"):
        read_cells(np.full((10, 10, 3), 3, np.uint8), 4)
