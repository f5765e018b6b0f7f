"""What recording costs, beside stepping alone and beside Minari's DataCollector (HDF5, lossless): `make benchmark`.

All play the same seeds with the same actions, in turns within one run; recording goes to disk, whole and closed. Rates
are medians over the turns, by this process's CPU time, which other work on the machine changes little, and by the
clock. What recording adds to a step is that time less the time of stepping alone. Then a million steps of a world that
costs nothing are recorded, and what memory is held meanwhile is read off.
Prints and writes tests/benchmarks/recording.md. Needs ale-py and `minari[create]`.
"""

import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections import defaultdict
from pathlib import Path

import gymnasium
import minari
import numpy as np

from agentgym.action_spaces import SpaceCodec
from agentgym.environments import encode_instruction, make
from agentgym.recipes import FrameRecipe, TaskRecipe
from agentgym.recorder import Recorder
from agentgym.store import DatasetWriter, Header

CASES = {  # task, frames, steps an episode at most, episodes a turn
    "BabyAI-GoToRedBall-v0": ("BabyAI-GoToRedBall-v0", FrameRecipe(), 64, 20),
    "MinAtar/Breakout-v1": ("MinAtar/Breakout-v1", FrameRecipe(), 64, 300),
    "ALE/Breakout-v5, 210x160": ("ALE/Breakout-v5", FrameRecipe(), 200, 4),
    "ALE/Breakout-v5, 84x84": ("ALE/Breakout-v5", FrameRecipe(size=(84, 84)), 200, 4),
}
TURNS = 5
ALONE, OURS, MINARI = "stepping alone", "agentgym, Recorder", "Minari"
MARKS = (100_000, 200_000, 500_000, 1_000_000)
REPORT = Path(__file__).with_suffix(".md")


class FrameAlone(gymnasium.ObservationWrapper):
    """The frame is the whole observation."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = env.observation_space["frame"]

    def observation(self, observation):
        return observation["frame"]


class Blank(gymnasium.Env):
    """A world that costs nothing: a small frame with the step's number, forty steps an episode."""

    observation_space = gymnasium.spaces.Dict(
        {
            "frame": gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8),
            "instruction": gymnasium.spaces.Box(0, 255, (256,), np.uint8),
        }
    )
    action_space = gymnasium.spaces.Discrete(4)
    instruction = encode_instruction("wait")

    def reset(self, *, seed=None, options=None):
        self._step = 0
        return self._look(), {"seed": seed}

    def step(self, action):
        self._step += 1
        return self._look(), 0.0, self._step == 40, False, {"is_success": True}

    def _look(self):
        frame = np.full((16, 16, 3), self._step, np.uint8)
        return {"frame": frame, "instruction": self.instruction}


def main() -> None:
    """Measures and writes the report."""
    with tempfile.TemporaryDirectory() as folder:
        found = {name: measure(*case, Path(folder)) for name, case in CASES.items()}
        said = [*table(found), "", *map(beside_minari, found, found.values())]
        print("\n".join(said), flush=True)  # what follows takes minutes
        held = memory(Path(folder) / "long")
    report = "\n".join([*said, "", sentence(held), ""])
    REPORT.write_text(report)
    print(report)


def measure(task: str, frame: FrameRecipe, limit: int, episodes: int, folder: Path) -> dict[str, tuple[float, float]]:
    """Of each way, steps a CPU second and a second."""
    env = make(TaskRecipe(id=task, limit=limit), frame=frame)
    ways = {ALONE: step, OURS: record, MINARI: collect, "Minari, frames alone": collect_frames}
    rates = defaultdict(list)
    for turn in range(TURNS):
        seeds = range(turn * episodes, (turn + 1) * episodes)
        for name, way in ways.items():
            rates[name].append(timed(way, env, seeds, folder / "data"))
    return {name: tuple(map(statistics.median, zip(*found, strict=True))) for name, found in rates.items()}


def timed(way, env, seeds: range, path: Path) -> tuple[float, float]:
    """Steps a CPU second and steps a second of one turn."""
    shutil.rmtree(path, ignore_errors=True)
    cpu, clock = time.process_time(), time.perf_counter()
    steps = way(env, seeds, path)
    return steps / (time.process_time() - cpu), steps / (time.perf_counter() - clock)


