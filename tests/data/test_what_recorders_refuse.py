"""A recorder refuses what it cannot record exactly, before it is executed, and at the first moment."""

import gymnasium
import numpy as np
import pytest
from nasty_tasks import make
from refusals import refusal

from agentgym import environments
from agentgym.data.recorder import Recorder
from agentgym.data.vector_recorder import VectorRecorder
from agentgym.errors import UserError
from agentgym.spaces import SpaceCodec


class Plain(gymnasium.Env):
    """Shows what a Task shows, says nothing of success, and changes its instruction on request."""

    def __init__(self):
        self.shown, self.text = np.zeros((8, 8, 3), np.uint8), "go left"
        self.observation_space = gymnasium.spaces.Dict(
            frame=gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8),
            instruction=gymnasium.spaces.Box(0, 255, (32,), np.uint8),
        )
        self.action_space = gymnasium.spaces.Discrete(3, start=1)
        self.taken = []

    def observe(self):
        return {"frame": self.shown, "instruction": environments.encode_instruction(self.text, 32)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observe(), {"seed": 0 if seed is None else seed}

    def step(self, action):
        self.taken.append(action)
        return self.observe(), 1.0, False, False, {}


def recorder_of(env, episodes):
    return Recorder(env, episodes, task="Plain-v0", expert="test")


@pytest.mark.parametrize("action", [0, 4, -1, 1.5, 1.0, np.float32(2), "1", None, [1], 2**70])
def test_an_action_outside_its_space_is_refused_before_it_is_executed(action):
    env, episodes = Plain(), []
    recorder = recorder_of(env, episodes)
    recorder.reset(seed=0)
    recorder.step(3)
    with pytest.raises(ValueError, match="action"):
        recorder.step(action)
    assert env.taken == [3]
    recorder.close()
    assert episodes[0].actions.tolist() == [3]


@pytest.mark.parametrize(
    ("space", "wrong", "right"),
    [
        (gymnasium.spaces.Box(-1, 1, (2,), np.float32), [0, 1.5], np.float64([0.1, -1])),
        (gymnasium.spaces.Box(-1, 1, (2,), np.float32), [0, np.nan], np.float64([0.1, -1])),
        (gymnasium.spaces.Box(-5, 5, (2,), np.int8), [0, 1.5], [0, -5]),
        (gymnasium.spaces.Box(-5, 5, (2,), np.int8), [0, 300], [0, -5]),
        (gymnasium.spaces.MultiDiscrete([3, 2]), [0, 2], np.int32([2, 1])),
        (gymnasium.spaces.MultiBinary(2), [0, 2], [True, False]),
        (gymnasium.spaces.Text(3, charset="ab"), "abc", "ab"),
        (gymnasium.spaces.Text(3, charset="ab"), 5, "ab"),
        (gymnasium.spaces.Dict(a=gymnasium.spaces.Discrete(2)), {"a": 2}, {"a": 1}),
    ],
)
def test_actions_of_every_space_are_taken_exactly_or_refused(space, wrong, right):
    from agentgym.spaces.values import reader

    read = reader(SpaceCodec.of(space).root)
    with pytest.raises(ValueError, match="action"):
        read(wrong)
    assert space.contains(read(right))


@pytest.mark.parametrize(
    "frame", [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), None, [[1]]]
)
def test_a_recorder_refuses_what_is_no_picture(frame):
    env, episodes = Plain(), []
    recorder = recorder_of(env, episodes)
    recorder.reset(seed=0)
    recorder.step(1)
    env.shown = frame
    assert "expected uint8[height, width, 3]" in refusal(recorder.step, 1)
    recorder.close()
    assert len(episodes[0]) == 1


def test_a_frame_of_another_size_is_refused_in_a_list_too():
    env, episodes = Plain(), []
    recorder = recorder_of(env, episodes)
    recorder.reset(seed=0)
    env.shown = np.zeros((1, 1, 3), np.uint8)
    with pytest.raises(ValueError, match=r"a frame has shape \[1, 1, 3\], those before it in the episode \[8, 8, 3\]"):
        recorder.step(1)


def test_an_instruction_that_changes_in_mid_episode_is_refused_and_what_came_before_is_kept():
    env, episodes = Plain(), []
    recorder = recorder_of(env, episodes)
    recorder.reset(seed=0)
    recorder.step(1)
    env.text = "go right"
    recorder.step(2)  # chosen under the first
    line = refusal(recorder.step, 3)
    assert "its instruction changes in step 2, from 'go left' to 'go right'" in line
    recorder.reset(seed=1)
    recorder.step(3)
    recorder.close()
    assert [(episode.instruction, episode.actions.tolist()) for episode in episodes] == [
        ("go left", [1, 2]),
        ("go right", [3]),
    ]


def test_options_of_a_reset_are_refused():
    env = make("Base")
    assert "reset takes no options (level)" in refusal(env.reset, seed=0, options={"level": 3})
    assert "takes no options (level)" in refusal(recorder_of(env, []).reset, seed=0, options={"level": 3})
    env.reset(seed=0, options={})


