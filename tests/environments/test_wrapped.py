"""wrap: any Gymnasium environment, under any wrappers, recorded with all that it shows in addition to its frame."""

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import gymnasium
import numpy as np
import pytest
from arm import Arm, play, wrapped
from counted import same
from gymnasium import spaces, wrappers
from refusals import refusal

import agentgym
from agentgym import environments
from agentgym.data.headers import header_of
from agentgym.data.recorder import Recorder
from agentgym.data.store import DatasetWriter, EpisodeDataset, check, merge
from agentgym.data.vector_recorder import VectorRecorder


def test_an_environment_as_it_is_shows_a_frame_and_an_instruction():
    env = wrapped()
    observation, info = env.reset(seed=4)
    assert env.observation_space.contains(observation)
    assert observation["frame"][0, 0, 0] == 5
    assert environments.decode_instruction(observation["instruction"]) == "lift the cup"
    assert (info["seed"], info["level"]) == (4, 3)
    assert env.action_space == spaces.Box(-1, 1, (2,), np.float32)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"frame": None}, "shows several pictures (front, wrist); name one with frame="),
        ({"frame": "side"}, "its observation has no 'side'"),
        ({"frame": "render"}, 'make it with render_mode="rgb_array"'),
        ({"frame": lambda seen: seen["joints"]}, "its frame is float64[2, 2]"),
        ({"instruction": lambda seen, info: 3}, "its instruction is 3; expected text"),
        ({"keep": ("observations",)}, "'observations' is none of observation, info, state"),
    ],
)
def test_what_has_no_picture_text_or_part_is_refused(settings, said):
    assert said in refusal(lambda: wrapped(**settings).reset(seed=0))


def test_a_vector_environment_is_wrapped_row_by_row():
    vector = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    assert "wrap each of its rows" in refusal(agentgym.wrap, vector, instruction="balance")


class InReals(gymnasium.ObservationWrapper):
    """A user's own: pixels in 0 to 1, as Craftax has them."""

    observation_space = spaces.Box(0, 1, (32, 40, 3), np.float32)

    def observation(self, observation):
        return observation["front"] / np.float32(255)


@pytest.mark.parametrize(
    ("env", "settings", "shape"),
    [
        (lambda: wrappers.TimeLimit(Arm(), 3), {}, (32, 40, 3)),
        (lambda: Arm("rgb_array"), {"frame": "render"}, (16, 16, 3)),
        (lambda: Arm(), {"size": (8, 10)}, (8, 10, 3)),
        (
            lambda: wrappers.FrameStackObservation(
                wrappers.TransformObservation(Arm(), lambda o: o["front"], Arm.camera), 4
            ),
            {"frame": lambda seen: seen[-1]},
            (32, 40, 3),
        ),
        (lambda: wrappers.RecordEpisodeStatistics(Arm()), {}, (32, 40, 3)),
        (lambda: InReals(Arm()), {"frame": lambda seen: (255 * seen).round().astype(np.uint8)}, (32, 40, 3)),
    ],
)
def test_users_own_wrappers_stay_inside(env, settings, shape):
    episodes = []
    play(Recorder(wrapped(env(), **settings), episodes, task="Arm", expert="me"))
    assert [episode.frames.shape[1:] for episode in episodes] == [shape] * 2
    assert {len(episode) for episode in episodes} <= {3, 6}


def test_all_that_is_shown_beside_the_frame_is_stored_losslessly(tmp_path):
    env = wrapped(keep=("observation", "state", "info", "info.force"))
    seen = []
    env.env.observe, shown = lambda observe=env.env.observe: seen.append(observe()) or seen[-1], seen
    with DatasetWriter(tmp_path / "data", header_of(env, name="arm")) as writer:
        shown.clear()
        play(Recorder(env, writer, task="Arm", expert="me"), seeds=(5,))
    assert check(tmp_path / "data") == []
    dataset = EpisodeDataset(tmp_path / "data")
    found = dataset.extras(0)
    assert found["observation.joints"].dtype == np.float64
    assert found["observation.joints"].tobytes() == np.stack([each["joints"] for each in shown]).tobytes()
    assert np.array_equal(found["observation.wrist"], np.stack([each["wrist"] for each in shown]))
    assert found["observation.word"] == [f"step {t}" for t in range(7)]
    assert found["observation.inner.gripper"].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert found["observation.inner.touched"].dtype == np.int8
    assert [text.value() for text in found["observation.path"]] == [list(range(t)) for t in range(7)]
    assert found["state"].shape == (7, 3)
    assert found["info"][0].value() == {"level": 3}
    assert found["info.force"][-1].value() == float(np.float32(0.1) * 6)
    assert found["info.force"][0].value() is None