def play(env, seeds: range) -> int:
    """The episodes of those seeds, by actions drawn from them; how many steps they have."""
    count = 0
    for seed in seeds:
        env.reset(seed=seed)
        actions = np.random.default_rng(seed).integers(env.action_space.n, size=1000).tolist()
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(actions[count % 1000])
            over, count = terminated or truncated, count + 1
    return count


def step(env, seeds: range, path: Path) -> int:
    """Nothing is kept."""
    return play(env, seeds)


def record(env, seeds: range, path: Path) -> int:
    """Ours, on disk."""
    header = Header(SpaceCodec.of(env.action_space, env.action_names), env.frame_shape, {"name": "benchmark"})
    with DatasetWriter(path, header) as writer:
        return play(Recorder(env, writer, task=env.task, expert="random"), seeds)


def collect(env, seeds: range, path: Path) -> int:
    """Minari's, of the environment as it is, made a dataset."""
    return _collect(env, seeds, path)


def collect_frames(env, seeds: range, path: Path) -> int:
    """The same without the instruction, which Minari would store at every step."""
    return _collect(FrameAlone(env), seeds, path)


def _collect(env, seeds: range, path: Path) -> int:
    os.environ["MINARI_DATASETS_PATH"] = str(path)
    collector = minari.DataCollector(env, jpeg_encoding=False, data_format="hdf5")
    steps = play(collector, seeds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses an author, a link, ...
        collector.create_dataset("benchmark/recording-v0")
    return steps


def memory(path: Path) -> dict[int, int]:
    """MB held by this process, mapped files aside, after so many recorded steps."""
    env, found = Blank(), {}
    header = Header(SpaceCodec.of(env.action_space), (16, 16, 3), {"name": "long"})
    with DatasetWriter(path, header) as writer:
        recorder = Recorder(env, writer, task="Blank-v0", expert="random")
        for seed in range(MARKS[-1] // 40):
            play(recorder, range(seed, seed + 1))
            if (seed + 1) * 40 in MARKS:
                found[(seed + 1) * 40] = held()
    return found


def held() -> int:
    """Of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) // 1024


def table(found: dict[str, dict[str, tuple[float, float]]]) -> list[str]:
    """As Markdown."""
    lines = [
        "| | steps a CPU second | steps a second | of stepping, CPU | of stepping, clock | added to a step, CPU |",
        "|---|---|---|---|---|---|",
    ]
    for task, rates in found.items():
        lines.append(f"| {task} | | | | | |")
        alone = rates[ALONE]
        for name, (cpu, clock) in rates.items():
            shares = f"{cpu / alone[0]:.0%} | {clock / alone[1]:.0%}"
            lines.append(f"| {name} | {cpu:,.0f} | {clock:,.0f} | {shares} | {added(rates, name) * 1e6:,.0f} µs |")
    return lines


def added(rates: dict[str, tuple[float, float]], name: str) -> float:
    """CPU seconds that a way of recording adds to a step."""
    return 1 / rates[name][0] - 1 / rates[ALONE][0]


def beside_minari(task: str, rates: dict[str, tuple[float, float]]) -> str:
    """How many times as fast as Minari, and what could be reached at all: recording that costs nothing."""
    whole, most = (rates[name][0] / rates[MINARI][0] for name in (OURS, ALONE))
    cheaper = f"{added(rates, MINARI) / added(rates, OURS):,.1f} times" if added(rates, OURS) > 0 else "more than all"
    return (
        f"* {task}: {whole:.1f} times Minari's rate, where recording that costs nothing would be {most:.1f} times; "
        f"Minari adds {cheaper} what agentgym adds to a step."
    )


def sentence(held: dict[int, int]) -> str:
    """What memory did."""
    said = ", ".join(f"{mb:,} MB after {steps:,}" for steps, mb in held.items())
    return f"Memory held while steps of 16x16 frames are recorded, mapped files aside: {said}."


if __name__ == "__main__":
    main()
