"""How fast training is, and how soon an agent plays: `make benchmark`.

Learning: the shipped GoToRedBall recipe in UPDATES updates, then the plain way (tests/benchmarks/plain.py:
transformers' modules, AdamW, every patch a token) on the same windows for TIMES as many seconds of the processor, both
scored on the same unseen levels. Speed: an update of `tiny` with all three losses beside the plain way's, in turns
within one run; one of `paper` beside the rate of this machine's matrix products, in float32 and in bfloat16 where it
has it. Counts seconds of the processor beside those of the clock, since the former are right on a machine with other
work. Writes tests/benchmarks/training.md; with --updates-only nothing is learnt.
"""

import math
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from flop import ATTENTION, matrix_rate
from plain import Plain, PlainPolicy
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from agentgym import recipes
from agentgym.data.store import EpisodeDataset
from agentgym.evaluation.rollouts import rollout
from agentgym.experiments import imitation
from agentgym.experts import collection
from agentgym.model.tokenizer import tokenize
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.training import run_folder
from agentgym.training.allocator import keep_freed_memory
from agentgym.training.datasets import MixtureComponent, open_parts
from agentgym.training.first_model import first_model, window_config_of
from agentgym.training.losses import compute_losses
from agentgym.training.optimizer import uses_bfloat16
from agentgym.training.sources import sources_of
from agentgym.training.windows import WindowSource

WINDOW, BATCH, ROUNDS, BATCHES = 4, 64, 5, 2
PAPER_BATCH = 4  # windows: with one AdamW's pass over 277 million weights is most of a step in bfloat16
TIMES = 8  # as many seconds as ours, for the plain way
UPDATES = 300  # ours, after which it is at GOAL
LEVELS = 200
GOAL = 0.98
PLAIN_RATE, PLAIN_WARMUP = 1e-3, 100  # AdamW's in the recipes


def record(folder):
    """A few hundred GoToRedBall episodes."""
    recipe = recipes.load_dataset("babyai-goto-redball", ["episodes=400"])
    collection.collect(recipe, folder, workers=1)
    return EpisodeDataset(folder)


def world(preset, dataset, *changes):
    recipe = recipes.load_experiment("babyai-goto-redball", [f"model.preset='{preset}'", *changes])
    torch.manual_seed(0)
    model, tokenizer = first_model(recipe, [MixtureComponent("", dataset, 1.0, recipe.training.window, 0.0)])
    source = WindowSource(
        dataset,
        np.arange(len(dataset)),
        window=recipe.training.window,
        tokenize=lambda text: tokenize(tokenizer, text),
        patches_per_frame=model.vision_encoder.num_patches,
    )
    return recipe, model, source


def optimizer_of(model):
    return torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)


def step(loss, optimizer):
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def ours_loss(model, batch, recipe):
    noise = torch.rand(int(batch.step_mask.sum()), batch.patches_per_frame)
    output = model(**batch.inputs, mask_noise=noise)
    return compute_losses(output, batch, recipe.losses).total


def plain_loss(model, batch, recipe):
    return model(batch)


def tiny(dataset):
    """Targets a second of ours and of the plain way, by processor and by clock, medians of rounds in turns."""
    recipe, ours, source = world("tiny", dataset, f"training.window={WINDOW}", f"training.batch_size={BATCH}")
    batches = [source.batch(source.order(0, i * BATCH, BATCH)) for i in range(BATCHES)]
    targets = sum(int((batch.step_mask & ~batch.context_mask).sum()) for batch in batches)
    plain = Plain(world("tiny", dataset, f"training.window={WINDOW}", "model.patch_merge=1")[1].config)
    ways = {"ours": (ours, ours_loss), "plain": (plain, plain_loss)}
    optimizers = {name: optimizer_of(model) for name, (model, _) in ways.items()}
    rates = {name: ([], []) for name in ways}
    for round_ in range(ROUNDS + 1):
        for name, (model, loss) in ways.items():
            clock, processor = time.perf_counter(), time.process_time()
            for batch in batches:
                step(loss(model, batch, recipe), optimizers[name])
            if round_:  # the first warms up
                rates[name][0].append(targets / (time.process_time() - processor))
                rates[name][1].append(targets / (time.perf_counter() - clock))
    medians = {name: [statistics.median(each) for each in both] for name, both in rates.items()}
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        step(ours_loss(ours, batches[0], recipe), optimizers["ours"])
    return medians, shares(profiled)


def shares(profiled):
    """What kinds of operations take the time, as shares of all."""
    kinds = {
        "matrix products": ("aten::mm", "aten::addmm", "aten::bmm"),
        "attention": ("scaled_dot_product",),
        "normalisation and activations": ("layer_norm", "gelu", "relu", "threshold"),
        "optimiser": ("adamw",),
    }
    events = profiled.key_averages()
    whole = sum(event.self_cpu_time_total for event in events)
    found = {
        kind: sum(event.self_cpu_time_total for event in events if any(name in event.key for name in names)) / whole
        for kind, names in kinds.items()
    }
    return {**found, "rest": 1 - sum(found.values())}


def paper(dataset, *, bfloat16):
    """FLOP a second of a training step of the paper's sizes, windows of two frames, by processor and by clock."""
    recipe, model, source = world("paper", dataset, "training.window=2", f"training.batch_size={PAPER_BATCH}")
    rows = np.flatnonzero(source.table[:, 2] - source.table[:, 1] == 2)[:PAPER_BATCH]
    batch = source.batch(rows)
    optimizer = optimizer_of(model)

    def once():
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = ours_loss(model, batch, recipe)
        step(loss, optimizer)

    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        once()
    by_processor, by_clock = [], []
    for _ in range(3):
        clock, processor = time.perf_counter(), time.process_time()
        once()
        by_processor.append(counter.get_total_flops() / (time.process_time() - processor))
        by_clock.append(counter.get_total_flops() / (time.perf_counter() - clock))
    found = statistics.median(by_processor), statistics.median(by_clock)
    return found, matrix_rate(torch.bfloat16 if bfloat16 else torch.float32)