def test_pandas_and_duckdb_read_what_is_kept(tmp_path):
    import duckdb
    import pyarrow.dataset as ds

    env = wrapped(keep=("observation", "state", "info"))
    with DatasetWriter(tmp_path / "data", header_of(env, name="arm")) as writer:
        play(Recorder(env, writer, task="Arm", expert="me"))
    table = ds.dataset(tmp_path / "data", format="arrow", exclude_invalid_files=True)
    frame = table.to_table().to_pandas()
    joints = EpisodeDataset(tmp_path / "data").extras(1)["observation.joints"]
    assert np.array_equal(np.stack(frame["observation.joints"][1]).reshape(joints.shape), joints)
    assert duckdb.sql('SELECT len("state") FROM "table"').fetchall() == [(7,), (7,)]


def test_what_is_kept_is_checked_merged_and_refused_when_it_is_not_the_datasets(tmp_path):
    env = wrapped(keep=("state",))
    for name in ("one", "two"):
        with DatasetWriter(tmp_path / name, header_of(env, name="arm")) as writer:
            play(Recorder(env, writer, task="Arm", expert="me"), seeds=(len(name), 7) if name == "one" else (9,))
            with pytest.raises(ValueError, match="in addition to its frames it has nothing, the dataset state"):
                play(Recorder(wrapped(), writer, task="Arm", expert="me"), seeds=(0,))
    both = merge([tmp_path / "one", tmp_path / "two"], tmp_path / "both")
    assert [both.extras(i)["state"].shape for i in range(3)] == [(7, 3)] * 3
    file = tmp_path / "both" / "shard-000001.arrow"
    content = bytearray(file.read_bytes())
    place = bytes(content).index(both.extras(2)["state"].tobytes()[:24])
    content[place] ^= 4
    file.unlink()
    file.write_bytes(content)
    (problem,) = check(tmp_path / "both")
    assert "episode 0 (seed 9) is damaged" in problem


@pytest.mark.parametrize("mode", list(gymnasium.vector.AutoresetMode))
def test_rows_of_a_vector_environment_keep_the_same_as_a_single_one(mode):
    rows, alone, keep = [], [], ("observation", "state", "info", "info.level", "info.force")
    columns = header_of(wrapped(keep=keep), name="arm").extras
    vector = gymnasium.vector.SyncVectorEnv([lambda: wrapped(keep=keep)] * 2, autoreset_mode=mode)
    recorder = VectorRecorder(vector, rows, task="Arm", expert="me")
    recorder.reset(seed=[3, 4])
    for _ in range(6):
        recorder.step(np.full((2, 2), 0.5, np.float32))
    env = Recorder(wrapped(keep=keep), alone, task="Arm", expert="me")
    for seed in (3, 4):
        env.reset(seed=seed)
        for _ in range(6):
            env.step(np.full(2, 0.5, np.float32))
    assert all(same(one, other) for one, other in zip(rows, alone, strict=True))
    for one, other in zip(rows, alone, strict=True):
        for column in columns:
            mine, theirs = (column.gather(episode.extras[column.name]) for episode in (one, other))
            assert np.array_equal(mine, theirs), column.name


def test_an_instruction_may_come_from_the_environment_and_its_change_ends_an_episode():
    episodes = []
    recorder = Recorder(wrapped(instruction=lambda seen, info: seen["word"]), episodes, task="Arm", expert="me")
    recorder.reset(seed=0)
    recorder.step(np.zeros(2, np.float32))
    assert "its instruction changes in step 1" in refusal(recorder.step, np.zeros(2, np.float32))


def test_a_wrapped_environment_that_is_registered_is_made_by_its_id_and_replays(tmp_path):
    from agentgym.experts import collection
    from agentgym.experts.replay import replay_episodes
    from agentgym.recipes import DatasetRecipe

    gymnasium.register("Arm/Wrapped-v0", entry_point=lambda: wrapped(size=(16, 20)))
    suite = {"name": "arm", "description": "", "tasks": [{"id": "Arm/Wrapped-v0"}]}
    recipe = DatasetRecipe(name="arm", description="", suite=suite, expert="random", episodes=2, keep="all")
    collection.collect(recipe, tmp_path / "data", workers=1)
    dataset = EpisodeDataset(tmp_path / "data")
    assert dataset.header.frame_shape == (16, 20, 3)
    assert set(dataset.column("instruction")) == {"lift the cup"}
    assert dataset.outcomes()["solved"] == 2
    assert [replay.problem for replay in replay_episodes(dataset, 2)] == ["", ""]
    del gymnasium.registry["Arm/Wrapped-v0"]


