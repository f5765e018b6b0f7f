"""A run's curves, scores and videos are in the trackers that its recipe names, without a network or an account."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from refusals import refusal

from agentgym import recipes
from agentgym.training.trackers import chosen_trackers

TINY = [
    "training.updates=4",
    "training.log_every=2",
    "training.evaluate_episodes=2",
    "evaluation.episodes=2",
    "evaluation.videos=2",
    "dataset.episodes=6",
]


def agentgym(*arguments, python=sys.executable, cwd, **variables):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1", **variables}
    command = [python, "-m", "agentgym", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_with(trackers, cwd, **options):
    """A whole tiny run, in two goes: the training is interrupted by being asked for half of it first."""
    sets = [part for each in (*TINY, f"training.trackers={trackers}") for part in ("--set", each)]
    return agentgym("run", "babyai-goto-redball", "--run", "runs/tiny", "--workers", "1", *sets, cwd=cwd, **options)


def test_no_tracker_is_named_by_the_recipes_and_tensorboard_is_used_where_it_is_installed():
    recipe = recipes.load_experiment("babyai-goto-redball")
    assert recipe.training.trackers is None
    assert "trackers" not in recipe.model_dump(mode="json")["training"], "runs of before are of the same recipe"
    assert chosen_trackers(None) == ("tensorboard",)
    assert chosen_trackers(()) == ()


def test_a_tracker_that_is_not_installed_is_one_line_that_names_its_extra(monkeypatch):
    monkeypatch.setattr("agentgym.training.trackers.find_spec", lambda name: None)
    assert chosen_trackers(None) == ()
    for name in ("tensorboard", "trackio", "wandb", "mlflow"):
        line = refusal(lambda name=name: chosen_trackers((name,)))
        assert line == f"training.trackers '{name}' needs {name}; pip install 'agentgym-ifm[{name}]'"


@pytest.mark.slow
def test_tensorboard_has_curves_the_score_table_and_videos(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert "tracked: tensorboard" in run_with('["tensorboard"]', tmp_path)
    folder = tmp_path / "runs/tiny"
    written = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [point.step for point in written.Scalars("loss/action")] == [2, 4]
    scores = json.loads((folder / "evaluation.json").read_text())["tasks"][0]
    (point,) = written.Scalars("score/success/BabyAI-GoToRedBall-v0")
    assert (point.step, point.value) == (4, pytest.approx(scores["success_rate"]))
    videos = [tag for tag in written.Tags()["images"] if tag.startswith("videos/")]
    assert len(videos) == 2
    assert written.Images(videos[0])[0].encoded_image_string.startswith(b"GIF89a")
    (table,) = written.Tensors("scores/text_summary")
    assert b"babyai-bot" in table.tensor_proto.string_val[0]


@pytest.fixture(scope="module")
def with_trackers(tmp_path_factory):
    """A Python with this one's packages and the three trackers, which hold back some of them."""
    folder = tmp_path_factory.mktemp("trackers") / "venv"
    venv.create(folder, with_pip=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "parent.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    python = str(folder / "bin/python")
    installed = subprocess.run(
        [python, "-m", "pip", "install", "-q", "trackio", "wandb", "mlflow"], capture_output=True, text=True
    )
    found = subprocess.run([python, "-c", "import trackio, wandb, mlflow"], capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"the trackers cannot be installed here: {(installed.stderr or found.stderr)[-300:]}")
    return python


READ = """
import json, sqlite3, sys
import mlflow, trackio
from pathlib import Path
from trackio.sqlite_storage import SQLiteStorage
from wandb.proto import wandb_internal_pb2

names = json.loads(Path("runs/tiny/trackers.json").read_text())
found = {}
run = mlflow.get_run(names["mlflow"])
client = mlflow.MlflowClient()
found["mlflow"] = {
    "steps": [point.step for point in client.get_metric_history(run.info.run_id, "loss/action")],
    "score": run.data.metrics["score/success/BabyAI-GoToRedBall-v0"],
    "videos": len(client.list_artifacts(run.info.run_id, "videos")),
    "table": client.load_table(run.info.experiment_id, "scores.json", [run.info.run_id])["policy"].tolist(),
}
logs = SQLiteStorage.get_logs("agentgym", names["trackio"])
found["trackio"] = {
    "steps": [line["step"] for line in logs if "loss/action" in line],
    "score": [line["score/success/BabyAI-GoToRedBall-v0"] for line in logs if any("score/" in k for k in line)][0],
    "videos": sum(key.startswith("videos/") for line in logs for key in line),
    "table": [row["policy"] for line in logs if "scores" in line for row in line["scores"]["_value"]],
}


def records(content):  # of a file of W&B, which is LevelDB's log: blocks of 32 KiB, records in one or several parts
    place, whole = 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        whole = (whole if kind in (3, 4) else b"") + content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4) and length:
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record


lines = {}
for file in sorted(Path("runs/tiny/wandb").glob("offline-run-*/*.wandb")):
    for record in records(file.read_bytes()):
        if record.WhichOneof("record_type") == "history":
            items = {}
            for item in record.history.item:
                key, *inside = item.nested_key or [item.key]
                value = json.loads(item.value_json)
                items[key] = {**items.get(key, {}), inside[0]: value} if inside else value
            lines.setdefault(items["_step"], {}).update(items)
found["wandb"] = {
    "steps": [step for step, line in lines.items() if "loss/action" in line],
    "score": [l["score/success/BabyAI-GoToRedBall-v0"] for l in lines.values() if "scores" in l][0],
    "videos": sum(key.startswith("videos/") for line in lines.values() for key in line),
    "table": [l["scores"]["_type"] for l in lines.values() if "scores" in l],
}
print(json.dumps(found))
"""


@pytest.mark.slow
def test_trackio_wandb_offline_and_mlflow_have_curves_the_score_table_and_videos(with_trackers, tmp_path):
    variables = {"WANDB_MODE": "offline", "TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    variables["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path}/mlflow.db"
    run_with('["trackio","wandb","mlflow"]', tmp_path, python=with_trackers, **variables)
    program = [with_trackers, "-c", READ]
    done = subprocess.run(program, cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    scores = json.loads((tmp_path / "runs/tiny/evaluation.json").read_text())["tasks"][0]
    for name, kept in found.items():
        assert kept["steps"] == [2, 4], name
        assert kept["score"] == pytest.approx(scores["success_rate"]), name
        assert kept["videos"] == 2, name
    assert {"babyai-bot", "random"} <= set(found["mlflow"]["table"]) & set(found["trackio"]["table"])
    assert found["wandb"]["table"] == ["table-file"]


@pytest.mark.slow
def test_without_an_account_wandb_is_one_line_that_says_how_to_do_without(with_trackers, tmp_path):
    sets = [part for each in (*TINY, 'training.trackers=["wandb"]') for part in ("--set", each)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "WANDB_MODE": "online"}
    environment |= {"HOME": str(tmp_path), "WANDB_BASE_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        [with_trackers, "-m", "agentgym", "run", "babyai-goto-redball", "--workers", "1", *sets],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "WANDB_MODE=offline" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
