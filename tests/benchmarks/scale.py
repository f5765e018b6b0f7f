"""What collecting costs with 1, 2 and 4 workers, and what the one process that writes costs.

    python tests/benchmarks/scale.py [EPISODES]

Everything is processor time, of this process and of its workers, so that it does not matter what else runs: on as many
cores the time by the clock is the workers' share, as long as that is more than the writer's. Writes scale.md;
docs/scale.md says what follows.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from agentgym.data.store import DatasetWriter, EpisodeDataset
from agentgym.data.store.format import encode_row
from agentgym.experts.collection import CHUNK, collect
from agentgym.recipes import load_dataset

HERE = Path(__file__).parent
RECIPE = "babyai-goto-redball"
WORKERS = (1, 2, 4)


def measure_collection(episodes: int, workers: int, folder: str) -> dict[str, float]:
    """In a process of its own: processor seconds of the writer and of its workers, and steps."""
    began = time.process_time()
    collect(load_dataset(RECIPE, [f"episodes={episodes}"]), folder, workers=workers)
    here = time.process_time() - began
    dataset = EpisodeDataset(folder)
    if workers > 1:  # they end with the executor that joblib keeps; then their time is known here
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"writer": here, "workers": used.ru_utime + used.ru_stime, "steps": int(dataset.lengths.sum())}


def measure_writer(folder: Path, times: int = 20) -> dict[str, float]:
    """What a shard costs the process that writes it: rows as workers send them, into a shard on disk."""
    dataset = EpisodeDataset(folder)
    episodes = [dataset[place] for place in range(min(CHUNK, len(dataset)))]
    rows, attempts = [encode_row(episode, ()) for episode in episodes], dataset.shards[0].attempts[: len(episodes)]
    with tempfile.TemporaryDirectory() as made, DatasetWriter(Path(made) / "data", dataset.header) as writer:
        began = time.process_time()
        for _ in range(times):
            writer.append_encoded(rows, attempts)
            writer.commit()
        seconds = (time.process_time() - began) / times
    steps = sum(len(episode) for episode in episodes)
    size = (folder / "shard-000000.arrow").stat().st_size / int(dataset.shards[0].lengths.sum())
    shards = json.loads((folder / "manifest.json").read_text())["shards"]
    entry = len(json.dumps(shards, indent=2)) / len(shards)
    return {"seconds": seconds, "steps": steps, "bytes": size, "manifest": entry}


def main(episodes: int) -> None:
    """Measures, prints and writes scale.md."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for workers in WORKERS:
            path = f"{folder}/{workers}"
            command = [sys.executable, __file__, "--measure", str(episodes), str(workers), path]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            apart = found["writer"] if workers == 1 else found["workers"]
            per_step = 1e6 * apart / found["steps"]
            told = f"{found['writer']:.1f}" if workers > 1 else "the same process"
            rows.append(f"| {workers} | {apart:.1f} | {told} | {per_step:.0f} |")
        shard = measure_writer(Path(f"{folder}/1"))
    each = 1e6 * shard["seconds"] / shard["steps"]
    lines = [
        "# Collecting with several workers",
        "",
        f"{episodes:,} episodes of {RECIPE}, {found['steps']:,} steps. Processor seconds, so that the load of the "
        "machine does not count; a worker's include its start (imports, environments).",
        "",
        "| workers | workers' seconds in all | writer's seconds | workers' µs a step |",
        "|---|---|---|---|",
        *rows,
        "",
        f"The one process that writes: {1000 * shard['seconds']:.1f} ms for a shard of {shard['steps']:,} steps, "
        f"{each:.1f} µs a step. On disk {shard['bytes']:.0f} bytes a step, and {shard['manifest']:.0f} bytes of the "
        "manifest a shard.",
        "",
        "Made by `python tests/benchmarks/scale.py`.",
    ]
    (HERE / "scale.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure_collection(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
