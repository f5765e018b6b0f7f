"""What one GPU makes of training, acting and PPO: one command of at most eight minutes that needs no network.

    python tests/benchmarks/gpu.py                            on the GPU of this machine
    python tests/benchmarks/gpu.py --device cpu --short       two minutes that show that the script works

It records GoToRedBall by the bot, then measures part by part: that the device computes what the CPU computes; windows a
second of training, and which share of the peak that is (MFU: the FLOP of an update by PyTorch's own count, over what
the matrix units could do); agent steps a second in large batches; steps a second of PPO; and the shipped recipe's
seconds of training and success. A part that would begin after LIMIT seconds is left out, and the page says so. Writes
tests/benchmarks/gpu.md after each part.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from training import score, world

import agentgym
from agentgym import recipes
from agentgym.data.store import EpisodeDataset
from agentgym.environments import encode_instruction
from agentgym.experiments import imitation
from agentgym.experts import collection
from agentgym.model.device import default_device, describe_device
from agentgym.model.tokenizer import train_tokenizer
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.training import run_folder
from agentgym.training.augmentation import draw
from agentgym.training.forward import forward
from agentgym.training.optimizer import optimizers_of, uses_bfloat16

LIMIT = 420  # seconds, after which no part begins: the last one has a minute
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12}
"""Dense bfloat16 FLOP a second by NVIDIA's data sheets."""
LOGITS_TOLERANCE, GRADIENT_TOLERANCE = 1e-3, 1e-2
COMPILED = {"compiled": {"dynamic": True}, "with CUDA graphs": {"mode": "reduce-overhead"}}
GOALS = {"paper": "40 % of the peak", "acting": "20,000", "learning": "98 % in 30 s"}


@dataclass(frozen=True)
class Sizes:
    episodes: int = 4000
    paper: tuple[int, int] = (32, 4)  # windows a batch, steps a window
    tiny: tuple[int, int] = (256, 8)
    updates: int = 10  # in each of three rounds
    rows: int = 1024
    steps: int = 40
    ppo: tuple[int, int] = (16, 64)  # environments, steps of each in a rollout
    training_updates: int = 500
    levels: int = 200
    matrix: int = 8192


SHORT = Sizes(24, (1, 2), (4, 4), 1, 16, 4, (2, 4), 2, 4, 512)


def wait(device):
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def seconds_of(work, device, rounds=3):
    """The median of the clock, after a first time that warms up."""
    spent = []
    for _ in range(1 + rounds):
        wait(device)
        began = time.perf_counter()
        work()
        wait(device)
        spent.append(time.perf_counter() - began)
    return statistics.median(spent[1:])


def equality(dataset, device, sizes):
    """That logits in training and acting, and gradients, are the CPU's: the largest difference of each."""
    torch.backends.cuda.matmul.allow_tf32 = False
    recipe, model, source = world("tiny", dataset, "training.window=4")
    batch = source.batch(np.arange(min(8, len(source))))
    noise, _ = draw(batch, 0, range(len(batch.episodes)))
    seen = []
    for place in (torch.device("cpu"), device):
        model.to(place).zero_grad()
        output, losses = forward(model, batch.to(place), noise.to(place), recipe.losses)
        losses.total.backward()
        gradient = torch.cat([each.grad.flatten().cpu() for each in model.parameters() if each.grad is not None])
        seen.append((output.action_logits.detach().cpu(), gradient, acted(model, dataset, 4, 8)))
    here, there = seen
    logits = float((here[0] - there[0]).abs().max())
    gradients = float((here[1] - there[1]).norm() / here[1].norm())
    acting = float(np.abs(here[2] - there[2]).max())
    right = max(logits, acting) <= LOGITS_TOLERANCE and gradients <= GRADIENT_TOLERANCE
    return [
        f"Equal to the CPU in float32: {'yes' if right else 'NO'}. Largest difference of logits {logits:.1e} in "
        f"training, {acting:.1e} in acting (at most {LOGITS_TOLERANCE:.0e}); of the gradient {gradients:.1e} of its "
        f"length (at most {GRADIENT_TOLERANCE:.0e})."
    ]


