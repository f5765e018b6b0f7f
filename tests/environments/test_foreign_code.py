"""Environments that raise or exit: what they do is an error of theirs, said in one line; nothing passes for done."""

import sys

import gymnasium
import numpy as np
import pytest
from counted import counted_episode
from foreign_rooms import write_room
from typer.testing import CliRunner

from agentgym import environments
from agentgym.cli import main
from agentgym.errors import Foreign, ForeignExitError, Interruption, UserError, complaint_of
from agentgym.experts.replay import play_again
from agentgym.recipes import DatasetRecipe, SuiteRecipe, TaskRecipe

TASK = TaskRecipe(id="Unruly-v0", instructions=["go"])


class OddError(BaseException):
    """No Exception, as those of some test frameworks."""


class Unruly(gymnasium.Env):
    """Does in `place` what `act` does."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)
    render_mode = "rgb_array"
    place, act = "", staticmethod(lambda: None)

    def __init__(self, render_mode=None):
        self._do("making")

    def reset(self, *, seed=None, options=None):
        self._do("reset")
        return self.observation_space.low, {}

    def step(self, action):
        self._do("step")
        return self.observation_space.low, 0.0, False, False, {}

    def close(self):
        self._do("close")

    def _do(self, place):
        if place == self.place:
            self.act()


def exits():
    sys.exit(0)


def is_odd():
    raise OddError("very")


def fails():
    raise ValueError("not\nso")


@pytest.fixture(params=["reset", "step", "close"])
def place(request):
    return request.param


@pytest.fixture
def made(place, monkeypatch):
    """A task that misbehaves once it is made."""
    monkeypatch.setitem(gymnasium.registry, TASK.id, gymnasium.envs.registration.EnvSpec(TASK.id, entry_point=Unruly))
    env = environments.make(TASK)
    env.reset(seed=0)
    monkeypatch.setattr(Unruly, "place", place)
    return env


def play(env):
    env.reset(seed=1)
    env.step(0)
    env.close()


@pytest.mark.parametrize(
    ("act", "kind", "said"),
    [
        (exits, ForeignExitError, "SystemExit: 0"),
        (is_odd, ForeignExitError, "OddError: very"),
        (fails, ValueError, "ValueError: not"),
    ],
)
def test_what_an_environment_raises_is_an_exception_that_says_where(made, place, monkeypatch, act, kind, said):
    monkeypatch.setattr(Unruly, "act", staticmethod(act))
    with pytest.raises(kind) as raised:
        play(made)
    assert complaint_of(raised.value) == f"Unruly-v0: its {place} raises {said}"


def test_one_that_exits_while_it_is_made_cannot_be_made(monkeypatch):
    monkeypatch.setitem(gymnasium.registry, TASK.id, gymnasium.envs.registration.EnvSpec(TASK.id, entry_point=Unruly))
    monkeypatch.setattr(Unruly, "place", "making")
    monkeypatch.setattr(Unruly, "act", staticmethod(exits))
    with pytest.raises(UserError, match=r"Unruly-v0: cannot be made: SystemExit: 0"):
        environments.make(TASK)


def test_a_replay_whose_reset_raises_says_so(monkeypatch):
    monkeypatch.setitem(gymnasium.registry, TASK.id, gymnasium.envs.registration.EnvSpec(TASK.id, entry_point=Unruly))
    monkeypatch.setattr(Unruly, "place", "reset")
    monkeypatch.setattr(Unruly, "act", staticmethod(exits))
    suite = SuiteRecipe(name="unruly", description="One room", tasks=[TASK])
    recipe = DatasetRecipe(name="unruly", description="None", suite=suite, expert="random", episodes=1, keep="all")
    episode = counted_episode(task=TASK.id)
    assert play_again(episode, recipe).problem(episode) == "its reset raises SystemExit: 0"


@pytest.mark.parametrize("passing", [KeyboardInterrupt, Interruption, MemoryError, GeneratorExit])
def test_what_ends_the_program_from_outside_passes(passing):
    with pytest.raises(passing) as raised, Foreign("somebody", "step"):
        raise passing
    assert complaint_of(raised.value) is None


def test_the_innermost_place_is_named():
    with pytest.raises(ZeroDivisionError) as raised, Foreign("x", "expert"), Foreign("x", "step"):
        raise ZeroDivisionError
    assert complaint_of(raised.value) == "x: its step raises ZeroDivisionError"


def test_the_command_line_says_it_in_one_line(tmp_path, monkeypatch, capsys):
    """An agent's evaluation, say: the error comes up from an environment of a batch."""

    def verb(**options):
        with Foreign("my_games:Room-v0", "step"):
            raise RuntimeError("no battery")

    monkeypatch.setattr(main, "app", verb)
    assert main._run() == 2
    assert (
        capsys.readouterr().err
        == "agentgym: my_games:Room-v0: its step raises RuntimeError: no battery; fix that code\n"
    )


def test_an_environment_whose_every_step_exits_is_scored_as_such(tmp_path, monkeypatch):
    room = write_room(tmp_path, "unruly_rooms", "UnrulyRoom-v0", in_step="sys.exit(0)")
    suite, to = tmp_path / "rooms.toml", tmp_path / "out"
    suite.write_text(f'description = "Rooms"\n[[tasks]]\nid = "{room}"\ninstructions = ["go"]\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    found = CliRunner().invoke(
        main.app, ["evaluate", "random", "--suite", str(suite), "--episodes", "2", "--to", str(to), "--workers", "1"]
    )
    assert found.exit_code == 0, found.output
    assert "it raised in 2 episodes, counted as failures" in found.output
