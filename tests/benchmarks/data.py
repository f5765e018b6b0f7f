"""How small and how fast the dataset is, beside Minari (HDF5, lossless) and PNG: `make benchmark`.

All hold the same frames: 100,000 of GoToRedBall, played by the bot, and 20,000 of an ALE game, played at random; Minari
holds the first thousands of them, which its bytes a frame and its rates do not depend on. Prints and writes
tests/benchmarks/data.md. Rates are per second of one core's time, so that other work on the machine counts little. The
first argument is a folder to keep the recordings in; without it they are made anew in a temporary one.
Needs ale-py and `agentgym[minari]`.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

import ale_py  # noqa: F401  (its environments are there once it is imported)
import gymnasium
import minari
import numpy as np
from PIL import Image

from agentgym.action_spaces import SpaceCodec
from agentgym.collection import collect
from agentgym.exchange import export_minari
from agentgym.recipes import load_dataset
from agentgym.samples import Sample
from agentgym.store import DatasetWriter, Header, SampleDataset

WINDOW = 8
BABYAI, GAME = "BabyAI-GoToRedBall-v0", "ALE/Breakout-v5"
EPISODES = 15_800  # a little over 100,000 frames
FRAMES = 20_000
MINARI_SHARDS = 10  # the first ones, which Minari holds too
REPORT = Path(__file__).with_suffix(".md")

# Reads random batches in a process of its own, and says what memory it holds itself, and with the files it has mapped.
EPOCH = """
import sys
import numpy as np
from agentgym.store import SampleDataset
from agentgym.windows import WindowSource, split_episodes
def held(name):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024
before = held("RssAnon")
dataset = SampleDataset(sys.argv[1])
source = WindowSource(dataset, split_episodes(dataset, 0.02)[0], window=8,
    tokenize=lambda text: np.zeros(4, np.int64), patches_per_frame=49)
