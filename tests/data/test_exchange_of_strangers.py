"""What others' datasets get wrong: it is refused or left out in one line, and nothing half-way looks whole."""

import json
from dataclasses import replace

import gymnasium
import nasty
import numpy as np
import pytest
from counted import counted_episode, counted_header, write_counted
from gymnasium import spaces
from refusals import refusal
from typer.testing import CliRunner

from agentgym.cli import main
from agentgym.data.exchange import export_hub, export_minari, folders, import_minari
from agentgym.data.store import EpisodeDataset, check, sample_dataset
from agentgym.experts import collection
from agentgym.experts.replay import replay_episodes
from agentgym.recipes import DatasetRecipe

PICTURE = spaces.Box(0, 255, (8, 8, 3), np.uint8)


def frames_of(steps, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (steps + 1, 8, 8, 3), np.uint8)


def episode(steps=3, **changes):
    """What Minari's buffer of an episode holds."""
    values = {
        "seed": 4,
        "options": None,
        "observations": frames_of(steps),
        "actions": np.arange(steps) % 3,
        "rewards": [0.0] * (steps - 1) + [1.0],
        "terminations": [False] * (steps - 1) + [True],
        "truncations": [False] * steps,
        "infos": {},
    }
    return {**values, **changes}


def minari_dataset(path, episodes, *, observed=PICTURE, acted=None, env_spec=None):
    """A Minari dataset of those episodes; its folder."""
    import minari
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    (path / "data").mkdir(parents=True)
    storage = MinariStorage.new(
        path / "data",
        observation_space=observed,
        action_space=acted or spaces.Discrete(3),
        env_spec=env_spec,
        jpeg_encoding=False,
    )
    storage.update_metadata({"dataset_id": "any/thing-v0", "minari_version": minari.__version__})
    storage.update_episodes([EpisodeBuffer(**values) for values in episodes])
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"actions": np.array([0, 7, 0])}, "action 7 of step 1 is outside the space"),
        ({"seed": 2**63 + 5}, "its seed has 64 bits"),
        ({"observations": frames_of(2)}, "3 actions need 4 frames, not 3"),
        ({"terminations": [True, False, True]}, "it ends after 1 steps and continues"),
    ],
)
def test_an_episode_that_is_no_demonstration_is_left_out_and_said(tmp_path, changes, said):
    source = minari_dataset(tmp_path / "minari", [episode(), episode(**changes), episode(seed=6)])
    notes = import_minari(source, tmp_path / "imported")
    (note,) = (note for note in notes if "left out" in note)
    assert note.startswith("1 of 3 episodes are left out; the first is episode 1: ")
    assert said in note
    assert check(tmp_path / "imported") == []
    assert EpisodeDataset(tmp_path / "imported").column("seed") == [4, 6]


def test_where_every_episode_is_left_out_nothing_is_there(tmp_path):
    source = minari_dataset(tmp_path / "minari", [episode(actions=np.array([9, 9, 9]))])
    assert "no episode can be imported; episode 0: " in refusal(import_minari, source, tmp_path / "imported")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["minari"]


def test_a_dataset_that_announces_more_than_it_holds_or_is_cut_short(tmp_path):
    source = minari_dataset(tmp_path / "minari", [episode(), episode(seed=5)])
    metadata = source / "data" / "metadata.json"
    whole = metadata.read_text()
    metadata.write_text(json.dumps({**json.loads(whole), "total_episodes": 5}))
    line = refusal(import_minari, source, tmp_path / "imported")
    assert "cannot be read" in line
    metadata.write_text(whole)
    data = source / "data" / "main_data.hdf5"
    data.write_bytes(data.read_bytes()[:-2000])
    assert str(source) in refusal(import_minari, source, tmp_path / "imported")
    assert not (tmp_path / "imported").exists()


