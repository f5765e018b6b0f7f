"""Whose code runs: what the person typed, and everything after --trust; never what data alone names."""

import base64
import json
import os
import sys
import zipfile
from dataclasses import replace

import pytest
from tiny import experiment_recipe
from worker_import import may_import

from agentgym import trust
from agentgym.data.store import DatasetWriter, EpisodeDataset, Header
from agentgym.environments import make
from agentgym.errors import UserError
from agentgym.executors import start
from agentgym.recipes import TaskRecipe

MODULE = """
from pathlib import Path
import gymnasium
Path({marker!r}).write_text("ran")
gymnasium.register("Payload-v0", "payload_envs:Payload")
class Payload(gymnasium.Env):
    pass
"""
RAN = "ran"


class Payload:
    """What a pickle runs as it is loaded."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return (eval, (f"__import__('pathlib').Path({self.marker!r}).write_text('ran')",))


@pytest.fixture
def marker(tmp_path):
    """A file that is there once a stranger's code has run."""
    return tmp_path / "marker"


@pytest.fixture
def zipped(tmp_path, marker):
    """A zip as Stable-Baselines3 writes them, with a payload in it."""
    import cloudpickle

    data = {
        "policy_class": {":type:": "x", ":serialized:": base64.b64encode(cloudpickle.dumps(Payload(marker))).decode()}
    }
    path = tmp_path / "theirs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(data))
    return path