marks = []
for number in range(min(3001, len(source) // 16)):
    source.batch(source.order(0, number * 16, 16))
    if number % 100 == 0:
        marks.append(held("RssAnon") - before)
print(marks[2], marks[len(marks) // 2], marks[-1], held("RssFile"))
"""


def main(folder: Path) -> None:
    """Records, measures and writes the report."""
    babyai, game = folder / "babyai", folder / "game"
    collect(load_dataset("babyai-goto-redball", [f"episodes={EPISODES}"]), babyai)
    if not game.is_dir():
        record_game(game)
    rows = []
    for name, path in ((BABYAI, babyai), (GAME, game)):
        dataset = SampleDataset(path)
        frames = int((dataset.lengths + 1).sum())
        rows.append((f"{name}, {frames:,} frames", "", "", "", ""))
        rows.append(("agentgym", *measure_ours(dataset, path, frames)))
        rows.append(("PNG, a picture a frame", *measure_png(dataset)))
        rows.append(measure_minari(path, folder / f"{path.name}-few", folder / f"{path.name}-minari"))
    many = folder / "many"
    if not many.is_dir():
        copy_shards(babyai, many, 1000)
    report = "\n".join([*table(rows), "", *sentences(folder, babyai, many), ""])
    REPORT.write_text(report)
    print(report)


def record_game(path: Path) -> None:
    """Episodes of random play, four frames an action."""
    env = gymnasium.make(GAME)
    env.action_space.seed(0)
    space = SpaceCodec.of(env.action_space, env.unwrapped.get_action_meanings())
    header = Header(space, env.observation_space.shape, {"name": "game"})
    with DatasetWriter(path, header) as writer:
        count, seed = 0, 0
        while count < FRAMES:
            sample = play(env, seed)
            writer.append(sample)
            count, seed = count + len(sample) + 1, seed + 1


def play(env: gymnasium.Env, seed: int) -> Sample:
    """One episode of random play."""
    frames, actions, rewards, terminated, truncated = [env.reset(seed=seed)[0]], [], [], False, False
    while not (terminated or truncated):
        actions.append(int(env.action_space.sample()))
        frame, reward, terminated, truncated, _ = env.step(actions[-1])
        frames.append(frame)
        rewards.append(float(reward))
    return Sample(
        instruction="play",
        frames=np.stack(frames),
        actions=np.array(actions),
        rewards=np.array(rewards),
        terminated=terminated,
        truncated=truncated,
        success=False,
        seed=seed,
        task=GAME,
        expert="random",
    )


def measure_ours(dataset: SampleDataset, path: Path, frames: int) -> tuple[str, ...]:
    """Bytes a frame, whole windows and frames alone a second; every window is read for the first time."""
    size = sum(file.stat().st_size for file in path.glob("shard-*"))  # the parity too
    windows = dataset.windows(WINDOW)
    chosen = np.random.default_rng(0).permutation(len(windows))[:4000]
    first = rate(lambda i: windows[i], chosen)
    again = rate(lambda i: windows[i], chosen)
    fresh = SampleDataset(path)
    alone = rate(lambda row: fresh.frames(*row), windows.table[chosen].tolist())
    return f"{size / frames:,.0f}", f"{first:,.0f}", f"{again:,.0f}", f"{alone:,.0f}"


def measure_png(dataset: SampleDataset) -> tuple[str, ...]:
    """What a format of PNG frames would take for the pictures alone."""
    table = dataset.windows(WINDOW).table
    chosen = table[np.random.default_rng(0).permutation(len(table))[:150]]
    windows = [[encode_png(frame) for frame in dataset.frames(*row)] for row in chosen.tolist()]
    frames = [frame for window in windows for frame in window]
    alone = rate(lambda window: np.stack([np.asarray(Image.open(BytesIO(frame))) for frame in window]), windows)
    return f"{np.mean([len(frame) for frame in frames]):,.0f}", "", "", f"{alone:,.0f}"


def encode_png(frame: np.ndarray) -> bytes:
    """A frame as PNG, at Pillow's default level."""
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, "png")
    return buffer.getvalue()


def measure_minari(path: Path, few: Path, to: Path) -> tuple[str, ...]:
    """The same of the first shards; Minari reads whole episodes, out of which the window is cut."""
    if not few.is_dir():
        copy_shards(path, few, min(MINARI_SHARDS, len(list(path.glob("*.arrow")))))
    if not to.is_dir():
        export_minari(few, to)
    frames = int((SampleDataset(few).lengths + 1).sum())
    (data,) = to.glob("*/*/data")
    dataset = minari.MinariDataset(data)
    size = sum(file.stat().st_size for file in data.iterdir())
    chosen = np.random.default_rng(0).integers(len(dataset), size=100)
    windows = rate(lambda i: dataset[int(i)].observations["image"][:WINDOW], chosen)
    return (
        f"Minari, HDF5, lossless, {frames:,} of them",
        f"{size / frames:,.0f}",
        f"{windows:,.0f}",
        f"{windows:,.0f}",
        "",
    )


def rate(read, items) -> float:
    """How many a second of this process's time."""
    read(items[0])
    started = time.process_time()
    for item in items:
        read(item)
    return len(items) / (time.process_time() - started)


def copy_shards(source: Path, to: Path, count: int) -> None:
    """That many shards of a hundred episodes."""
    to.mkdir()
    files = sorted(source.glob("shard-*.arrow"))
    for number in range(count):
        for kind in (".arrow", ".parity"):
            shutil.copy(files[number % len(files)].with_suffix(kind), to / f"shard-{number:06d}{kind}")


def sentences(folder: Path, babyai: Path, many: Path) -> list[str]:
    """Opening, long episodes and memory."""
    opening = []
    for _ in range(3):
        started, clock = time.process_time(), time.perf_counter()
        dataset = SampleDataset(many)
        opening.append((time.process_time() - started, time.perf_counter() - clock))
    seconds = "{:.2f} s of a core, {:.2f} s by the clock".format(*min(opening))
    found = [f"* Opening {len(dataset):,} episodes in {len(dataset.shards):,} shards: {seconds}."]
    rates = {steps: long_episode(folder / f"long-{steps}", babyai, steps) for steps in (20, 27_000)}
    found += [
        f"* A window of {WINDOW} steps, read for the first time, in episodes of {steps:,} steps: {1e6 / found:,.0f} µs."
        for steps, found in rates.items()
    ]
    held = subprocess.run([sys.executable, "-c", EPOCH, str(many)], capture_output=True, text=True, check=True).stdout
    first, half, last, mapped = (float(value) for value in held.split())
    size = sum(file.stat().st_size for file in many.glob("shard-*")) / 2**20
    raw = (dataset.lengths + 1).sum() * np.prod(dataset.header.frame_shape) / 2**20
    found.append(
        f"* Memory held while 3,000 random batches of 16 are read: {first:,.0f} MB after 200, {half:,.0f} MB after "
        f"half, {last:,.0f} MB at the end; the dataset has {size:,.0f} MB, its raw frames {raw:,.0f} MB. Pages of "
        f"mapped files (libraries too), which the system takes back as it needs: {mapped:,.0f} MB."
    )
    return found


def long_episode(path: Path, babyai: Path, steps: int) -> float:
    """Windows a second in a dataset of 27,000 steps, in episodes of that many."""
    if not path.is_dir():
        source = SampleDataset(babyai)
        frames = np.concatenate([source[i].frames for i in range(300)])
        with DatasetWriter(path, source.header, commit_seconds=1000) as writer:
            for seed in range(27_000 // steps):
                chosen = frames[(seed * steps + np.arange(steps + 1)) % len(frames)]
                writer.append(
                    Sample(
                        instruction="go on",
                        frames=chosen,
                        actions=np.zeros(steps, np.int64),
                        rewards=np.zeros(steps),
                        terminated=True,
                        truncated=False,
                        success=True,
                        seed=seed,
                        task="Long-v0",
                        expert="none",
                    )
                )
    windows = SampleDataset(path).windows(WINDOW)
    full = np.flatnonzero(windows.table[:, 2] - windows.table[:, 1] == WINDOW)
    return rate(lambda i: windows[i], np.random.default_rng(0).permutation(full)[:1000])


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """The report's head and table."""
    return [
        "# The dataset beside Minari and PNG",
        "",
        "Written by `make benchmark` (tests/benchmarks/data.py). Windows are random, of 8 steps; rates are per second",
        "of one core's time. Minari reads whole episodes, out of which the window is cut.",
        "",
        "| | bytes a frame | windows/s, first read (verified) | windows/s, read again | windows/s, frames alone |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
