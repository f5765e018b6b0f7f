"""What recording costs, compared with stepping without a recorder and with Minari's DataCollector (HDF5).

`make benchmark`; lossless.

All play the same seeds with the same actions, in turns within one run; recording goes to disk, whole and closed. Rates
are medians over the turns, by this process's CPU time, which other work on the machine changes little, and by the
clock. What recording adds to a step is that time less the time of stepping alone. A VectorRecorder stands beside
stepping the same vector environment, whose rows share the seeds; Minari records none. Where Minari costs less than a
step of the environment does, no recorder in one process can be twice as fast: there, what `collect` records with two
workers is played again to Minari, and both are timed by the clock. Then a million steps of a world that costs nothing
are recorded, and what memory is held meanwhile is read off.
Prints and writes tests/benchmarks/recording.md. Needs ale-py and `minari[create]`.
"""

import json
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections import defaultdict
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path

import gymnasium
import minari
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from agentgym.data.recorder import Recorder
from agentgym.data.store import DatasetWriter, EpisodeDataset, Header
from agentgym.data.vector_recorder import VectorRecorder
from agentgym.environments import encode_instruction, make
from agentgym.experts import collection
from agentgym.recipes import DatasetRecipe, FrameRecipe, SuiteRecipe, TaskRecipe
from agentgym.spaces import SpaceCodec

CASES = {  # task, frames, steps an episode at most, episodes a turn
    "BabyAI-GoToRedBall-v0": ("BabyAI-GoToRedBall-v0", FrameRecipe(), 64, 100),
    "MinAtar/Breakout-v1": ("MinAtar/Breakout-v1", FrameRecipe(), 64, 1000),  # ten steps each
    "ALE/Breakout-v5, 210x160": ("ALE/Breakout-v5", FrameRecipe(), 200, 10),
    "ALE/Breakout-v5, 84x84": ("ALE/Breakout-v5", FrameRecipe(size=(84, 84)), 200, 10),
}
TURNS = 5
ROWS = 4
ALONE, OURS, MINARI, FRAMES = "stepping alone", "agentgym, Recorder", "Minari", "Minari, frames alone"
ROWS_ALONE, VECTOR = f"stepping {ROWS} at once", f"agentgym, VectorRecorder of {ROWS}"
BESIDE = {ALONE: ALONE, OURS: ALONE, MINARI: ALONE, FRAMES: ALONE, ROWS_ALONE: ROWS_ALONE, VECTOR: ROWS_ALONE}
WORKERS, WORKERS_CASE, WORKERS_EPISODES, WORKERS_TURNS = 2, "ALE/Breakout-v5, 84x84", 120, 2
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
        said = [*table(found), "", *map(beside_minari, found, found.values()), "", beside_workers(Path(folder))]
        print("\n".join(said), flush=True)  # what follows takes minutes
        held = memory(Path(folder) / "long")
    report = "\n".join([*said, "", sentence(held), ""])
    REPORT.write_text(report)
    print(report)


def measure(task: str, frame: FrameRecipe, limit: int, episodes: int, folder: Path) -> dict[str, tuple[float, float]]:
    """Of each way, steps a CPU second and a second."""
    maker = partial(make, TaskRecipe(id=task, limit=limit), frame=frame)
    rates = defaultdict(list)
    with closing(maker()) as env, closing(SyncVectorEnv([maker] * ROWS, autoreset_mode=AutoresetMode.DISABLED)) as rows:
        ways = {ALONE: partial(step, env), OURS: partial(record, env)}
        ways |= {MINARI: partial(collect_minari, env), FRAMES: partial(collect_minari, FrameAlone(env))}
        ways |= {ROWS_ALONE: partial(step_rows, rows), VECTOR: partial(record_rows, rows, env)}
        for turn in range(TURNS):
            seeds = range(turn * episodes, (turn + 1) * episodes)
            for name, way in ways.items():
                rates[name].append(timed(way, seeds, folder / "data"))
    return {name: tuple(map(statistics.median, zip(*found, strict=True))) for name, found in rates.items()}


def timed(way, seeds: range, path: Path) -> tuple[float, float]:
    """Steps a CPU second and steps a second of one turn."""
    shutil.rmtree(path, ignore_errors=True)
    cpu, clock = time.process_time(), time.perf_counter()
    steps = way(seeds, path)
    return steps / (time.process_time() - cpu), steps / (time.perf_counter() - clock)


def draw_actions(seed: int, actions: int) -> list[np.int64]:
    """Of one episode."""
    return list(np.random.default_rng(seed).integers(actions, size=1000))


def play(env, seeds: range, draw=draw_actions) -> int:
    """The episodes of those seeds, by actions drawn from them; how many steps they have."""
    steps = 0
    for seed in seeds:
        env.reset(seed=seed)
        for action in draw(seed, env.action_space.n):
            _, _, terminated, truncated, _ = env.step(action)
            steps += 1
            if terminated or truncated:
                break
    return steps


