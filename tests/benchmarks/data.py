"""How small and how fast the dataset is, compared with Minari (HDF5, lossless) and PNG: `make benchmark`.

All hold the same frames: 100,000 of GoToRedBall, played by the bot, and 20,000 of an ALE game, played at random, at the
screen's size and at 84x84. Minari holds the first episodes of them, which its bytes a frame and its rates do not
depend on. Prints and writes tests/benchmarks/data.md. Rates are per second of one core's time, medians of ROUNDS short
rounds in which all sides take turns, so that other work on the machine counts little. The first argument is a folder to
keep the recordings in; without it they are made again in a temporary one. Needs ale-py and `agentgym-ifm[minari]`.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import minari
import numpy as np
from data_recordings import (
    GAME,
    copy_shards,
    count_frames,
    record_babyai,
    record_game,
    record_long,
    write_minari,
)
from PIL import Image
from reading_rate import rate

from agentgym.data.store import EpisodeDataset

WINDOW, ROUNDS = 8, 3
MINARI_SHARDS = 1  # the first ones, which Minari holds too: 100 episodes of GoToRedBall, ten of the game
REPORT = Path(__file__).with_suffix(".md")
Row = tuple[str, ...]

# Reads random batches in a process of its own, and says what memory it holds itself, and with the files it has mapped.
EPOCH = """
import sys
import numpy as np
from agentgym.data.store import EpisodeDataset
from agentgym.training.windows import WindowSource, split_episodes
def held(name):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024
before = held("RssAnon")
dataset = EpisodeDataset(sys.argv[1])
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
    babyai, game, small = folder / "babyai", folder / "game", folder / "game-84"
    record_babyai(babyai)
    record_game(game, (210, 160))
    record_game(small, (84, 84))
    for steps in (20, 27_000):
        record_long(folder / f"long-{steps}", babyai, steps)
    copy_shards(babyai, folder / "many", 1000)
    names = {"BabyAI-GoToRedBall-v0, 56x56": babyai, f"{GAME}, 210x160": game, f"{GAME}, 84x84": small}
    rows = [row for name, path in names.items() for row in compare(name, path)]
    found = [opening(folder / "many"), *long_episodes(folder), memory(folder / "many")]
    report = "\n".join([*table(rows), "", *(f"* {sentence}" for sentence in found), ""])
    REPORT.write_text(report)
    print(report)


def compare(name: str, path: Path) -> list[Row]:
    """The rows of one recording: ours, PNG and Minari, measured in turns."""
    few = path.with_name(f"{path.name}-few")
    data = write_minari(path, few, path.with_name(f"{path.name}-minari"), MINARI_SHARDS)
    dataset, theirs = EpisodeDataset(path), minari.MinariDataset(data)
    table = dataset.windows(WINDOW).table
    rounds = [
        {**measure_ours(path, number), **measure_png(dataset, number), "minari": measure_minari(theirs, number)}
        for number in range(ROUNDS)
    ]
    rates = {key: f"{statistics.median(values[key] for values in rounds):,.0f}" for key in rounds[0]}
    ours = size_of(path.glob("shard-*")) / count_frames(path)
    held = count_frames(few)
    return [
        (f"{name}: {count_frames(path):,} frames, {len(table):,} windows", "", "", "", ""),
        ("agentgym", f"{ours:,.0f}", rates["first"], rates["again"], rates["frames"]),
        ("PNG, a picture a frame", rates["png bytes"], "", "", rates["png"]),
        (f"Minari, {held:,} frames", f"{size_of(data.iterdir()) / held:,.0f}", rates["minari"], rates["minari"], ""),
    ]


def measure_ours(path: Path, number: int) -> dict[str, float]:
    """Windows a second, each read for the first time, then once more; frames alone, as training reads them."""
    dataset = EpisodeDataset(path)
    windows = dataset.windows(WINDOW)
    chosen = np.random.default_rng(number).permutation(len(windows))[:2000]
    first, again = (rate(lambda i: windows[i], chosen) for _ in range(2))
    return {
        "first": first,
        "again": again,
        "frames": rate(lambda row: dataset.frames(*row), windows.table[chosen].tolist()),
    }


def measure_png(dataset: EpisodeDataset, number: int) -> dict[str, float]:
    """What a format of PNG frames would take for the pictures alone."""
    table = dataset.windows(WINDOW).table
    chosen = table[np.random.default_rng(number).permutation(len(table))[:12]]
    windows = [[encode_png(frame) for frame in dataset.frames(*row)] for row in chosen.tolist()]
    alone = rate(lambda window: np.stack([np.asarray(Image.open(BytesIO(frame))) for frame in window]), windows)
    return {"png": alone, "png bytes": float(np.mean([len(frame) for window in windows for frame in window]))}