def test_an_empty_dataset_and_one_of_an_older_version_are_named(tmp_path):
    source = minari_dataset(tmp_path / "minari", [])
    assert "holds no episode" in refusal(import_minari, source, tmp_path / "imported")
    metadata = source / "data" / "metadata.json"
    values = json.loads(metadata.read_text())
    del values["data_format"]
    metadata.write_text(json.dumps(values))
    assert "of a version before 0.5" in refusal(import_minari, source, tmp_path / "imported")


def test_made_up_seeds_are_no_recorded_ones_and_other_parts_are_columns_or_said(tmp_path):
    joints, deep = spaces.Box(-1, 1, (2,), np.float32), spaces.Dict(x=PICTURE)
    observed = spaces.Dict(front=PICTURE, wrist=PICTURE, joints=joints, deep=deep)
    seen = {"front": frames_of(3), "wrist": frames_of(3, 1), "joints": np.eye(4, 2, dtype=np.float32)}
    seen["deep"] = {"x": frames_of(3)}
    episodes = [episode(seed=None, observations=seen), episode(seed=0, observations=seen, options={"level": 3})]
    source = minari_dataset(tmp_path / "minari", episodes, observed=observed)
    notes = import_minari(source, tmp_path / "imported")
    assert "seeds: 1 of 2 not recorded, numbered from 1; such episodes cannot be replayed" in notes
    assert any("reset options: recorded there" in note for note in notes)
    assert "not imported of the observations: deep" in notes
    imported = EpisodeDataset(tmp_path / "imported")
    assert imported.column("seed") == [1, 0]
    assert np.array_equal(imported.extras(0)["joints"], np.eye(4, 2))
    assert np.array_equal(imported.extras(1)["wrist"], frames_of(3, 1))


def test_a_part_that_is_called_as_a_column_here_is_left_out_and_said(tmp_path):
    observed = spaces.Dict({"image": PICTURE, "seed": spaces.Box(0, 9, (2,), np.int64)})
    given = episode(observations={"image": frames_of(3), "seed": np.zeros((4, 2), np.int64)})
    notes = import_minari(minari_dataset(tmp_path / "minari", [given], observed=observed), tmp_path / "imported")
    assert "not imported of the observations: seed" in notes
    assert check(tmp_path / "imported") == []


def test_a_mission_that_changes_in_mid_episode_is_left_out(tmp_path):
    observed = spaces.Dict(image=PICTURE, mission=spaces.Text(9))
    texts = {"same": ["go"] * 4, "last": ["go", "go", "go", "done"], "other": ["go", "stay", "stay", "stay"]}
    episodes = [
        episode(seed=place, observations={"image": frames_of(3), "mission": text})
        for place, text in enumerate(texts.values())
    ]
    source = minari_dataset(tmp_path / "minari", episodes, observed=observed)
    (note, _) = import_minari(source, tmp_path / "imported")
    assert "episode 2: its text changes in step 1, from 'go' to 'stay'" in note
    assert EpisodeDataset(tmp_path / "imported").column("seed") == [0, 1]


@pytest.mark.parametrize("side", [7, 8, 21])
def test_a_symbolic_grid_of_the_whole_room_is_no_picture(tmp_path, side):
    image = spaces.Box(0, 255, (side, side, 3), np.uint8)
    grid = np.ones((4, side, side, 3), np.uint8)
    grid[:, 2, 3] = (10, 0, 2)  # the agent
    observed = spaces.Dict(image=image, direction=spaces.Discrete(4), mission=spaces.Text(9))
    seen = {"image": grid, "direction": np.zeros(4, np.int64), "mission": ["go"] * 4}
    source = minari_dataset(tmp_path / "minari", [episode(observations=seen)], observed=observed)
    assert "symbolic grid of the whole room" in refusal(import_minari, source, tmp_path / "imported")


def test_success_that_is_no_word_is_not_taken_for_one(tmp_path):
    infos = {"success": {"left": np.array([False] * 4), "right": np.array([True] * 4)}}
    source = minari_dataset(tmp_path / "minari", [episode(infos=infos)])
    assert "success: not recorded" in import_minari(source, tmp_path / "imported")[-1]