def papers(dataset):
    """The same by the name of the precision: float32, and bfloat16 where this processor has it."""
    has_bfloat16 = uses_bfloat16("auto", world("paper", dataset)[1].width)
    return {
        name: paper(dataset, bfloat16=name == "bfloat16")
        for name in ("float32", *(["bfloat16"] if has_bfloat16 else []))
    }


def learning(folder, *changes):
    """Seconds of the processor and success on LEVELS new levels: ours, and the plain way for TIMES as many seconds."""
    recipe = recipes.load_experiment(
        "babyai-goto-redball",
        ["training.evaluate_episodes=0", "training.evaluate_every=1000000", f"training.updates={UPDATES}", *changes],
    )
    collection.collect(recipe.dataset, folder / "data", workers=1)
    run_folder.open_run(folder / "run", recipe)
    started = time.process_time()
    imitation.train_run(recipe, folder / "data", folder / "run")
    ours = time.process_time() - started
    policy = AgentPolicy.from_pretrained(folder / "run")
    success = score(policy, recipe)
    seconds, plain = train_plain(recipe, folder / "data", TIMES * ours)
    return (ours, success), (seconds, score(plain, recipe))


def score(policy, recipe, levels=LEVELS):
    suite = recipe.dataset.suite
    episodes = rollout(
        policy,
        suite.tasks[0],
        frame=suite.frame,
        seeds=range(levels),
        num_environments=20,
        deterministic=True,
    )
    return statistics.mean(float(episode.success) for episode in episodes)


def train_plain(recipe, data, budget):
    """The plain way's seconds of the processor, near the budget, and its policy; its cosine ends where it does."""
    whole = recipe.model_copy(update={"model": recipe.model.model_copy(update={"patch_merge": 1})})
    torch.manual_seed(recipe.training.seed)
    parts = open_parts(data, whole)
    ours, tokenizer = first_model(whole, parts)
    source, _ = sources_of(parts, window_config_of(ours, tokenizer))
    model, size, seed = Plain(ours.config), recipe.training.batch_size, recipe.training.seed
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, betas=recipe.training.betas, fused=True)
    spent, update = 0.0, 0
    while spent < budget:
        started = time.process_time()
        done = spent / budget  # a cosine over the time that there is
        rate = PLAIN_RATE * min((update + 1) / PLAIN_WARMUP, 0.5 * (1 + math.cos(math.pi * done)))
        optimizer.param_groups[0]["lr"] = rate
        model(source.batch(source.order(seed, update * size, size))).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.training.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        spent, update = spent + time.process_time() - started, update + 1
    domain = ours.config.all_domains()[0]
    return spent, PlainPolicy(model, tokenizer, domain, recipe.training.window)


def learning_lines(ours, plain):
    (our_seconds, our_success), (plain_seconds, plain_success) = ours, plain
    verdict = (
        f"Ours is at {GOAL:.0%} in {our_seconds:.0f} s; the plain way is "
        + ("there too" if plain_success >= GOAL else "not there")
        + f" after {plain_seconds / our_seconds:.1f} times as many."
        if our_success >= GOAL
        else f"Ours is not at {GOAL:.0%}."
    )
    return [
        f"| GoToRedBall, {LEVELS} unseen levels | ours | plain |",
        "|---|---|---|",
        f"| seconds of training (processor) | {our_seconds:.0f} | {plain_seconds:.0f} |",
        f"| success | {our_success:.1%} | {plain_success:.1%} |",
        "",
        verdict,
        "",
    ]


def page(learnt, updates, wide):
    """The page of what `learning`, `tiny` and `papers` found; None where one was not asked."""
    medians, parts = updates
    ours, plain = medians["ours"], medians["plain"]
    lines = [
        f"torch {torch.__version__}, threads {torch.get_num_threads()}.",
        "",
        *(learning_lines(*learnt) if learnt else ["How soon an agent plays was not measured this time.", ""]),
        f"An update of {BATCH} windows of {WINDOW}:",
        "",
        "| `tiny`, all three losses | ours | plain | ratio |",
        "|---|---|---|---|",
        f"| targets a second of the processor | {ours[0]:,.0f} | {plain[0]:,.0f} | {ours[0] / plain[0]:.2f} |",
        f"| targets a second of the clock | {ours[1]:,.0f} | {plain[1]:,.0f} | {ours[1] / plain[1]:.2f} |",
        "",
        "Where our time goes: " + ", ".join(f"{kind} {share:.0%}" for kind, share in parts.items()) + ".",
        "",
        f"| `paper`, {PAPER_BATCH} windows of 2 | training step | matrix products 2048³ | ratio |",
        "|---|---|---|---|",
        *(
            f"| {precision}, GFLOP a second of the {name} | {got / 1e9:,.1f} | {most / 1e9:,.1f} | {got / most:.2f} |"
            for precision, (reached, possible) in wide.items()
            for name, got, most in zip(("processor", "clock"), reached, possible, strict=True)
        ),
        "",
        "Memory is kept as in every training. Attention's products are counted: in float32 half where it is causal,",
        "since the rest are not made; in bfloat16 all are, which is quicker there than PyTorch's own attention.",
    ]
    return "\n".join(lines) + "\n"


def main():
    keep_freed_memory()  # as every training does
    with tempfile.TemporaryDirectory() as folder:
        learnt = None if "--updates-only" in sys.argv else learning(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        dataset = record(Path(folder) / "data")
        text = page(learnt, tiny(dataset), papers(dataset))
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
