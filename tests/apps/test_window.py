"""The window in which people play, without a screen."""

import pytest
from refusals import refusal
from tiny import TASK

from agentgym import environments, experts
from agentgym.apps.window import play_in_window
from agentgym.data.store import EpisodeDataset

pygame = pytest.importorskip("pygame")
KEYS = {0: pygame.K_LEFT, 1: pygame.K_RIGHT, 2: pygame.K_UP}


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def press(monkeypatch, *keys):
    """A person who presses those keys, then closes the window."""
    events = [pygame.event.Event(pygame.KEYDOWN, key=key) for key in keys] + [pygame.event.Event(pygame.QUIT)]
    monkeypatch.setattr(pygame.event, "wait", lambda: events.pop(0))


def bots_actions(seed):
    env = environments.make(TASK)
    observation, _ = env.reset(seed=seed)
    expert = experts.make("babyai-bot")
    expert.start(env, seed)
    over = False
    while not over:
        action = int(expert.act(observation))
        observation, _, terminated, truncated, _ = env.step(action)
        over = terminated or truncated
        yield action


def test_a_solved_episode_is_kept_by_itself(monkeypatch, tmp_path):
    actions = list(bots_actions(seed=1))
    press(monkeypatch, *(KEYS[action] for action in actions))
    assert play_in_window(TASK, record=tmp_path / "kept", seed=1) == 1
    episode = EpisodeDataset(tmp_path / "kept")[0]
    assert (list(episode.actions), episode.success, episode.expert) == (actions, True, "human")


def test_k_keeps_what_is_in_hand_and_n_forgets_it(monkeypatch, tmp_path):
    press(monkeypatch, pygame.K_UP, pygame.K_n, pygame.K_LEFT, pygame.K_LEFT, pygame.K_k, pygame.K_k)
    assert play_in_window(TASK, record=tmp_path / "kept", seed=1) == 1
    episode = EpisodeDataset(tmp_path / "kept")[0]
    assert list(episode.actions) == [0, 0]
    assert not episode.success
    assert episode.seed != 1


def test_without_a_dataset_nothing_is_kept(monkeypatch):
    press(monkeypatch, pygame.K_LEFT, pygame.K_k, pygame.K_ESCAPE)
    assert play_in_window(TASK) == 0


def test_a_folder_is_no_task(tmp_path):
    assert f"agentgym playground {tmp_path}" in refusal(play_in_window, str(tmp_path))