@pytest.mark.parametrize("task", ["CartPole-v1", "MountainCarContinuous-v0"])
def test_gymnasiums_own_environments_are_wrapped_as_they_are(task):
    pytest.importorskip("pygame")
    episodes = []
    env = agentgym.wrap(
        gymnasium.make(task, render_mode="rgb_array"), instruction="go", size=(40, 60), keep=("observation",)
    )
    recorder = Recorder(gymnasium.wrappers.TimeLimit(env, 4), episodes, task=task, expert="random")
    play(recorder, seeds=(0,))
    assert episodes[0].frames.shape[1:] == (40, 60, 3)
    assert np.stack(episodes[0].extras["observation"]).dtype == np.float32


@pytest.fixture
def moviepy(monkeypatch):
    """What Gymnasium's RecordVideo asks of moviepy, which holds back other packages: a file says how many frames."""

    class ImageSequenceClip:
        def __init__(self, frames, fps):
            self.frames = frames

        def write_videofile(self, path, logger=None):
            Path(path).write_text(str(len(self.frames)))

    for name in ("moviepy", "moviepy.video", "moviepy.video.io", "moviepy.video.io.ImageSequenceClip"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["moviepy.video.io.ImageSequenceClip"].ImageSequenceClip = ImageSequenceClip


@pytest.mark.parametrize("inside", [True, False])
def test_record_video_films_inside_and_around(moviepy, tmp_path, inside):
    def filmed(env):
        return wrappers.RecordVideo(env, str(tmp_path), episode_trigger=lambda number: True)

    episodes = []
    env = wrapped(filmed(Arm("rgb_array"))) if inside else filmed(wrapped(Arm("rgb_array")))
    recorder = Recorder(env, episodes, task="Arm", expert="me")
    play(recorder)
    recorder.close()
    films = [file.read_text() for file in sorted(tmp_path.glob("*.mp4"))]
    assert films == (["1", "7", "7"] if inside else ["7", "7"]), "of what is inside, wrap's first look is one too"
    assert [len(episode) for episode in episodes] == [6, 6]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("cv2") is None, reason="needs OpenCV: pip install opencv-python-headless")
def test_an_atari_game_is_wrapped_under_gymnasiums_own_preprocessing():
    """AtariPreprocessing and FrameStackObservation inside, the latest grey picture as the frame."""
    pytest.importorskip("ale_py")
    import ale_py

    gymnasium.register_envs(ale_py)
    game = wrappers.AtariPreprocessing(gymnasium.make("ALE/Breakout-v5", frameskip=1), screen_size=84)
    env = agentgym.wrap(
        wrappers.FrameStackObservation(game, 4),
        instruction="break the bricks",
        frame=lambda seen: np.repeat(np.asarray(seen)[-1][..., None], 3, axis=2),
    )
    episodes = []
    recorder = Recorder(wrappers.TimeLimit(env, 5), episodes, task="ALE/Breakout-v5", expert="random")
    play(recorder, seeds=(3,))
    assert episodes[0].frames.shape == (6, 84, 84, 3)
    env.reset(seed=3)
    np.testing.assert_array_equal(env.state[-1], episodes[0].frames[0, :, :, 0])


@pytest.mark.slow
@pytest.mark.skipif(find_spec("highway_env") is None, reason="needs highway-env: pip install highway-env")
def test_highway_env_is_wrapped_as_it_is(tmp_path, monkeypatch):
    import highway_env  # noqa: F401  (registers its ids)

    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)  # with "dummy" it draws nothing, off screen neither
    env = agentgym.wrap(
        gymnasium.make("highway-fast-v0", render_mode="rgb_array", config={"offscreen_rendering": True}),
        instruction="drive fast and touch no one",
        size=(64, 256),
        keep=("observation", "info.speed"),
    )
    with DatasetWriter(tmp_path / "data", header_of(env, name="highway")) as writer:
        play(Recorder(wrappers.TimeLimit(env, 4), writer, task="highway-fast-v0", expert="random"), seeds=(0,))
    assert check(tmp_path / "data") == []
    dataset = EpisodeDataset(tmp_path / "data")
    assert dataset[0].frames.shape[1:] == (64, 256, 3)
    assert dataset[0].frames.std() > 0
    assert {"observation", "info.speed"} <= set(dataset.extras(0))
