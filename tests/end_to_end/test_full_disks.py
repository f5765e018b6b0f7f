"""Every verb that writes, on disks that are full or read-only: one line that names the place, exit code 2, and nothing
that looks whole and is not. Once there is room the same command ends well."""

import sys
import tempfile

import pytest
from disks import needs_root, small_disk
from tiny import experiment_recipe, write_run

from agentgym import hub
from agentgym.cli import main
from agentgym.data.exchange import export_lerobot, export_minari
from agentgym.evaluation import protocol, scoring
from agentgym.experiments import imitation

QUICK = [("ro", 64), ("rw", 24)]
MORE = [("ro", 64), *(("rw", kilobytes) for kilobytes in (4, 24, 64, 200, 1000, 3000))]
FEW = """
description = "Few demonstrations of the red ball"
sizes = [2]
seeds = 1
starts.before = "{agent}"
tasks = [{{dataset = "babyai-goto-redball"}}]
training = {{updates = 1, batch_size = 2, window = 4, warmup_updates = 1, precision = "float32"}}
evaluation = {{episodes = 1, videos = 0}}
"""


def command(*arguments):
    """The exit code of a command in this process; a traceback is raised."""
    sys.argv = ["agentgym", *map(str, arguments)]
    return main._run()


def setting(*pairs):
    return [part for pair in pairs for part in ("--set", pair)]


@pytest.fixture(scope="module")
def agent(dataset, tmp_path_factory):
    """An untrained agent's run."""
    return write_run(tmp_path_factory.mktemp("agent") / "run", dataset)


@pytest.fixture(scope="module")
def run(demonstrations, tmp_path_factory):
    """A run that is trained and evaluated."""
    run = tmp_path_factory.mktemp("runs") / "run"
    imitation.train(experiment_recipe(), demonstrations.path, run, processes=1)
    scoring.evaluate(protocol.configure_evaluation(str(run)), workers=1)
    return run


def refused_on(disks, folder, capfd, *arguments):
    """The line with which a command is refused on each of the disks, until one is large enough."""
    lines = []
    for mode, kilobytes in disks:
        with small_disk(folder, kilobytes, mode=mode) as disk:
            capfd.readouterr()
            code = command(*arguments)
            said = capfd.readouterr().err
            left = [file for file in disk.rglob("*") if file.is_file()]
        if code == 0:
            break
        assert code == 2, said
        [line] = [line for line in said.splitlines() if line.startswith("agentgym: ")]  # libraries warn in theirs
        assert "Traceback" not in said
        assert line.startswith(f"agentgym: {folder}/"), line
        expected = "Read-only file system; " if mode == "ro" else "No space left on device; "
        assert expected in line or "its disk has" in line  # Minari's export looks before it begins
        assert not [file for file in left if file.suffix in (".onnx", ".safetensors") and not whole(file)], left
        lines.append(line)
    return lines


def whole(file):
    """Whether its place is one from which it would be loaded only after all was written."""
    return "unfinished" in str(file) or "checkpoints" in file.parts


@needs_root
def test_an_expert_is_trained_once_there_is_room(tmp_path, capfd):
    steps = setting("steps=32", "environments=1", "settings.n_steps=32")
    arguments = ("train-expert", "minatar", "--task", "MinAtar/Breakout-v1", "--to", tmp_path / "disk" / "x")
    assert len(refused_on(QUICK, tmp_path / "disk", capfd, *arguments, *steps, "--quiet")) == 2
    assert command(*arguments, *steps, "--quiet") == 0


@needs_root
def test_transfer_is_refused(agent, tmp_path, capfd):
    (tmp_path / "few.toml").write_text(FEW.format(agent=agent))
    arguments = ("transfer", tmp_path / "few.toml", "--run", tmp_path / "disk" / "x", "--quiet")
    assert len(refused_on(QUICK, tmp_path / "disk", capfd, *arguments)) == 2


@needs_root
def test_an_export_to_onnx_leaves_nothing(agent, tmp_path, capfd):
    pytest.importorskip("onnx")
    arguments = ("export", agent, tmp_path / "disk" / "x", "--to", "onnx", "--quiet")
    lines = refused_on([*QUICK, ("rw", 1000)], tmp_path / "disk", capfd, *arguments)
    assert len(lines) == 3
    assert all("nothing is left there" in line for line in lines)


