"""A demonstration is never wrong in silence: what is not the dataset's is refused by name, and costs nothing else."""

import re
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from test_episode import same
from worlds_light import counted_header, counted_sample, refusal

from agentgym import environments
from agentgym.data.recorder import Recorder
from agentgym.data.store import (
    DatasetWriter,
    EpisodeDataset,
    UnfitEpisodeError,
    check,
    encode_row,
    fit,
    fitting,
    repair,
)
from agentgym.data.vector_recorder import VectorRecorder
from agentgym.errors import UserError
from agentgym.experts import collection
from agentgym.recipes import DatasetRecipe, TaskRecipe
from agentgym.spaces import SpaceCodec


def recipe_of(name, *, expert="random", episodes=4, **task):
    """Episodes of a nasty environment."""
    tasks = [{"id": f"nasty:Nasty/{name}-v0", "instructions": ["go"], **task}]
    suite = {"name": "nasty", "description": "", "tasks": tasks}
    return DatasetRecipe(name="nasty", description="", suite=suite, expert=expert, episodes=episodes, keep="all")


def make(name, **task):
    return environments.make(TaskRecipe(id=f"nasty:Nasty/{name}-v0", instructions=["go"], **task))


FRAMES = {
    "Float": "float32[24, 24, 3] in 0 to 1",
    "TooBright": "int64[24, 24, 3] in 0 to 510",
    "RGBA": "uint8[24, 24, 4]",
    "Grey": "uint8[24, 24] in",
    "NoneRender": "its frame is None",
    "ListRender": "of type list",
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_that_is_no_picture_is_refused_with_its_type_shape_and_range(name):
    line = refusal(collection.make_headers, recipe_of(name))
    assert f"nasty:Nasty/{name}-v0" in line
    assert FRAMES[name] in line
    assert "expected uint8[height, width, 3] in 0 to 255" in line


def test_whole_numbers_in_0_to_255_are_the_same_picture_in_uint8():
    one, other = make("Int64"), make("Base")
    assert np.array_equal(one.reset(seed=3)[0]["frame"], other.reset(seed=3)[0]["frame"])
    assert one.reset(seed=3)[0]["frame"].max() == 255


def test_an_episode_with_one_wrong_frame_is_an_error_with_its_reason_and_the_others_are_kept(tmp_path):
    told = []
    outcomes = collection.collect(recipe_of("LateFloat"), tmp_path / "data", workers=1, tell=told.append)
    assert outcomes == {"solved": 2, "failed": 0, "error": 2, "timeout": 0}
    assert EpisodeDataset(tmp_path / "data").column("seed") == [1_000_000, 1_000_002]
    assert told[0].startswith(
        "2 episodes ended in an error, 2 of them in: UserError: nasty:Nasty/LateFloat-v0: its frame"
    )
    assert "float64[24, 24, 3] in 0 to 1" in told[0]


def test_a_reward_that_is_no_number_is_named():
    assert "its reward is array([1., 2.]); expected one number" in refusal(
        collection.make_headers, recipe_of("TwoRewards")
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frames": np.zeros((6, 8, 10, 3), np.uint8)}, "its frames are [8, 10, 3], those of the dataset [8, 8, 3]"),
        ({"actions": np.array([0, 1, 3, 1, 0])}, "action 3 of step 2 is outside the space"),
        ({"actions": np.array([0, -1, 0, 1, 0])}, "action -1 of step 1 is outside the space"),
        ({"actions": np.array([0, 1.5, 0, 1, 0])}, "is float64; expected whole numbers"),
        ({"actions": np.zeros((5, 1), np.int64)}, "actions have shape [1]; expected []"),
        ({"labels": np.array([0, 1, 2, 3, 0])}, "label 3 of step 3 is outside the space"),
        ({"seed": 2**63}, "its seed has 64 bits; at most 63 are stored"),
        ({"seed": 2**127}, "its seed has 128 bits; at most 63 are stored"),
        ({"seed": 1.5}, "its seed is 1.5, no whole number"),
        ({"instruction": "\ud800"}, "its instruction is no Unicode text"),
        ({"task": None}, "its task is None, no text"),
        ({"versions": {"numpy": 2}}, "its version of numpy is 2, no text"),
        ({"rewards": np.zeros((5, 2))}, "its rewards are float64[5, 2]; expected one number a step"),
        ({"rewards": np.array(["a"] * 5)}, "its rewards are <U1[5]"),
        ({"rewards": np.array([2**60 + 1] * 5)}, "its rewards are int64 that float64 does not hold exactly"),
    ],
)
def test_an_episode_that_is_not_the_datasets_is_refused_by_append_and_costs_no_other(tmp_path, changes, said):
    good = [counted_sample(seed) for seed in range(3)]
    with DatasetWriter(tmp_path, counted_header(), commit_seconds=1000) as writer:
        writer.append(good[0])
        writer.append(good[1])
        with pytest.raises(UnfitEpisodeError) as caught:
            writer.append(replace(counted_sample(7), **changes))
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
        writer.append(good[2])
    assert issubclass(UnfitEpisodeError, UserError)
    assert issubclass(UnfitEpisodeError, ValueError)
    assert check(tmp_path) == []
    assert all(same(stored, sample) for stored, sample in zip(EpisodeDataset(tmp_path), good, strict=True))


