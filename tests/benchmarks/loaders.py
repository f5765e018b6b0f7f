"""The same frames read by agentgym, LeRobot and Minari, each as it stores pictures by default, and losslessly.

    python tests/benchmarks/loaders.py [LEROBOT_PYTHON] [WINDOWS]

Windows of 8 frames at random places, in processor time, so that it does not matter what else runs. LEROBOT_PYTHON is a
Python that has LeRobot 0.4 and this one's packages (tests/data/test_lerobot_itself.py makes one). Writes loaders.md.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import gymnasium
import minari
import numpy as np
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from reading_rate import rate

from agentgym.data.exchange import export_lerobot
from agentgym.data.store import EpisodeDataset
from agentgym.experts.collection import collect
from agentgym.recipes import load_dataset

HERE = Path(__file__).parent
WINDOW = 8
LEROBOT = """
import json, random, sys, time
import torch
for operator in ("nms", "qnms"):
    torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")
torch.set_num_threads(1)
from lerobot.datasets.lerobot_dataset import LeRobotDataset
plain = LeRobotDataset("org/one", root=sys.argv[1])
camera = plain.meta.camera_keys[0]
steps = [step / plain.meta.fps for step in range(8)]
read = LeRobotDataset("org/one", root=sys.argv[1], delta_timestamps={camera: steps})
places = random.Random(0).choices(range(len(read)), k=int(sys.argv[2]))
read[0]
began = time.process_time()
for place in places:
    assert read[place][camera].shape[0] == 8
print(json.dumps((time.process_time() - began) / len(places)))
"""


def windows_of(dataset: EpisodeDataset, count: int) -> list[tuple[int, int]]:
    """Episodes and first steps, at random, of those that are long enough."""
    long = np.flatnonzero(dataset.lengths >= WINDOW)
    generator = np.random.default_rng(0)
    episodes = generator.choice(long, count)
    return [(int(e), int(generator.integers(0, dataset.lengths[e] - WINDOW + 1))) for e in episodes]


def seconds_each(read, windows) -> float:
    """Processor seconds of a window, after one that warms up."""
    read(*windows[0])
    return 1 / rate(lambda window: read(*window), windows)


def write_minari(dataset: EpisodeDataset, folder: Path, data_format: str, jpeg: bool) -> "minari.MinariDataset":
    """Those episodes as Minari's collector writes them."""
    folder.mkdir(parents=True)
    storage = MinariStorage.new(
        folder,
        observation_space=gymnasium.spaces.Box(0, 255, dataset.header.frame_shape, np.uint8),
        action_space=gymnasium.spaces.Discrete(7),
        data_format=data_format,
        jpeg_encoding=jpeg,
    )
    storage.update_metadata({"dataset_id": "some/frames-v0", "minari_version": minari.__version__})
    for episode in dataset:
        ends = [False] * (len(episode) - 1)
        buffer = EpisodeBuffer(
            observations=episode.frames,
            actions=episode.actions,
            rewards=episode.rewards.tolist(),
            terminations=[*ends, True],
            truncations=[*ends, False],
        )
        storage.update_episodes([buffer])
    return minari.MinariDataset(folder)


def measure(windows: int, lerobot: str | None, folder: Path) -> list[str]:
    """A row of the table for each way."""
    collect(
        load_dataset("babyai-goto-redball", ["episodes=60", "expert=random", "keep=all"]), folder / "ours", workers=1
    )
    dataset = EpisodeDataset(folder / "ours")
    chosen, frames = windows_of(dataset, windows), int((dataset.lengths + 1).sum())
    rows = [
        ("agentgym, lossless", seconds_each(lambda e, s: dataset.frames(e, s, s + WINDOW), chosen), folder / "ours")
    ]
    if lerobot:
        export_lerobot(folder / "ours", folder / "lerobot")
        command = [lerobot, "-c", LEROBOT, str(folder / "lerobot"), str(max(1, windows // 10))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(("LeRobot 0.4.4, PNG in Parquet", json.loads(done.stdout.splitlines()[-1]), folder / "lerobot"))
    for data_format in ("hdf5", "arrow"):
        for jpeg in (True, False):
            name = f"Minari {minari.__version__}, {data_format}, {'JPEG (its default)' if jpeg else 'lossless'}"
            path = folder / f"{data_format}-{jpeg}"
            theirs = write_minari(dataset, path, data_format, jpeg)
            some = chosen[: max(1, windows // 10)]
            rows.append(
                (name, seconds_each(lambda e, s, t=theirs: np.asarray(t[e].observations[s : s + WINDOW]), some), path)
            )
    sizes = {name: sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) / frames for name, _, path in rows}
    return [f"| {name} | {1 / seconds:,.0f} | {sizes[name]:,.0f} |" for name, seconds, _ in rows]


def main(lerobot: str | None, windows: int) -> None:
    """Measures, prints and writes loaders.md."""
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(windows, lerobot, Path(folder))
    lines = [
        "# Loaders beside one another",
        "",
        f"{WINDOW} frames of GoToRedBall (56x56, played at random) at random places; windows a second of one",
        "core's processor time; one run. Ours and Minari give uint8 arrays, LeRobot float tensors.",
        "",
        "| | windows a second | bytes a frame on disk |",
        "|---|---|---|",
        *rows,
        "",
        "Made by `python tests/benchmarks/loaders.py LEROBOT_PYTHON`.",
    ]
    (HERE / "loaders.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None, int(sys.argv[2]) if len(sys.argv) > 2 else 1000)
