"""What is kept with the frames, of environments that show what is of no fixed form, or not always of one kind."""

import gymnasium
import numpy as np
import pytest
from arm import Arm, play, wrapped
from gymnasium import spaces
from refusals import refusal

from agentgym.data.headers import header_of
from agentgym.data.recorder import Recorder
from agentgym.data.store import DatasetWriter, EpisodeDataset, UnfitEpisodeError
from agentgym.data.vector_recorder import VectorRecorder


class Uneven(Arm):
    """Ends after as many steps as its seed; what its info says is a whole number, a real one, or not there."""

    def reset(self, *, seed=None, options=None):
        self.last = seed or 1
        return super().reset(seed=seed)[0], {"speed": 1, "_wind": 2}

    def step(self, action):
        observation, reward, *_ = super().step(action)
        info = {"speed": self.t / 4, "_wind": 0.5} if self.t < 3 else {}
        return observation, reward, self.t == self.last, False, info


def test_what_a_row_keeps_is_not_cast_to_what_another_one_has():
    rows = []
    vector = gymnasium.vector.SyncVectorEnv([lambda: wrapped(Uneven(), keep=("info", "info.speed"))] * 2)
    recorder = VectorRecorder(vector, rows, task="Arm", expert="me")
    recorder.reset(seed=[1, 4])
    for _ in range(4):
        recorder.step(np.zeros((2, 2), np.float32))
    long = next(episode for episode in rows if episode.seed == 4)
    assert long.extras["info.speed"] == [1, 0.25, 0.5, None, None]
    assert long.extras["info"][:2] == [{"speed": 1, "_wind": 2}, {"speed": 0.25, "_wind": 0.5}]


class Shows(Arm):
    """Shows values of a space, and has those states, one after the other."""

    def __init__(self, space, states=()):
        super().__init__("rgb_array")
        self.observation_space, self.states = space, states

    def step(self, action):
        self.t += 1
        return self.observe(), 0.0, self.t == 6, False, {}

    def observe(self):
        self.state = self.states[min(self.t, len(self.states) - 1)] if self.states else 0
        return self.observation_space.sample()


@pytest.mark.parametrize(
    "space",
    [
        spaces.Sequence(spaces.Box(-1, 1, (2,)), stack=True),
        spaces.Sequence(spaces.Dict(a=spaces.Discrete(3)), stack=True),
        spaces.OneOf([spaces.Discrete(2), spaces.Box(-1, 1, (2,))]),
        spaces.Graph(spaces.Box(-1, 1, (2,)), spaces.Discrete(3)),
    ],
    ids=str,
)
def test_an_observation_of_no_fixed_form_is_kept_as_json(space, tmp_path):
    space.seed(0)
    env = wrapped(Shows(space), frame="render", keep=("observation",))
    with DatasetWriter(tmp_path / "data", header_of(env, name="arm")) as writer:
        play(Recorder(env, writer, task="Arm", expert="me"))
    kept = EpisodeDataset(tmp_path / "data").extras(1)["observation"]
    assert len({len(text) for text in kept}) > 1
    assert all(text.value() is not None for text in kept)


def test_a_state_that_is_now_an_array_and_then_a_tuple_is_one_column():
    episodes, states = [], (np.zeros(2, np.float32), (0.5, 1 / 3), np.ones(2))
    env = wrapped(Shows(spaces.Discrete(2), states), frame="render", keep=("state",))
    play(Recorder(env, episodes, task="Arm", expert="me"), seeds=(0,))
    kept = np.stack(episodes[0].extras["state"])
    assert (kept.dtype, kept[1].tolist()) == (np.float64, [0.5, 1 / 3])
    assert "has no attribute 'state'" in refusal(
        wrapped, gymnasium.make("FrozenLake-v1", render_mode="rgb_array"), frame="render", keep=("state",)
    )


def test_two_parts_of_one_name_are_refused():
    space = spaces.Dict({"a.b": spaces.Discrete(3), "a": spaces.Dict(b=spaces.Discrete(4))})
    env = wrapped(Shows(space), frame="render", keep=("observation",))
    assert "two parts of what is kept are called 'observation.a.b'" in refusal(header_of, env, name="arm")


@pytest.mark.parametrize(
    ("info", "said"), [({"path": "\ud800"}, "info is not Unicode text"), ({(1, 2): 3}, "info has no JSON text")]
)
def test_what_cannot_be_stored_costs_its_own_episode_only(tmp_path, info, said):
    env = wrapped(keep=("info",))
    with DatasetWriter(tmp_path / "data", header_of(env, name="arm")) as writer:
        recorder = Recorder(env, writer, task="Arm", expert="me")
        play(recorder, seeds=(0,))
        broken, env.env.step = env.env.step, lambda action: (*Arm.step(env.env, action)[:4], info)
        with pytest.raises(UnfitEpisodeError, match=said):
            play(recorder, seeds=(1,))
        env.env.step = broken
        play(recorder, seeds=(2,))
    assert EpisodeDataset(tmp_path / "data").column("seed") == [0, 2]