def test_rewards_that_are_not_finite_and_seeds_of_63_bits_are_stored_exactly(tmp_path):
    rewards = np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324])
    with DatasetWriter(tmp_path, counted_header()) as writer:
        writer.append(replace(counted_sample(), rewards=rewards, seed=2**63 - 1))
        writer.append(counted_sample(1, rewards=np.arange(5, dtype=np.int32), actions=np.arange(5, dtype=np.int8) % 3))
    first, second = EpisodeDataset(tmp_path)
    assert first.rewards.tobytes() == rewards.tobytes()
    assert first.seed == 2**63 - 1
    assert second.rewards.tolist() == [0, 1, 2, 3, 4]
    assert second.actions.dtype == np.int64
    assert check(tmp_path) == []


def test_a_list_of_frames_is_refused_by_name():
    with pytest.raises(ValueError, match=r"frames must be an array of uint8\[T \+ 1, H, W, 3\], not a list"):
        counted_sample(frames=[np.zeros((8, 8, 3), np.uint8)] * 6)


@pytest.fixture
def unguarded(monkeypatch):
    """A writer as it was, that took everything."""
    monkeypatch.setattr("agentgym.data.store.writer.fit", lambda sample, header: sample)


def write(path, samples, **header):
    with DatasetWriter(path, counted_header(**header), commit_seconds=1000) as writer:
        for sample in samples:
            writer.append(sample)


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"frames": np.zeros((6, 8, 10, 3), np.uint8)},
            r"its frames are \[8, 10, 3\], those of the dataset \[8, 8, 3\]",
        ),
        ({"actions": np.array([0, 1, 9, 1, 0])}, "is unfit: action 9 of step 2 is outside the space"),
        ({"labels": np.array([0, 1, 9, 1, 0])}, "is unfit: label 9 of step 2 is outside the space"),
    ],
)
def test_check_finds_what_older_versions_recorded_and_repair_keeps_the_others(tmp_path, changes, said):
    good = [counted_sample(seed) for seed in (0, 2)]
    write(tmp_path, [good[0], counted_sample(1, **changes), good[1]])
    (problem,) = check(tmp_path)
    assert re.search(r"episode 1 \(seed 1\) " + said, problem)
    (line,) = repair(tmp_path)
    assert "1 episode of 3 lost (seed 1)" in line
    assert re.search(said, line)
    assert check(tmp_path) == []
    assert all(same(stored, sample) for stored, sample in zip(EpisodeDataset(tmp_path), good, strict=True))
    assert EpisodeDataset(tmp_path).seeds("Count-v0") == {0, 2}


@pytest.mark.usefixtures("unguarded")
def test_frames_of_another_size_are_never_read_as_those_of_the_dataset(tmp_path):
    write(tmp_path, [counted_sample(0), counted_sample(1, frames=np.zeros((6, 8, 10, 3), np.uint8))])
    dataset = EpisodeDataset(tmp_path)
    assert same(dataset[0], counted_sample(0))
    assert "its frames are [8, 10, 3]" in refusal(lambda: dataset[1])