def measure_minari(dataset: minari.MinariDataset, number: int) -> float:
    """Minari reads whole episodes, out of which the window is cut."""
    chosen = np.random.default_rng(number).integers(len(dataset), size=5)
    return rate(lambda i: dataset[int(i)].observations["image"][:WINDOW], chosen)


def encode_png(frame: np.ndarray) -> bytes:
    """A frame as PNG, at Pillow's default level."""
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, "png")
    return buffer.getvalue()


def size_of(files: Any) -> int:
    """Bytes of all of them."""
    return sum(file.stat().st_size for file in files)


def opening(many: Path) -> str:
    """How long a dataset of 100,000 episodes takes to open, from memory and from the disk."""
    EpisodeDataset(many)
    found = []
    for _ in range(ROUNDS):
        warm = clock(lambda: EpisodeDataset(many))
        forget(many)
        found.append((*warm, *clock(lambda: EpisodeDataset(many))))
    core, wall, cold_core, cold_wall = map(statistics.median, zip(*found, strict=True))
    dataset = EpisodeDataset(many)
    return (
        f"Opening {len(dataset):,} episodes in {len(dataset.shards):,} shards: {core:.2f} s of a core, {wall:.2f} s by "
        f"the clock; read from the disk {cold_core:.2f} s of a core, {cold_wall:.2f} s by the clock. Meanwhile "
        f"{os.getloadavg()[0]:.0f} processes shared {os.cpu_count()} cores."
    )


def clock(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of this process, and by the clock."""
    started, began = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - started, time.perf_counter() - began


def forget(path: Path) -> None:
    """What the system holds of these files in memory, it holds no longer."""
    for file in path.glob("shard-*"):
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def long_episodes(folder: Path) -> list[str]:
    """The cost of a window in short and in long episodes."""
    costs: dict[int, list[tuple[float, ...]]] = {20: [], 27_000: []}
    for number in range(ROUNDS):
        for steps, found in costs.items():
            found.append(cost_of_window(folder / f"long-{steps}", number))
    sentences = []
    for steps, found in costs.items():
        entering, first, again = map(statistics.median, zip(*found, strict=True))
        sentences.append(
            f"A window of {WINDOW} steps in episodes of {steps:,} steps: {first:,.0f} µs read for the first time, "
            f"{again:,.0f} µs again, {entering:,.0f} µs where it is the first of its episode."
        )
    return sentences


def cost_of_window(path: Path, number: int) -> tuple[float, float, float]:
    """Microseconds of a window: the first one of an episode, one that was not read before, one that was."""
    windows = EpisodeDataset(path).windows(WINDOW)
    full = windows.table[:, 2] - windows.table[:, 1] == WINDOW
    begins = np.flatnonzero(full & (windows.table[:, 1] == 0))[1:4]
    _ = windows[0]  # what is made once for a shard
    entering = 1e6 / rate(lambda i: windows[i], begins)
    chosen = np.random.default_rng(number).permutation(np.flatnonzero(full))[:1500]
    first, again = (1e6 / rate(lambda i: windows[i], chosen) for _ in range(2))
    return entering, first, again


def memory(many: Path) -> str:
    """What is held while training reads."""
    held = subprocess.run([sys.executable, "-c", EPOCH, str(many)], capture_output=True, text=True, check=True).stdout
    first, half, last, mapped = (float(value) for value in held.split())
    dataset = EpisodeDataset(many)
    raw = (dataset.lengths + 1).sum() * np.prod(dataset.header.frame_shape) / 2**20
    return (
        f"Memory held while 3,000 random batches of 16 are read: {first:,.0f} MB after 200, {half:,.0f} MB after "
        f"half, {last:,.0f} MB at the end; the dataset has {size_of(many.glob('shard-*')) / 2**20:,.0f} MB, its raw "
        f"frames {raw:,.0f} MB. Pages of mapped files (libraries too), which the system takes back as it needs: "
        f"{mapped:,.0f} MB."
    )


def table(rows: list[Row]) -> list[str]:
    """The report's head and table."""
    return [
        "# The dataset beside Minari and PNG",
        "",
        "Written by `make benchmark` (tests/benchmarks/data.py). Windows are random, of 8 steps; rates are per second",
        f"of one core's time, medians of {ROUNDS} rounds in which all sides took turns. Minari (HDF5, lossless) reads",
        "whole episodes, out of which the window is cut. A window has nine frames, for what the last action led to is",
        "one of them; `frames alone` are the eight that training reads, read before.",
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