def test_an_export_goes_to_a_relative_folder_and_comes_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_counted(tmp_path / "data", [counted_episode(0)])
    result = CliRunner().invoke(main.app, ["export", "data", "--to", "minari", "out/minari"])
    assert result.exit_code == 0, result.output
    assert import_minari("out/minari/data/count-v0", "back") == []
    assert CliRunner().invoke(main.app, ["export", "data", "--to", "minari"]).exit_code == 0
    assert (tmp_path / "data" / "minari" / "data" / "count-v0").is_dir()


def test_an_export_that_fails_leaves_nothing(tmp_path, monkeypatch):
    path = write_counted(tmp_path / "data", [counted_episode(0)])

    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("agentgym.data.exchange.hub.dataset_card", full)
        assert "No space left on device; nothing is left there" in refusal(export_hub, path, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(folders, "ROOM", 1e15)
        assert "GB left, the export needs about" in refusal(export_minari, path, tmp_path / "out")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["data"]


def test_a_dataset_without_episodes_is_not_exported(tmp_path):
    from agentgym.data.store import Attempt, DatasetWriter

    with DatasetWriter(tmp_path / "data", counted_header()) as writer:
        writer.append_encoded([], [Attempt("Count-v0", 0, "error")])
    for export in (export_hub, export_minari):
        assert "holds no episode" in refusal(export, tmp_path / "data", tmp_path / "out")


def test_two_exports_to_the_hubs_layout_are_two_datasets_to_its_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    for name, seed in (("one", 0), ("other", 3)):
        path = write_counted(tmp_path / name, [counted_episode(seed)])
        export_hub(path, tmp_path / name / "hub")
    seeds = [
        datasets.load_dataset(str(tmp_path / name / "hub"), split="train", cache_dir=str(tmp_path / "cache"))["seed"]
        for name in ("one", "other")
    ]
    assert [list(found) for found in seeds] == [[0], [3]]


def test_a_task_of_ones_own_module_keeps_its_id_through_minari_and_replays(tmp_path):
    suite = {"name": "own", "description": "", "tasks": [{"id": "nasty:Nasty/ByName-v0", "instructions": ["go"]}]}
    recipe = DatasetRecipe(name="own", description="", suite=suite, expert="random", episodes=2, keep="all")
    collection.collect(recipe, tmp_path / "data", workers=1)
    export_minari(tmp_path / "data", tmp_path / "minari")
    import_minari(tmp_path / "minari" / "data" / "nasty-byname-v0", tmp_path / "back")
    back = EpisodeDataset(tmp_path / "back")
    assert set(back.column("task")) == {"nasty:Nasty/ByName-v0"}
    assert [replay.problem for replay in replay_episodes(back, 2)] == ["", ""]


def test_a_strangers_task_is_named_with_the_module_that_registers_it(tmp_path):
    spec = gymnasium.envs.registration.EnvSpec("Unheard/Of-v0", entry_point="unheard.of:Env")
    source = minari_dataset(tmp_path / "minari", [episode()], env_spec=spec)
    import_minari(source, tmp_path / "imported")
    assert EpisodeDataset(tmp_path / "imported").column("task") == ["unheard.of:Unheard/Of-v0"]


def test_rewards_that_are_not_finite_go_to_minari_and_back(tmp_path):
    rewards = np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324])
    path = write_counted(tmp_path / "data", [replace(counted_episode(0), rewards=rewards)])
    export_minari(path, tmp_path / "minari")
    import_minari(tmp_path / "minari" / "data" / "count-v0", tmp_path / "back")
    assert EpisodeDataset(tmp_path / "back")[0].rewards.tobytes() == rewards.tobytes()


def test_the_sample_dataset_is_still_read():
    assert check(sample_dataset()) == []
    assert nasty.SIDE == 24
