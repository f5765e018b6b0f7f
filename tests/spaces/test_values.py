"""Actions of every space in samples and on disk: what comes back is what went in, dtypes too, and it replays."""

import gymnasium
import numpy as np
import pyarrow.dataset as arrow
import pytest
from counted import counted_episode, counted_header
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from agentgym import environments
from agentgym.data.recorder import Recorder
from agentgym.data.store import DatasetWriter, EpisodeDataset, check, merge
from agentgym.environments import encode_instruction
from agentgym.errors import UserError
from agentgym.experts.replay import replay
from agentgym.recipes import DatasetRecipe
from agentgym.spaces import SpaceCodec
from agentgym.spaces.batching import batch
from agentgym.spaces.values import as_action, as_plain, name, stack

ARRAYS = [
    spaces.Discrete(5, start=-2),
    spaces.MultiDiscrete([3, 4]),
    spaces.MultiDiscrete([[3, 4], [2, 2]]),
    spaces.MultiBinary(4),
    spaces.Box(-2, 2, (3,), np.float32),
    spaces.Box(-1, 1, (2, 3), np.float64),
    spaces.Box(0, 255, (2,), np.uint8),
    spaces.Box(-1, 1, (), np.float16),
]
TEXTS = [
    spaces.Text(6, charset='ab"é\n'),
    spaces.Dict(camera=spaces.Box(-1, 1, (2,), np.float32), keys=spaces.MultiBinary(3), say=spaces.Text(4)),
    spaces.Tuple([spaces.Discrete(3), spaces.Dict(turn=spaces.Box(-1, 1, (1,), np.float16))]),
]
SPACES = pytest.mark.parametrize("space", [*ARRAYS, *TEXTS], ids=str)
STEPS = 11  # frames of two blocks


def draw(space, seed, count=STEPS):
    space.seed(seed)
    return [space.sample() for _ in range(count)]


def write(path, space, *, labelled=True):
    """Two episodes of random actions, the first with labels; their samples and the dataset."""
    codec = SpaceCodec.of(space)
    episodes = [
        counted_episode(
            seed,
            steps=STEPS,
            actions=stack(codec.root, draw(space, seed)),
            labels=stack(codec.root, draw(space, 9)) if labelled and seed == 0 else None,
        )
        for seed in range(2)
    ]
    with DatasetWriter(path, counted_header(space=codec)) as writer:
        for episode in episodes:
            writer.append(episode)
    return episodes, EpisodeDataset(path)


def same(one, other):
    """Equal in value, type and dtype, all the way down."""
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray | np.generic):
        return type(one) is type(other) and one.dtype == other.dtype and np.array_equal(one, other)
    return type(one) is type(other) and one == other


@SPACES
def test_a_batch_of_actions_is_the_one_that_gymnasium_makes(space):
    codec, actions = SpaceCodec.of(space), draw(space, 3)
    made = batch(space, codec.root, actions)
    gymnasiums = concatenate(space, actions, create_empty_array(space, len(actions)))
    assert same(made, gymnasiums)
    rows = iterate(batch_space(space, len(actions)), made)
    assert all(same(as_action(codec.root, row), action) for row, action in zip(rows, actions, strict=True))


@SPACES
def test_a_series_holds_the_very_actions_of_its_space(space):
    root, actions = SpaceCodec.of(space).root, draw(space, 3)
    series = stack(root, actions)
    for action, held in zip(actions, series, strict=True):
        assert space.contains(held)
        assert as_plain(root, action) == as_plain(root, held)
    assert same(stack(root, [as_plain(root, action) for action in actions]), series)


@SPACES
def test_actions_and_labels_come_back_from_disk_as_they_went_in(space, tmp_path):
    episodes, dataset = write(tmp_path, space)
    assert dataset.header.space == SpaceCodec.of(space)
    for episode, stored in zip(episodes, dataset, strict=True):
        assert same(stored.actions, episode.actions)
        assert same(stored.labels, episode.labels)
    part = dataset.steps(0, 7, 10)  # across two blocks
    assert same(part.actions, episodes[0].actions[7:10])
    assert same(part.labels, episodes[0].labels[7:10])
    assert dataset.steps(1, 7, 10).labels is None
    assert check(tmp_path) == []