# ----------------------------------------------------------------------------- recorders


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


def recorder_of(env, samples):
    return Recorder(env, samples, task="Plain-v0", expert="test")


@pytest.mark.parametrize("action", [0, 4, -1, 1.5, 1.0, np.float32(2), "1", None, [1], 2**70])
def test_an_action_outside_its_space_is_refused_before_it_is_executed(action):
    env, samples = Plain(), []
    recorder = recorder_of(env, samples)
    recorder.reset(seed=0)
    recorder.step(3)
    with pytest.raises(ValueError, match="action"):
        recorder.step(action)
    assert env.taken == [3]
    recorder.close()
    assert samples[0].actions.tolist() == [3]


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
    env, samples = Plain(), []
    recorder = recorder_of(env, samples)
    recorder.reset(seed=0)
    recorder.step(1)
    env.shown = frame
    assert "expected uint8[height, width, 3]" in refusal(recorder.step, 1)
    recorder.close()
    assert len(samples[0]) == 1


def test_a_frame_of_another_size_is_refused_in_a_list_too():
    env, samples = Plain(), []
    recorder = recorder_of(env, samples)
    recorder.reset(seed=0)
    env.shown = np.zeros((1, 1, 3), np.uint8)
    with pytest.raises(ValueError, match=r"a frame has shape \[1, 1, 3\], those before it in the episode \[8, 8, 3\]"):
        recorder.step(1)


def test_an_instruction_that_changes_in_mid_episode_is_refused_and_what_came_before_is_kept():
    env, samples = Plain(), []
    recorder = recorder_of(env, samples)
    recorder.reset(seed=0)
    recorder.step(1)
    env.text = "go right"
    recorder.step(2)  # chosen under the first
    line = refusal(recorder.step, 3)
    assert "its instruction changes in step 2, from 'go left' to 'go right'" in line
    recorder.reset(seed=1)
    recorder.step(3)
    recorder.close()
    assert [(sample.instruction, sample.actions.tolist()) for sample in samples] == [
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
    samples = []
    recorder = recorder_of(gymnasium.wrappers.TimeLimit(make("Base"), 5), samples)
    play(recorder)
    (sample,) = samples
    assert (len(sample), sample.terminated, sample.truncated, sample.success) == (5, False, True, False)


def test_a_time_limit_and_autoreset_around_a_recorder_leave_the_episodes_whole():
    samples = []
    play(gymnasium.wrappers.TimeLimit(recorder_of(make("Base"), samples), 50))
    resetting = gymnasium.wrappers.Autoreset(recorder_of(make("Base"), samples))
    resetting.reset(seed=0)
    for _ in range(30):
        resetting.step(0)
    assert [(len(sample), sample.success) for sample in samples] == [(12, True)] * 3


def test_wrappers_that_only_watch_may_be_inside():
    samples = []
    play(recorder_of(gymnasium.wrappers.RecordEpisodeStatistics(make("Base")), samples))
    assert samples[0].success


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (gymnasium.wrappers.Autoreset, "put the recorder inside"),
        (lambda env: gymnasium.wrappers.FrameStackObservation(env, 2), "put wrappers that change observations around"),
        (gymnasium.wrappers.FlattenObservation, "put wrappers that change observations around"),
    ],
)
def test_wrappers_that_hide_what_is_recorded_are_refused_at_once(wrap, said):
    assert said in refusal(lambda: recorder_of(wrap(make("Base")), []).reset(seed=0))


def test_a_plain_gymnasium_environment_is_refused_with_what_to_use():
    line = refusal(recorder_of(gymnasium.make("CartPole-v1"), []).reset, seed=0)
    assert "agentgym.make or agentgym.wrap" in line
    vector = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    assert "agentgym.make or agentgym.wrap" in refusal(VectorRecorder, vector, [], task="t", expert="e")


