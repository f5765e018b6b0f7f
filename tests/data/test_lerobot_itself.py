"""LeRobot's own writer and reader, in a virtual environment of its own, and our import and export.

The newest LeRobot that this Python takes is installed without its dependencies, most of which are here already. Its
PyTorch is this one, for which torchvision's compiled operators are missing: two names are declared so that it loads.
"""

import json
import os
import subprocess
import sys
import venv

import numpy as np
import pytest
from tiny import experiment_recipe

from agentgym.data.exchange import export_lerobot, import_lerobot
from agentgym.data.store import EpisodeDataset, check
from agentgym.data.store.samples import sample_dataset
from agentgym.experiments.imitation import train
from agentgym.policies.agent_policy import AgentPolicy

PACKAGES = (
    *("lerobot==0.4.4", "torchvision==0.28.0", "av<16", "draccus==0.10.0", "jsonlines", "termcolor", "deepdiff"),
    *("orderly-set", "einops", "typing-inspect", "mypy-extensions", "mergedeep", "pyyaml-include", "toml"),
)
BEGINNING = """
import json, sys
import numpy as np
import torch

for operator in ("nms", "qnms"):
    torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")
from lerobot.datasets.lerobot_dataset import LeRobotDataset
"""
WRITE = """
features = {
    "observation.images.top": {"dtype": "image", "shape": (16, 20, 3), "names": ["height", "width", "channels"]},
    "observation.images.wrist": {"dtype": "video", "shape": (64, 96, 3), "names": ["height", "width", "channels"]},
    "observation.state": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
    "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
}
made = LeRobotDataset.create("org/made", fps=10, root=sys.argv[1], features=features, use_videos=True)
generator, kept = np.random.default_rng(0), {"frames": [], "wrist": [], "states": [], "actions": []}
for episode in range(2):
    for step in range(3 + episode):
        frame = generator.integers(0, 256, (16, 20, 3), np.uint8)
        wrist = np.full((64, 96, 3), 30 * (step + 3 * episode) + 20, np.uint8)  # plain, which a video holds nearly so
        state, action = generator.normal(size=(2, 2)).astype(np.float32)
        for name, value in (("frames", frame), ("wrist", wrist), ("states", state), ("actions", action)):
            kept[name].append(value)
        row = {"observation.images.top": frame, "observation.images.wrist": wrist}
        row |= {"observation.state": state, "action": action}
        made.add_frame({**row, "task": f"task {episode}"})
    made.save_episode()
made.finalize()
np.savez(sys.argv[2], **{name: np.stack(values) for name, values in kept.items()})
"""
READ = """
read = LeRobotDataset("org/ours", root=sys.argv[1])
camera = read.meta.camera_keys[0]
frames = [(read[place][camera].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy() for place in range(len(read))]
episodes = [int(read[place]["episode_index"]) for place in range(len(read))]
np.savez(sys.argv[2], frames=np.stack(frames), episodes=episodes)
print(json.dumps({"episodes": read.num_episodes, "tasks": [read[place]["task"] for place in range(len(read))]}))
"""


@pytest.fixture(scope="module")
def lerobot(tmp_path_factory):
    """A function that runs a program in LeRobot's environment, and gives what it prints."""
    folder = tmp_path_factory.mktemp("lerobot") / "venv"
    venv.create(folder, with_pip=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "parent.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    python, environment = str(folder / "bin/python"), {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder)}
    command = [python, "-m", "pip", "install", "-q", "--no-deps", *PACKAGES]
    installed = subprocess.run(command, capture_output=True, text=True)

    def run(program, *arguments):
        command = [python, "-c", BEGINNING + program, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    tried = run("")
    if tried.returncode:
        pytest.skip(f"LeRobot cannot be had here: {(installed.stderr or tried.stderr)[-300:]}")

    def checked(program, *arguments):
        done = run(program, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return checked


@pytest.mark.slow
def test_what_lerobots_own_writer_wrote_is_imported_bit_for_bit_and_trained_on(lerobot, tmp_path):
    lerobot(WRITE, tmp_path / "made", tmp_path / "kept.npz")
    notes = import_lerobot(tmp_path / "made", tmp_path / "imported")
    assert "videos are lossy: frames are what they decode to" in notes
    assert check(tmp_path / "imported") == []
    dataset, kept = EpisodeDataset(tmp_path / "imported"), np.load(tmp_path / "kept.npz")
    assert dataset.column("instruction") == ["task 0", "task 1"]
    for episode, rows in enumerate((slice(0, 3), slice(3, 7))):
        assert np.array_equal(dataset[episode].frames, kept["frames"][rows])
        assert np.array_equal(dataset[episode].actions, kept["actions"][rows][:-1])
        beside = dataset.extras(episode)
        assert np.array_equal(beside["observation.state"], kept["states"][rows])
        assert np.abs(beside["observation.images.wrist"].astype(int) - kept["wrist"][rows]).max() < 12
    for camera, side in (("", 20), (',camera="observation.images.wrist"', 96)):
        part = f'mixture=[{{data="{tmp_path / "imported"}"{camera}}}]'
        recipe = experiment_recipe("training.updates=2", f"model.frame_side={side}", part)
        run = train(recipe.model_copy(update={"dataset": None}), run=tmp_path / f"run-{side}")
        assert run["updates"] == 2
        (domain,) = AgentPolicy.from_pretrained(tmp_path / f"run-{side}").domains
        assert domain.frame_shape == ((64, 96) if camera else (16, 20))


@pytest.mark.slow
def test_what_is_exported_opens_in_lerobot_with_every_frame_bit_for_bit(lerobot, tmp_path):
    export_lerobot(sample_dataset(), tmp_path / "ours")
    said = json.loads(lerobot(READ, tmp_path / "ours", tmp_path / "read.npz").splitlines()[-1])
    ours, read = EpisodeDataset(sample_dataset()), np.load(tmp_path / "read.npz")
    assert said["episodes"] == len(ours)
    for number, episode in enumerate(ours):
        here = read["episodes"] == number
        assert np.array_equal(read["frames"][here], episode.frames[: here.sum()])
        assert {task for task, chosen in zip(said["tasks"], here, strict=True) if chosen} == {episode.instruction}
