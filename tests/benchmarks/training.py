"""How fast training is: all three losses, forward, backward and optimiser: `make benchmark`.

`tiny` beside the plain way to write it: transformers' CLIPVisionModel and OPTModel at the same widths, float32, every
patch a token, padded steps and all. Both see the same windows, in turns within one run. `paper` beside the rate of this
machine's matrix products, in bfloat16 where it has it, else in float32. Counts seconds of the processor beside those of
the clock, since the former are right on a machine with other work. Writes tests/benchmarks/training.md.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionModel, OPTModel

from agentgym import recipes
from agentgym.data.store import EpisodeDataset
from agentgym.experts import collection
from agentgym.model.tokenizer import tokenize
from agentgym.model.vision import split_patches
from agentgym.training.datasets import MixtureComponent
from agentgym.training.first_model import first_model
from agentgym.training.losses import compute_losses
from agentgym.training.optimizer import uses_bfloat16
from agentgym.training.windows import WindowSource

WINDOW, BATCH, ROUNDS, BATCHES = 4, 64, 5, 2


class Plain(nn.Module):
    """E_θ, ℓ, F_φ and D_θ put together as their documentation shows, at the sizes of our model."""

    def __init__(self, ours):
        super().__init__()
        vision, self.text = ours.config.vision_config, ours.config.num_text_tokens
        self.vision = CLIPVisionModel(vision)
        self.projector = nn.Linear(vision.hidden_size, ours.config.language_config.word_embed_proj_dim)
        self.language = OPTModel(ours.config.language_config)
        self.decoder = ours.decoder.__class__(
            vision.hidden_size,
            ours.vision.num_patches,
            3 * vision.patch_size**2,
            width=ours.config.decoder_width,
            layers=ours.config.decoder_layers,
            heads=ours.config.decoder_heads,
        )
        self.ours = [ours]  # for its patches alone; not a part

    def forward(self, batch, noise):
        ours = self.ours[0]
        rows, time_ = batch.actions.shape[:2]
        pixels = ours.vision.unpatchify(ours.vision.patchify(batch.frames.flatten(0, 1)))
        pixels = (pixels.permute(0, 3, 1, 2) / 255 - ours.vision.mean) / ours.vision.std
        visual = self.projector(self.vision(pixel_values=pixels).last_hidden_state[:, 1:])
        embed = self.language.get_input_embeddings()
        words = embed(batch.instruction)
        steps = torch.cat([visual.unflatten(0, (rows, time_)), embed(batch.actions + self.text)], dim=2)
        sequence = torch.cat([words, steps.flatten(1, 2)], dim=1)
        mask = torch.ones(sequence.shape[:2], dtype=torch.long)
        mask[:, : words.shape[1]] = batch.instruction_mask
        hidden = self.language(inputs_embeds=sequence, attention_mask=mask, use_cache=False).last_hidden_state
        logits = F.linear(hidden, embed.weight)
        patches = visual.shape[1]
        at = words.shape[1] + torch.arange(time_) * (patches + 1) + patches - 1
        real = batch.step_mask & ~batch.context_mask
        action = F.cross_entropy(logits[:, at][real], (batch.targets[..., 0] + self.text)[real])
        language = F.cross_entropy(logits[:, : words.shape[1] - 1].flatten(0, 1), batch.instruction[:, 1:].flatten())
        cut = ours.vision.cut(pixels)
        visible, hidden_patches = split_patches(noise, 0.75)
        features = self.vision.embeddings(pixels)
        chosen = features[:, 1:].gather(1, visible[..., None].expand(-1, -1, features.shape[2]))
        seen = self.vision.encoder(
            inputs_embeds=self.vision.pre_layrnorm(torch.cat([features[:, :1], chosen], 1))
        ).last_hidden_state[:, 1:]
        error = (self.decoder(seen, visible) - cut).square().mean(-1)[hidden_patches].mean()
        return action + language + 0.02 * error


def record(folder):
    """A few hundred GoToRedBall episodes."""
    recipe = recipes.load_dataset("babyai-goto-redball", ["episodes=400"])
    collection.collect(recipe, folder, workers=1)
    return EpisodeDataset(folder)


def world(preset, dataset, *changes):
    recipe = recipes.load_experiment("babyai-goto-redball", [f"model.preset='{preset}'", *changes])
    torch.manual_seed(0)
    model, tokenizer = first_model(recipe, [MixtureComponent(dataset, 1.0, recipe.training.window)])
    source = WindowSource(
        dataset,
        np.arange(len(dataset)),
        window=recipe.training.window,
        tokenize=lambda text: tokenize(tokenizer, text),
        patches_per_frame=model.vision.num_patches,
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
    output = model(
        batch.instruction, batch.instruction_mask, batch.frames, batch.actions, batch.step_mask, mask_noise=noise
    )
    return compute_losses(output, batch, recipe.losses).total


def plain_loss(model, batch, recipe):
    return model(batch, torch.rand(batch.step_mask.numel(), batch.patches_per_frame))


def tiny(dataset):
    """Targets a second of ours and of the plain way, by processor and by clock, medians of rounds in turns."""
    recipe, ours, source = world("tiny", dataset, f"training.window={WINDOW}", f"training.batch_size={BATCH}")
    batches = [source.batch(source.order(0, i * BATCH, BATCH)) for i in range(BATCHES)]
    targets = sum(int((batch.step_mask & ~batch.context_mask).sum()) for batch in batches)
    plain = Plain(ours)
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


def matrix_rate(dtype, size=2048):
    """FLOP a second of square matrix products, by processor and by clock."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    a @ b
    by_processor, by_clock = [], []
    for _ in range(ROUNDS):
        clock, processor = time.perf_counter(), time.process_time()
        a @ b
        by_processor.append(2 * size**3 / (time.process_time() - processor))
        by_clock.append(2 * size**3 / (time.perf_counter() - clock))
    return statistics.median(by_processor), statistics.median(by_clock)


