"""A served policy under load: 64 clients at once compared with one after the other, on the loopback, for a few seconds.

    python tests/benchmarks/serving.py [CHECKPOINT]     writes serving.md next to it

Without a checkpoint the `tiny` preset with random weights plays GoToRedBall's frames: what it costs does not depend on
what it knows. The clients are threads of another process, so that the server has its own interpreter.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

CLIENTS, SECONDS = 64, 8.0


def checkpoint(folder: Path) -> Path:
    """The `tiny` preset for GoToRedBall's frames, with random weights."""
    import torch

    from agentgym.data.store import EpisodeDataset, sample_dataset
    from agentgym.model.agent import AgentModel
    from agentgym.model.presets import make_config
    from agentgym.model.tokenizer import train_tokenizer
    from agentgym.spaces.domains import Domain, action_tokens

    dataset = EpisodeDataset(sample_dataset())
    header = dataset.header
    domain = Domain(header.space, header.frame_shape[:2], 8, ("BabyAI-GoToRedBall-v0",))
    tokens = action_tokens([domain])
    tokenizer = train_tokenizer(dataset.column("instruction"), tokens)
    torch.manual_seed(0)
    config = make_config(
        "tiny",
        num_text_tokens=len(tokenizer) - len(tokens),
        instruction_tokens=64,
        domains=[domain],
        frame_side=header.frame_shape[0],
    )
    AgentModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def calls(url: str, clients: int, seconds: float) -> list[float]:
    """The latency of each call of that many clients, each a loop of its own."""
    from agentgym.client import RemotePolicy

    found: list[list[float]] = [[] for _ in range(clients)]
    ready, frame = threading.Barrier(clients + 1), np.zeros((56, 56, 3), np.uint8)

    def loop(number: int) -> None:
        with RemotePolicy(url) as policy:
            state = None
            _, state = policy.predict({"frame": frame, "instruction": "go to the red ball"}, state, deterministic=True)
            ready.wait()
            until = time.perf_counter() + seconds
            while (began := time.perf_counter()) < until:
                _, state = policy.predict(
                    {"frame": frame, "instruction": "go to the red ball"}, state, deterministic=True
                )
                found[number].append(time.perf_counter() - began)

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    for thread in threads:
        thread.join()
    return [latency for each in found for latency in each]


def row(url: str, clients: int) -> dict[str, float]:
    """Actions a second and latencies in milliseconds."""
    latencies = 1000 * np.array(calls(url, clients, SECONDS))
    half, most = np.percentile(latencies, [50, 99])
    return {"clients": clients, "actions_per_s": len(latencies) / SECONDS, "median_ms": half, "p99_ms": most}


def main() -> None:
    if sys.argv[1:2] == ["--clients"]:
        print(json.dumps(row(sys.argv[2], int(sys.argv[3]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        who = Path(sys.argv[1]) if len(sys.argv) > 1 else checkpoint(Path(folder))
        server = subprocess.Popen(
            [sys.executable, "-m", "agentgym", "serve", str(who), "--port", "0", "--json"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["address"].replace("http://", "ws://")
            ask = [sys.executable, __file__, "--clients", url]
            turns = (1, CLIENTS, 1, CLIENTS)
            rows = [json.loads(subprocess.check_output([*ask, str(clients)], text=True)) for clients in turns]
        finally:
            server.terminate()
    lines = ["| clients | actions a second | median | p99 | p99 / median |", "|---|---|---|---|---|"]
    lines += [
        f"| {r['clients']:.0f} | {r['actions_per_s']:,.0f} | {r['median_ms']:.1f} ms | {r['p99_ms']:.1f} ms "
        f"| {r['p99_ms'] / r['median_ms']:.1f} |"
        for r in rows
    ]
    rates = {n: np.mean([r["actions_per_s"] for r in rows if r["clients"] == n]) for n in (1, CLIENTS)}
    alone, together = rates[1], rates[CLIENTS]
    text = (
        f"# A served policy\n\n{CLIENTS} clients get {together / alone:.1f} times the actions of one client whose "
        f"calls follow one another ({together:,.0f} and {alone:,.0f} a second).\n\n" + "\n".join(lines) + "\n\n"
        "Made by `python tests/benchmarks/serving.py`: the `tiny` preset, server and clients on the same cores.\n"
    )
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
