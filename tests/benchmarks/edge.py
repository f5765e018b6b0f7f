"""The exported policy compared with PyTorch: size, memory, speed and agreement, `make benchmark`.

    python tests/benchmarks/edge.py [RUN] [DATA]

On a trained run (runs/babyai-goto-redball, with data/babyai-goto-redball for the recorded steps). Each way acts in one
environment in a process of its own, with one thread; speed is measured in turns. Writes tests/benchmarks/edge.md.
"""

import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

RUN, DATA = "runs/babyai-goto-redball", "data/babyai-goto-redball"
STEPS, SEEDS, ROUNDS = 1000, 200, 5
WAYS = ("PyTorch", "ONNX float32", "ONNX int8")
FILES = {"ONNX float32": "policy.onnx", "ONNX int8": "policy-int8.onnx"}


def load(way, run, folder):
    """The policy of a way. Imports here, so that a process has what its way needs and no more."""
    if way == "PyTorch":
        import torch

        from agentgym.policies.agent_policy import AgentPolicy

        torch.set_num_threads(1)
        return AgentPolicy.from_pretrained(run)
    sys.path.insert(0, str(folder))
    from onnx_policy import OnnxPolicy

    return OnnxPolicy(folder / FILES[way], threads=1)


def act_as_recorded(policy, episodes):
    """The action at every recorded step while the recorded actions are taken, and the seconds of each step."""
    import numpy as np

    chosen, seconds = [], []
    for frames, instruction, actions in episodes:
        state = None
        for frame, action in zip(frames, actions, strict=True):
            began = time.perf_counter()
            ours, state = policy.predict({"frame": frame, "instruction": instruction}, state, deterministic=True)
            seconds.append(time.perf_counter() - began)
            chosen.append(int(ours))
            if isinstance(state, tuple):
                history = state[0]
                state = (replace(history, actions=np.concatenate([history.actions[:-1], [[action]]])),)
            else:
                state.actions[0, state.steps[0] - 1] = action
    return chosen, seconds


def work(way, run, folder, episodes, pipe):
    """One way in its own process: acts whenever it is told to; says what it chose, how fast, and its memory."""
    policy = load(way, run, folder)
    act_as_recorded(policy, episodes[:3])
    while pipe.recv():
        chosen, seconds = act_as_recorded(policy, episodes)
        pipe.send((chosen, len(seconds) / sum(seconds), peak_memory()))


def peak_memory():
    """The most memory that this process has taken, in MB (`ru_maxrss` would count its parent's too)."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def recorded(data):
    """At least so many recorded steps, as (frames, instruction, actions) of whole episodes."""
    from agentgym.data.store import EpisodeDataset
    from agentgym.environments import encode_instruction

    dataset, found, steps = EpisodeDataset(data), [], 0
    for number in range(0, len(dataset), 7):
        episode = dataset[number]
        found.append((episode.frames[: len(episode)], encode_instruction(episode.instruction), list(episode.actions)))
        steps += len(episode)
        if steps >= STEPS:
            return found
    raise SystemExit(f"{data}: has fewer than {STEPS} steps")


def in_turns(run, folder, episodes):
    """What each way chose, its median steps a second and its memory in MB."""
    context, workers = multiprocessing.get_context("spawn"), {}
    for way in WAYS:
        mine, theirs = context.Pipe()
        process = context.Process(target=work, args=(way, run, folder, episodes, theirs))
        process.start()
        workers[way] = (process, mine)
    rounds = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way, (_, pipe) in workers.items():
            pipe.send(True)
            rounds[way].append(pipe.recv())
    for process, pipe in workers.values():
        pipe.send(False)
        process.join()
    return {
        way: (found[0][0], statistics.median(rate for _, rate, _ in found), found[-1][2])
        for way, found in rounds.items()
    }


def success_rates(run, folder):
    """The success of each way on the same seeds."""
    from agentgym.evaluation import policy_registry
    from agentgym.evaluation.rollouts import rollout
    from agentgym.training.run_folder import read_recipe

    suite, rates = read_recipe(Path(run)).dataset.suite, {}
    for way in WAYS:
        who = run if way == "PyTorch" else str(folder / FILES[way])
        policy = policy_registry.load(policy_registry.resolve_policy(who), sampled=False)
        played = rollout(
            policy,
            suite.tasks[0].id,
            frame=suite.frame,
            seeds=range(SEEDS),
            num_environments=50,
            deterministic=True,
        )
        rates[way] = sum(episode.success for episode in played) / SEEDS
    return rates


def main(run=RUN, data=DATA):
    from agentgym.experiments.onnx_export import export_onnx
    from agentgym.versions import LEARNING, installed_versions

    folder = Path(tempfile.mkdtemp()) / "exported"
    sizes = export_onnx(Path(run), folder)["bytes"]
    sizes["model.safetensors"] = (Path(run) / "model/model.safetensors").stat().st_size
    episodes = recorded(data)
    measured, success = in_turns(run, folder, episodes), success_rates(run, folder)
    expected = measured["PyTorch"][0]
    versions = {**installed_versions(LEARNING), "onnxruntime": version("onnxruntime")}
    lines = [
        f"{Path(run).name}, one environment, one thread a process, median of {ROUNDS} rounds in turns over "
        f"{len(expected)} recorded steps; torch {versions['torch']}, onnxruntime {versions['onnxruntime']}. "
        "Memory is the most that the process took, with Python and the libraries.",
        "",
        f"| | file, MB | memory, MB | steps a second | same action | success, {SEEDS} seeds |",
        "|---|---|---|---|---|---|",
    ]
    for way in WAYS:
        chosen, rate, memory = measured[way]
        same = sum(a == b for a, b in zip(chosen, expected, strict=True))
        size = sizes[FILES.get(way, "model.safetensors")] / 1e6
        lines.append(
            f"| {way} | {size:.2f} | {memory:,.0f} | {rate:,.0f} | {same} of {len(expected)} | {success[way]:.1%} |"
        )
    text = "\n".join(lines) + "\n"
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    shutil.rmtree(folder.parent)


if __name__ == "__main__":
    main(*sys.argv[1:])