def observations(dataset, rows, seed):
    """Frames of the dataset, and their instructions."""
    chosen = np.random.default_rng(seed).integers(len(dataset), size=rows)
    episodes = [dataset[int(each)] for each in chosen[:64]]
    picked = [episodes[row % len(episodes)] for row in range(rows)]
    return {
        "frame": np.stack([each.frames[seed % len(each.actions)] for each in picked]),
        "instruction": np.stack([encode_instruction(each.instruction) for each in picked]),
    }


def tokenizer_of(dataset):
    return train_tokenizer(dataset.column("instruction"), dataset.header.space.tokens)


def acted(model, dataset, rows, steps):
    """The logits of some steps, an episode beginning now and then."""
    policy, state, logits = AgentPolicy(model, tokenizer_of(dataset)), None, []
    for step in range(steps):
        starts = np.arange(rows) == step % (2 * rows)
        found, state = policy.action_logits(observations(dataset, rows, step), state, starts)
        state = policy.executed(state, np.arange(rows) % 7)
        logits.append(found)
    return np.stack(logits)


def throughput(preset, dataset, device, sizes):
    """Windows a second of whole updates with all three losses, and the share of the peak."""
    size, window = getattr(sizes, preset)
    recipe, model, source = world(preset, dataset, f"training.window={window}", f"training.batch_size={size}")
    whole = np.flatnonzero(source.table[:, 2] - source.table[:, 1] == window)
    batch = source.batch(np.resize(whole, size))
    noise, _ = draw(batch, 0, range(size))
    batch, noise, model = batch.to(device), noise.to(device), model.to(device)
    bfloat16 = uses_bfloat16("auto", model.width)
    autocast = partial(torch.autocast, device.type, torch.bfloat16, enabled=bfloat16)
    optimizers = optimizers_of(model, recipe.training, bfloat16=bfloat16)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = 1e-4

    def learn(step):
        _, losses = forward(step, batch, noise, recipe.losses, autocast)
        losses.total.backward()

    def updates(step):
        for _ in range(sizes.updates):
            torch.compiler.cudagraph_mark_step_begin()  # what graphs gave before may be written over
            learn(step)
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.training.gradient_clip)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

    with FlopCounterMode(display=False) as counter:  # the model's alone: what the optimizer multiplies is no use of it
        learn(model)
    flop, seconds = counter.get_total_flops(), seconds_of(partial(updates, model), device) / sizes.updates
    cells = [f"`{preset}`, {size} windows of {window}, all three losses", f"{size / seconds:,.1f}"]
    if device.type == "cuda" and preset == "tiny":
        for name, options in COMPILED.items():
            torch.compiler.reset()
            try:  # the compiler has many errors, and the rest of the page is worth having
                faster = seconds_of(partial(updates, torch.compile(model, **options)), device) / sizes.updates
                cells[1] += f" ({name}: {size / faster:,.1f})"
            except RuntimeError as error:
                print(f"{name}: {error}", flush=True)
                cells[1] += f" ({name}: {type(error).__name__})"
    rates = (peak_of(device) if bfloat16 else None), matrix_rate(device, sizes.matrix, bfloat16)
    shares = [f"{flop / seconds / rate:.1%}" if rate else "not known" for rate in rates]
    return [f"| {' | '.join([*cells, f'{flop / seconds / 1e12:.2f}', *shares, GOALS.get(preset, '')])} |"]


def matrix_rate(device, side, bfloat16):
    """FLOP a second of square matrix products."""
    a, b = torch.randn(2, side, side, device=device).to(torch.bfloat16 if bfloat16 else torch.float32)
    return 2 * side**3 * 10 / seconds_of(lambda: [a @ b for _ in range(10)], device)


def peak_of(device):
    """What the data sheet says, or None."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((PEAKS[word] for word in name.replace("-", " ").split() if word in PEAKS), None)


def acting(dataset, device, sizes):
    """Agent steps a second in one batch of many environments' observations, of `tiny`, windows of 8."""
    policy = AgentPolicy(world("tiny", dataset, "training.window=8")[1].to(device), tokenizer_of(dataset))
    shown = [observations(dataset, sizes.rows, step) for step in range(8)]
    starts = np.arange(sizes.rows)

    def act():
        state = None
        for step in range(sizes.steps):  # a twentieth begins at each step, as with episodes of twenty steps
            _, state = policy.predict(shown[step % 8], state, starts % 20 == step % 20, deterministic=True)

    rate = sizes.rows * sizes.steps / seconds_of(act, device)
    return [f"Acting: {rate:,.0f} agent steps a second at {sizes.rows:,} observations (goal {GOALS['acting']})."]