def test_a_seed_of_more_than_63_bits_is_refused():
    assert "has 64 bits; at most 63 are recorded" in refusal(make("Base").reset, seed=2**63)
    make("Base").reset(seed=2**63 - 1)


def play(env, *, seed=0):
    env.reset(seed=seed)
    over = False
    while not over:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        over = terminated or truncated


def test_a_time_limit_inside_a_recorder_is_a_truncation_without_success():
    episodes = []
    recorder = recorder_of(gymnasium.wrappers.TimeLimit(make("Base"), 5), episodes)
    play(recorder)
    (episode,) = episodes
    assert (len(episode), episode.terminated, episode.truncated, episode.success) == (5, False, True, False)


def test_a_time_limit_and_autoreset_around_a_recorder_leave_the_episodes_whole():
    episodes = []
    play(gymnasium.wrappers.TimeLimit(recorder_of(make("Base"), episodes), 50))
    resetting = gymnasium.wrappers.Autoreset(recorder_of(make("Base"), episodes))
    resetting.reset(seed=0)
    for _ in range(30):
        resetting.step(0)
    assert [(len(episode), episode.success) for episode in episodes] == [(12, True)] * 3


@pytest.mark.parametrize("name", ["RecordEpisodeStatistics", "OrderEnforcing", "PassiveEnvChecker"])
def test_wrappers_that_only_watch_may_be_inside(name):
    episodes = []
    play(recorder_of(getattr(gymnasium.wrappers, name)(make("Base")), episodes))
    assert episodes[0].success


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (gymnasium.wrappers.Autoreset, "put the recorder inside"),
        (lambda env: gymnasium.wrappers.StickyAction(env, 0.5), "StickyAction changes what the task is given"),
        (lambda env: gymnasium.wrappers.RepeatAction(env, 2), "put it around the recorder, or inside agentgym.wrap"),
        (
            lambda env: gymnasium.wrappers.TransformAction(env, lambda action: 0, env.action_space),
            "around the recorder",
        ),
        (lambda env: gymnasium.wrappers.TransformReward(env, lambda reward: 2 * reward), "around the recorder"),
        (lambda env: gymnasium.wrappers.DelayObservation(env, 2), "around the recorder"),
        (lambda env: gymnasium.wrappers.FrameStackObservation(env, 2), "put wrappers that change observations around"),
        (gymnasium.wrappers.FlattenObservation, "put it around the recorder"),
    ],
)
def test_wrappers_that_hide_what_is_recorded_are_refused_at_once(wrap, said):
    assert said in refusal(lambda: recorder_of(wrap(make("Base")), []).reset(seed=0))


def test_so_they_are_in_the_rows_of_a_vector_environment_and_around_them():
    sticky = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.wrappers.StickyAction(make("Base"), 0.5)])
    assert "StickyAction changes what the task" in refusal(VectorRecorder, sticky, [], task="t", expert="e")
    plain = gymnasium.vector.SyncVectorEnv([lambda: make("Base")])
    doubled = gymnasium.wrappers.vector.TransformReward(plain, lambda reward: 2 * reward)
    assert "TransformReward changes what the task" in refusal(VectorRecorder, doubled, [], task="t", expert="e")


def test_a_plain_gymnasium_environment_is_refused_with_what_to_use():
    line = refusal(recorder_of(gymnasium.make("CartPole-v1"), []).reset, seed=0)
    assert "agentgym.make or agentgym.wrap" in line
    vector = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    assert "agentgym.make or agentgym.wrap" in refusal(VectorRecorder, vector, [], task="t", expert="e")


@pytest.mark.parametrize("mode", list(gymnasium.vector.AutoresetMode))
def test_a_time_limit_in_every_row_of_a_vector_environment_is_a_truncation(mode):
    episodes = []
    vector = gymnasium.vector.SyncVectorEnv(
        [lambda: gymnasium.wrappers.TimeLimit(make("Base"), 5)] * 2, autoreset_mode=mode
    )
    recorder = VectorRecorder(vector, episodes, task="t", expert="e")
    assert "takes no options (level)" in refusal(recorder.reset, seed=0, options={"level": 1})
    recorder.reset(seed=0)
    for _ in range(5):
        recorder.step(np.zeros(2, np.int64))
    assert [(len(s), s.terminated, s.truncated, s.success) for s in episodes] == [(5, False, True, False)] * 2


def _recording_in_a_list():
    return recorder_of(make("Base"), LIST)


LIST: list = []


def test_a_list_in_the_process_of_another_environment_is_refused():
    vector = None
    with pytest.raises(UserError, match="is lost with it; use VectorRecorder or DummyVecEnv"):
        vector = gymnasium.vector.AsyncVectorEnv([_recording_in_a_list] * 2, context="fork", shared_memory=False)
    assert vector is None