def paper(dataset):
    """FLOP a second of a training step of the paper's sizes, of a window of two frames, by processor and by clock."""
    recipe, model, source = world("paper", dataset, "training.window=2", "training.batch_size=1")
    rows = np.flatnonzero(source.table[:, 2] - source.table[:, 1] == 2)[:1]
    batch = source.batch(rows)
    bfloat16 = uses_bfloat16("auto", model.width)
    optimizer = optimizer_of(model)

    def once():
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = ours_loss(model, batch, recipe)
        step(loss, optimizer)

    with FlopCounterMode(display=False) as counter:
        once()
    by_processor, by_clock = [], []
    for _ in range(3):
        clock, processor = time.perf_counter(), time.process_time()
        once()
        by_processor.append(counter.get_total_flops() / (time.process_time() - processor))
        by_clock.append(counter.get_total_flops() / (time.perf_counter() - clock))
    found = statistics.median(by_processor), statistics.median(by_clock)
    return found, matrix_rate(torch.bfloat16 if bfloat16 else torch.float32), bfloat16


def main():
    with tempfile.TemporaryDirectory() as folder:
        dataset = record(Path(folder) / "data")
        medians, parts = tiny(dataset)
        reached, possible, bfloat16 = paper(dataset)
    ours, plain = medians["ours"], medians["plain"]
    lines = [
        f"torch {torch.__version__}, threads {torch.get_num_threads()}; GoToRedBall, {BATCH} windows of {WINDOW}.",
        "",
        "| `tiny`, all three losses | ours | plain | ratio |",
        "|---|---|---|---|",
        f"| targets a second of the processor | {ours[0]:,.0f} | {plain[0]:,.0f} | {ours[0] / plain[0]:.2f} |",
        f"| targets a second of the clock | {ours[1]:,.0f} | {plain[1]:,.0f} | {ours[1] / plain[1]:.2f} |",
        "",
        "Where our time goes: " + ", ".join(f"{kind} {share:.0%}" for kind, share in parts.items()) + ".",
        "",
        f"| `paper`, {'bfloat16' if bfloat16 else 'float32: this processor has no bfloat16'} | training step "
        "| matrix products 2048³ | ratio |",
        "|---|---|---|---|",
        *(
            f"| GFLOP a second of the {name} | {a / 1e9:.1f} | {b / 1e9:.1f} | {a / b:.2f} |"
            for name, a, b in zip(("processor", "clock"), reached, possible, strict=True)
        ),
    ]
    text = "\n".join(lines) + "\n"
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