@pytest.mark.parametrize("space", [ARRAYS[1], ARRAYS[4], TEXTS[1]], ids=str)
def test_columns_are_lists_of_numbers_or_one_text_a_step(space, tmp_path):
    episodes, _ = write(tmp_path, space)
    table = arrow.dataset(tmp_path, format="arrow", exclude_invalid_files=True).to_table()
    first = table["actions"][0].as_py()[0]
    assert table["labels"].null_count == 1
    if space in ARRAYS:
        assert first == episodes[0].actions[0].tolist()
    else:
        assert first.startswith('{"camera": [')


def test_a_label_that_is_changed_on_disk_is_found(tmp_path):
    write(tmp_path, spaces.MultiDiscrete([200, 200]))
    file = tmp_path / "shard-000000.arrow"
    content = file.read_bytes()
    label = np.array(draw(spaces.MultiDiscrete([200, 200]), 9)[0], np.int64).tobytes()
    file.write_bytes(content.replace(label, bytes([label[0] ^ 1]) + label[1:], 1))
    assert "is damaged" in check(tmp_path)[0]


def test_datasets_of_other_spaces_are_not_merged(tmp_path):
    write(tmp_path / "one", ARRAYS[1])
    write(tmp_path / "other", ARRAYS[4])
    with pytest.raises(UserError, match="its actions is not that of"):
        merge([tmp_path / "one", tmp_path / "other"], tmp_path / "both")


def test_an_action_has_its_name_or_its_values():
    assert name(SpaceCodec.discrete(("left", "right"), start=1).root, 2) == "right"
    assert name(SpaceCodec.of(ARRAYS[1]).root, np.array([2, 0])) == "[2, 0]"


class Pendulum(gymnasium.Wrapper):
    """Gymnasium's Pendulum, its frames the bytes of its state."""

    def __init__(self):
        super().__init__(gymnasium.make("Pendulum-v1").env)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observe(), {"seed": seed}

    def step(self, action):
        _, reward, *_ = super().step(action)
        self.steps += 1
        return self.observe(), reward, False, self.steps == STEPS, {"is_success": False}

    def observe(self):
        state = np.frombuffer(np.array(self.unwrapped.state, np.float64).tobytes(), np.uint8)
        return {"frame": np.tile(state[:, None, None], (1, 2, 3)), "instruction": encode_instruction("swing up")}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_recording_of_box_actions_replays_to_the_very_frames(tmp_path, monkeypatch, dtype):
    recorded = []
    recorder = Recorder(Pendulum(), recorded, task="Pendulum-v1", expert="random")
    recorder.reset(seed=4)
    for action in np.random.default_rng(0).uniform(-2, 2, (STEPS, 1)).astype(dtype):
        recorder.step(action)
        action[:] = 0  # an agent may reuse its array
    space = SpaceCodec.of(recorder.action_space)
    with DatasetWriter(tmp_path, counted_header(space=space, frame_shape=(16, 2, 3))) as writer:
        writer.append(recorded[0])
    monkeypatch.setattr(environments, "make", lambda task, frame: Pendulum())
    suite = {"name": "s", "description": "", "tasks": [{"id": "Pendulum-v1"}]}
    recipe = DatasetRecipe.model_validate(
        {"name": "p", "description": "", "suite": suite, "expert": "random", "episodes": 1}
    )
    episode = EpisodeDataset(tmp_path)[0]
    assert episode.actions.dtype == np.float32
    assert replay(episode, recipe) == [True] * (STEPS + 1)
    assert len(np.unique(episode.frames.reshape(len(episode.frames), -1), axis=0)) == STEPS + 1


def test_an_episode_is_labelled_at_every_step_or_at_none():
    recorded = []
    recorder = Recorder(Pendulum(), recorded, task="Pendulum-v1", expert="random")
    recorder.reset(seed=4)
    recorder.label([1.0])
    recorder.step([0.5])
    with pytest.raises(ValueError, match="1 labels for 2 steps"):
        recorder.step([0.5])
    recorder.close()
    assert (recorded[0].actions.tolist(), recorded[0].labels.tolist()) == ([[0.5]], [[1.0]])