@needs_root
def test_what_is_pulled_is_whole_or_not_there(hub_server, agent, tmp_path, capfd):
    hub.upload(agent, "org/agent", message="first")
    arguments = ("pull", "org/agent", "--to", tmp_path / "disk" / "x", "--quiet")
    lines = refused_on(QUICK, tmp_path / "disk", capfd, *arguments)
    assert len(lines) == 2
    assert all("nothing is left there" in line for line in lines)


@needs_root
def test_a_dataset_that_is_pushed_is_not_copied(hub_server, recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "disk"))
    with small_disk(tmp_path / "disk", 24):
        assert command("push", recorded, "org/data", "--quiet") == 0
    sent = hub_server.files["dataset", "org/data"]
    assert all(sent[file.name] == file.read_bytes() for file in recorded.glob("shard-*"))


@needs_root
@pytest.mark.slow
def test_a_push_needs_room_where_temporary_files_go(hub_server, run, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "disk"))
    lines = refused_on([("rw", 4), ("rw", 24)], tmp_path / "disk", capfd, "push", run, "org/agent", "--quiet")
    assert len(lines) == 2
    assert not hub_server.files


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize(
    "verb",
    [
        *("collect", "train", "evaluate", "report", "view", "hub", "lerobot", "minari", "onnx", "agent", "import"),
        *("import-lerobot", "merge", "select", "publish", "survey", "finetune", "dagger"),
    ],
)
def test_every_verb_is_refused_in_one_line(verb, run, demonstrations, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, data = tmp_path / "disk" / "x", demonstrations.path
    if verb == "import":
        export_minari(data, tmp_path / "minari")
    if verb == "import-lerobot":
        export_lerobot(data, tmp_path / "lerobot")
    page = out.with_suffix(".html")
    played = ("--quiet", "--workers", 1)
    few = ("--episodes", 3, "--first-seed", 3_000_000)
    ppo = ("ppo.steps=16", "ppo.environments=2", "ppo.rollout_steps=8", "ppo.batch_size=16", "evaluation.episodes=2")
    arguments = {
        "collect": ("collect", "babyai-goto-redball", "--to", out, *played, *setting("episodes=200")),
        "train": (
            *("train", "babyai-goto-redball", "--data", data, "--run", out, "--processes", 1, "--quiet"),
            *setting("training.updates=2", "training.batch_size=2", "training.evaluate_episodes=0"),
        ),
        "evaluate": ("evaluate", run, "--to", out, *played, *few),
        "report": ("report", run, run, "--to", page, "--quiet"),
        "view": ("view", data, "--to", page, "--no-open", "--quiet"),
        **{kind: ("export", data, out, "--to", kind, "--quiet") for kind in ("hub", "lerobot", "minari")},
        **{kind: ("export", run, out, "--to", kind, "--quiet") for kind in ("onnx", "agent")},
        "import": ("import", *(tmp_path / "minari").glob("data/*-v0"), "--out", out, "--quiet"),
        "import-lerobot": ("import", tmp_path / "lerobot", "--out", out, "--quiet"),
        "merge": ("merge", data, "--to", out, "--quiet"),
        "select": ("select", data, "--to", out, "--quiet", "--outcome", "solved"),
        "publish": ("publish", run, "--to", out, "--quiet"),
        "survey": ("survey", "babyai-bot", "--suite", "babyai-goto-redball", "--to", out, "--episodes", 3, *played),
        "finetune": (
            *("finetune", "babyai-goto-redball-ppo", "--run", out, "--quiet"),
            *setting(f"init={run}", *ppo, "evaluation.every=8"),
        ),
        "dagger": (
            *("dagger", "babyai-goto-local-dagger", "--run", out, "--quiet"),
            *setting("experiment.dataset.episodes=8", "experiment.training.updates=2"),
        ),
    }
    assert refused_on(MORE, tmp_path / "disk", capfd, *arguments[verb])