def reinforcing(run, device, sizes):
    """Steps a second of PPO, the environments' own time in it."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    from agentgym.policies.sb3 import AgentActorCriticPolicy, HistoryObservation

    count, length = sizes.ppo
    envs = DummyVecEnv([lambda: HistoryObservation(agentgym.make("BabyAI-GoToRedBall-v0"), window=8)] * count)
    model = PPO(
        AgentActorCriticPolicy,
        envs,
        policy_kwargs={"checkpoint": str(run)},
        n_steps=length,
        batch_size=min(256, count * length),
        n_epochs=4,
        device=device,
    )
    seconds = seconds_of(lambda: model.learn(count * length, reset_num_timesteps=False), device, rounds=2)
    rate = count * length / seconds
    return [f"PPO: {rate:,.0f} steps a second, {count} environments, four epochs, the environments' time in it."]


def learning(folder, device, sizes):
    """The shipped recipe from its first update to its last: seconds, and success on new levels."""
    recipe = recipes.load_experiment(
        "babyai-goto-redball",
        [
            f"dataset.episodes={sizes.episodes}",
            f"training.updates={sizes.training_updates}",
            "training.evaluate_episodes=0",
            "training.evaluate_every=1000000",
        ],
    )
    run_folder.open_run(folder / "run", recipe)
    began = time.perf_counter()
    imitation.train_run(recipe, folder / "data", folder / "run")
    wait(device)
    seconds = time.perf_counter() - began
    success = score(AgentPolicy.from_pretrained(folder / "run", device=device), recipe, sizes.levels)
    took = f"{sizes.training_updates} updates in {seconds:.0f} s of the clock"
    return [f"Learning: GoToRedBall, {took}, then {success:.1%} of unseen levels (goal {GOALS['learning']})."]


def page(device, short, parts):
    """What was measured so far."""
    if device.type == "cpu":
        title = (
            "This was never run on a GPU: none was to be had. What follows is measured on a CPU, which shows that the "
            "script works and nothing else; a test runs the jobs on a pretended device with CUDA's rules "
            "(tests/end_to_end/test_any_device.py), and that is all that is claimed."
        )
    else:
        title = f"One {describe_device(device)}{', the short form' if short else ''}, torch {torch.__version__}."
    table = "| training | windows a second | TFLOP a second | of the peak (MFU) | of matrix products | goal |"
    lines = [title, "", *parts["equality"], "", table, f"|{'---|' * 6}", *parts["tiny"], *parts["paper"], ""]
    lines += [f"* {line}" for name in ("acting", "learning", "ppo") for line in parts[name]]
    options = (" --device cpu" if device.type == "cpu" else "") + (" --short" if short else "")
    return "\n".join([*lines, "", f"Made by `python tests/benchmarks/gpu.py{options}`."]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default=None, help="the GPU where there is one")
    parser.add_argument("--short", action="store_true", help="very little of everything")
    asked = parser.parse_args()
    device = torch.device(asked.device or default_device())
    short, began = asked.short or device.type == "cpu", time.perf_counter()
    sizes = SHORT if short else Sizes()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = recipes.load_dataset("babyai-goto-redball", [f"episodes={sizes.episodes}"])
        collection.collect(recipe, folder / "data")
        dataset = EpisodeDataset(folder / "data")
        jobs = {
            "equality": lambda: equality(dataset, device, sizes),
            "tiny": lambda: throughput("tiny", dataset, device, sizes),
            "acting": lambda: acting(dataset, device, sizes),
            "learning": lambda: learning(folder, device, sizes),
            "ppo": lambda: reinforcing(folder / "run", device, sizes),
            "paper": lambda: throughput("paper", dataset, device, sizes),
        }
        parts = {part: [f"{part}: not measured."] for part in jobs}
        parts |= {preset: [f"| `{preset}` | not measured | | | | |"] for preset in ("tiny", "paper")}
        for part, work in jobs.items():
            if time.perf_counter() - began > LIMIT:
                print(f"{part}: left out, {LIMIT} s are over", flush=True)
                continue
            parts[part] = work()
            print(*parts[part], sep="\n", flush=True)
            Path(__file__).with_suffix(".md").write_text(page(device, short, parts), encoding="utf-8")


if __name__ == "__main__":
    main()