@pytest.fixture
def module(tmp_path, marker, monkeypatch):
    """A module of a stranger that can be imported."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/payload_envs.py").write_text(MODULE.format(marker=str(marker)))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'modules'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    yield "payload_envs"
    sys.modules.pop("payload_envs", None)


def changed_dataset(recorded, path, **recipe):
    """The recorded dataset, under a header that says something else."""
    header = EpisodeDataset(recorded).header
    with DatasetWriter(path, Header(header.space, header.frame_shape, {**header.recipe, **recipe})) as writer:
        for episode in list(EpisodeDataset(recorded))[:2]:
            writer.append(replace(episode, task=recipe.get("suite", suite_of("x"))["tasks"][0]["id"]))
    return path


def changed_run(path, **dataset):
    """A run folder whose recipe says something else of its dataset."""
    recipe = experiment_recipe().model_dump(mode="json")
    recipe["dataset"].update(dataset)
    path.mkdir()
    (path / "recipe.json").write_text(json.dumps(recipe))
    (path / "model").mkdir()
    return path


def suite_of(module):
    tasks = [{"id": f"{module}:Payload-v0", "instructions": ["go"]}]
    return {"name": "theirs", "description": "x", "frame": {}, "tasks": tasks}


def test_the_payload_is_one(zipped, marker):
    from stable_baselines3.common.save_util import load_from_zip_file

    load_from_zip_file(zipped)
    assert marker.read_text() == RAN


def test_a_zip_that_data_names_is_not_unpickled(refuses, zipped, marker, tmp_path):
    asks = f"sb3:{zipped}: loading it runs code that is inside the file; give --trust"
    run = changed_run(tmp_path / "theirs", expert=f"sb3:{zipped}")
    suite = "babyai-goto-redball"
    refuses("no config.json", "evaluate", run)  # beside another expert
    refuses(asks, "evaluate", "random", "--suite", suite, "--expert", f"sb3:{zipped}")
    refuses(asks, "evaluate", f"sb3:{zipped}", "--suite", suite)
    refuses(asks, "dagger", "babyai-goto-local-dagger", "--set", f"experiment.dataset.expert=sb3:{zipped}")
    refuses(asks, "run", suite, "--set", f"dataset.expert=sb3:{zipped}")
    refuses(asks, "collect", suite, "--set", f"expert=sb3:{zipped}")
    refuses(asks, "survey", f"sb3:{zipped}", "--suite", suite)
    assert not marker.exists()
    assert {each.name for each in tmp_path.iterdir()} == {"theirs", "theirs.zip"}
    refuses("cannot be loaded as a Stable-Baselines3 model", "evaluate", f"sb3:{zipped}", "--suite", suite, "--trust")
    assert marker.read_text() == RAN


def test_a_module_that_data_names_is_not_imported(refuses, recorded, module, marker, tmp_path):
    asks = f"{module}:Payload-v0: importing '{module}' runs its code, and data names it, not you; give --trust"
    data = changed_dataset(recorded, tmp_path / "data", suite=suite_of(module))
    run = changed_run(tmp_path / "theirs", suite=suite_of(module))
    refuses(asks, "train", "babyai-goto-redball", "--data", data, "--run", "new")
    refuses(asks, "evaluate", run)
    refuses(asks, "run", run / "recipe.json")
    refuses(asks, "check", data, "--replay", 1)
    assert not marker.exists()
    assert not (tmp_path / "new").exists()
    refuses("Payload-v0: cannot be made|has no frames", "evaluate", run, "--trust")
    assert marker.read_text() == RAN


@pytest.mark.parametrize("id_", ["agentgym/BabyAI-GoToObj-v0", "CartPole-v1"])
@pytest.mark.parametrize("name", ["Payload-v0", "Payload"])
def test_a_module_that_is_named_among_the_arguments_of_data_is_not_imported(module, marker, id_, name):
    task = TaskRecipe(id=id_, instructions=("go",), arguments={"task": f"{module}:{name}"})
    with trust.granted(trust.NOTHING), pytest.raises(UserError):
        make(task)
    assert not marker.exists()
    with trust.granted(trust.typed([f"{module}:{name}"])), pytest.raises(UserError):  # it is no environment
        make(task)
    assert marker.exists() == (id_ != "CartPole-v1")


def test_a_module_that_was_typed_or_that_ones_own_recipe_names_is_imported(refuses, module, marker, tmp_path):
    refuses("give its task `instructions`|cannot be made", "play", f"{module}:Payload-v0")
    assert marker.read_text() == RAN
    marker.unlink()
    sys.modules.pop(module)
    tasks = f'description = "mine"\n[[tasks]]\nid = "{module}:Payload-v0"\ninstructions = ["go"]\n'
    (tmp_path / "mine.toml").write_text(tasks)
    refuses("Payload-v0: cannot be made|has no frames", "evaluate", "random", "--suite", "mine.toml")
    assert marker.read_text() == RAN


def test_what_one_command_was_granted_the_next_is_not(module, marker):
    with trust.granted(trust.typed([f"{module}:Payload-v0"])):
        trust.check_module(module, "typed")
    with pytest.raises(UserError, match="give --trust"):
        make(TaskRecipe(id=f"{module}:Payload-v0", instructions=("go",)))
    assert not marker.exists()


def test_workers_are_granted_what_their_command_is(module):
    with trust.granted(trust.NOTHING), start(workers=2) as crew, pytest.raises(UserError, match="give --trust"):
        list(crew.map(may_import, [(module,)] * 2))
    with trust.trusting(True), start(workers=2) as crew:
        assert list(crew.map(may_import, [(module,)] * 2)) == [True, True]


@pytest.mark.parametrize(
    ("source", "pattern"),
    [
        ("raise ValueError('no')", "fails: ValueError: no"),
        ("import sys; sys.exit(7)", "fails: SystemExit: 7"),
        ("def", "fails: SyntaxError"),
        ("import nothing_such", "No module named 'nothing_such'; install it"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line(refuses, tmp_path, monkeypatch, source, pattern):
    (tmp_path / "broken_envs.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    refuses(pattern, "play", "broken_envs:X-v0")


@pytest.mark.parametrize("task", ["..:x", ".a:b", "a b:c", ":x", "a..b:c", "1:2"])
def test_what_is_no_name_of_a_module_is_one_line(refuses, task):
    refuses("is not the name of a module|unknown environment id", "play", task)


def test_a_page_shows_no_file_from_outside_its_run(refuses, tmp_path):
    from agentgym.folders import check_inside

    run = tmp_path / "run"
    (run / "videos").mkdir(parents=True)
    (tmp_path / "private.png").write_bytes(b"x")
    (run / "videos/link.png").symlink_to(tmp_path / "private.png")
    (run / "videos/own.png").write_bytes(b"x")
    for name in (str(tmp_path / "private.png"), "../../private.png", "link.png"):
        with pytest.raises(UserError, match="is outside of"):
            check_inside(run / "videos" / name, run)
    assert check_inside(run / "videos/own.png", run) == run / "videos/own.png"