@pytest.mark.parametrize("mode", list(gymnasium.vector.AutoresetMode))
def test_a_time_limit_in_every_row_of_a_vector_environment_is_a_truncation(mode):
    samples = []
    vector = gymnasium.vector.SyncVectorEnv(
        [lambda: gymnasium.wrappers.TimeLimit(make("Base"), 5)] * 2, autoreset_mode=mode
    )
    recorder = VectorRecorder(vector, samples, task="t", expert="e")
    assert "takes no options (level)" in refusal(recorder.reset, seed=0, options={"level": 1})
    recorder.reset(seed=0)
    for _ in range(5):
        recorder.step(np.zeros(2, np.int64))
    assert [(len(s), s.terminated, s.truncated, s.success) for s in samples] == [(5, False, True, False)] * 2


def _recording_in_a_list():
    return recorder_of(make("Base"), LIST)


LIST: list = []


def test_a_list_in_the_process_of_another_environment_is_refused():
    vector = None
    with pytest.raises(UserError, match="is lost with it; use VectorRecorder or DummyVecEnv"):
        vector = gymnasium.vector.AsyncVectorEnv([_recording_in_a_list] * 2, context="fork", shared_memory=False)
    assert vector is None


def test_a_writer_serves_the_process_that_opened_it(tmp_path, monkeypatch):
    import copy
    import pickle

    with DatasetWriter(tmp_path, counted_header()) as writer:
        assert "serves the process that opened it" in refusal(pickle.dumps, writer)
        assert "serves the process that opened it" in refusal(copy.deepcopy, writer)
        monkeypatch.setattr("os.getpid", lambda: -1)
        assert "merge them" in refusal(writer.append, counted_sample())
        monkeypatch.undo()
        writer.append(counted_sample())
    assert len(EpisodeDataset(tmp_path)) == 1


# ----------------------------------------------------------------------------- shards


def test_a_shard_never_takes_anothers_place(tmp_path):
    for seed in range(3):
        write(tmp_path, [counted_sample(seed)])
    (tmp_path / "shard-000001.arrow").unlink()
    last = (tmp_path / "shard-000002.arrow").read_bytes()
    write(tmp_path, [counted_sample(3)])
    assert (tmp_path / "shard-000002.arrow").read_bytes() == last
    assert (tmp_path / "shard-000003.arrow").is_file()
    assert "1 of 4 shards are missing" in refusal(EpisodeDataset, tmp_path)
    repair(tmp_path)
    assert EpisodeDataset(tmp_path).column("seed") == [0, 2, 3]


def test_a_commit_is_cut_into_shards_by_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("agentgym.data.store.writer.SHARD_BYTES", 300)
    samples = [counted_sample(seed, steps=9) for seed in range(7)]
    write(tmp_path, samples)
    dataset = EpisodeDataset(tmp_path)
    assert len(dataset.shards) > 2
    assert all(same(stored, sample) for stored, sample in zip(dataset, samples, strict=True))
    assert [attempt.seed for shard in dataset.shards for attempt in shard.attempts] == list(range(7))
    assert all([a.seed for a in shard.attempts] == shard.column("seed") for shard in dataset.shards)


def test_an_episode_whose_blocks_are_too_many_bytes_for_one_row_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "LARGEST", 10)
    with DatasetWriter(tmp_path, counted_header()) as writer:
        assert "record it in parts" in refusal(writer.append, counted_sample())


def test_parity_of_older_versions_is_ignored_and_leaves_with_a_repair(tmp_path):
    write(tmp_path, [counted_sample(0)])
    leftover = tmp_path / "shard-000000.parity"
    leftover.write_bytes(b"AGPARIT1 of another time")
    assert check(tmp_path) == []
    assert len(EpisodeDataset(tmp_path)) == 1
    assert leftover.exists()
    content = bytearray((tmp_path / "shard-000000.arrow").read_bytes())
    write(tmp_path, [counted_sample(1)])
    (tmp_path / "shard-000000.arrow").write_bytes(content[:100])
    repair(tmp_path)
    assert not leftover.exists()
    assert EpisodeDataset(tmp_path).column("seed") == [1]


def test_the_checksum_is_over_plain_json():
    """What older versions wrote by a private encoder of Python's."""
    sample = counted_sample(3, rewards=np.array([0.1, np.nan, np.inf, 1e300, -0.0]), instruction='é日 "\\')
    row = encode_row(fit(sample, counted_header()))
    assert (row["block_crc32"], row["crc32"]) == KNOWN


KNOWN = ([2059397101], 4077305847)  # of the encoder before