def play_rows(envs, seeds: range) -> int:
    """The same by the rows of a vector environment, who take up the next seeds too until the last of these is over."""
    following, left = count(seeds.start), len(seeds)
    over, actions, steps = np.ones(envs.num_envs, bool), [iter(())] * envs.num_envs, 0
    while left > 0:
        if over.any():
            taken = [next(following) if row else None for row in over]
            envs.reset(seed=taken, options={"reset_mask": over})
            for row in np.flatnonzero(over):
                actions[row] = iter(draw_actions(taken[row], envs.single_action_space.n))
        _, _, terminated, truncated, _ = envs.step(np.array([next(chosen) for chosen in actions]))
        over, steps = terminated | truncated, steps + len(over)
        left -= np.count_nonzero(over)
    return steps


def step(env, seeds: range, path: Path) -> int:
    """Nothing is kept."""
    return play(env, seeds)


def step_rows(envs, seeds: range, path: Path) -> int:
    """Nothing is kept."""
    return play_rows(envs, seeds)


def record(env, seeds: range, path: Path) -> int:
    """Ours, on disk."""
    with open_writer(env, path) as writer:
        return play(Recorder(env, writer, task=env.task, expert="random"), seeds)


def record_rows(envs, env, seeds: range, path: Path) -> int:
    """Ours of a vector environment, whose rows are like `env`."""
    with open_writer(env, path) as writer:
        return play_rows(VectorRecorder(envs, writer, task=env.task, expert="random"), seeds)


def open_writer(env, path: Path) -> DatasetWriter:
    """Of episodes of an environment."""
    header = Header(SpaceCodec.of(env.action_space, env.action_names), env.frame_shape, {"name": "benchmark"})
    return DatasetWriter(path, header)


def collect_minari(env, seeds: range, path: Path, draw=draw_actions) -> int:
    """Minari's, made a dataset; of `FrameAlone` without the instruction, which it would store at every step."""
    os.environ["MINARI_DATASETS_PATH"] = str(path)
    collector = minari.DataCollector(env, jpeg_encoding=False, data_format="hdf5")
    steps = play(collector, seeds, draw)
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
        for name, (cpu, clock) in rates.items():
            beside = rates[BESIDE[name]]
            shares = f"{cpu / beside[0]:.0%} | {clock / beside[1]:.0%}"
            lines.append(f"| {name} | {cpu:,.0f} | {clock:,.0f} | {shares} | {added(rates, name) * 1e6:,.0f} µs |")
    return lines


def added(rates: dict[str, tuple[float, float]], name: str) -> float:
    """CPU seconds that a way of recording adds to a step."""
    return 1 / rates[name][0] - 1 / rates[BESIDE[name]][0]


def beside_minari(task: str, rates: dict[str, tuple[float, float]]) -> str:
    """How many times as fast as Minari, and what could be reached at all: recording that costs nothing."""
    whole, most = (rates[name][0] / rates[MINARI][0] for name in (OURS, ALONE))
    cheaper = f"{added(rates, MINARI) / added(rates, OURS):,.1f} times" if added(rates, OURS) > 0 else "more than all"
    return (
        f"* {task}: {whole:.1f} times Minari's rate, where recording that costs nothing would be {most:.1f} times; "
        f"Minari adds {cheaper} what agentgym adds to a step."
    )


def beside_workers(folder: Path) -> str:
    """The rates of `collect` with several workers and of Minari on the same episodes, by the clock."""
    task, frame, limit, _ = CASES[WORKERS_CASE]
    suite = SuiteRecipe(name="benchmark", description="", frame=frame, tasks=[TaskRecipe(id=task, limit=limit)])
    shape = {"name": "benchmark", "description": "", "suite": suite, "expert": "random", "keep": "all"}
    collection.CHUNK = WORKERS_EPISODES // (3 * WORKERS)  # so that each worker has several
    ours, theirs = [], []
    for turn in range(WORKERS_TURNS):
        seeds = range(turn * WORKERS_EPISODES, (turn + 1) * WORKERS_EPISODES)
        recipe = DatasetRecipe(**shape, episodes=WORKERS_EPISODES, first_seed=seeds.start)
        ours.append(timed(partial(collect_workers, recipe), seeds, folder / "data")[1])
        episodes = {episode.seed: list(episode.actions) for episode in EpisodeDataset(folder / "data")}
        with closing(make(suite.tasks[0], frame=frame)) as env:
            way = partial(collect_minari, env, draw=lambda seed, _, episodes=episodes: episodes[seed])
            theirs.append(timed(way, seeds, folder / "data")[1])
    rates = statistics.median(ours), statistics.median(theirs)
    return (
        f"* {WORKERS_CASE}, {WORKERS_EPISODES} episodes a turn, the same of both: `collect` with {WORKERS} workers "
        f"{rates[0]:,.0f} steps a second, their start counted, Minari {rates[1]:,.0f}: {rates[0] / rates[1]:.1f} times."
    )


def collect_workers(recipe: DatasetRecipe, seeds: range, path: Path) -> int:
    """Ours by `collect`, from the start of the workers to their end."""
    collection.collect(recipe, path, workers=WORKERS)
    return json.loads((path / "manifest.json").read_text())["steps"]


def sentence(held: dict[int, int]) -> str:
    """What memory did."""
    said = ", ".join(f"{mb:,} MB after {steps:,}" for steps, mb in held.items())
    return f"Memory held while steps of 16x16 frames are recorded, mapped files aside: {said}."


if __name__ == "__main__":
    main()
