"""One training loop on Accelerate: AdamW, warm-up, cosine, checkpoints; a resumed run equals an uninterrupted one.

It knows neither Gymnasium nor text: batches of windows come in, a trained model and its curves come out. Everything
random is a function of (seed, number of the batch), so that a checkpoint needs weights and optimiser alone.
"""

import json
import math
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from agentgym.augmentation import jitter_colours
from agentgym.errors import UserError
from agentgym.losses import Losses, compute_losses
from agentgym.model.agent import AgentModel
from agentgym.recipes import LossRecipe, PartRates, TrainingRecipe
from agentgym.windows import Batch, Source, order, prefetch

HELD_OUT_WINDOWS = 256  # enough for two digits of accuracy, in seconds

Sums = defaultdict[str, float]
Rollout = Callable[[AgentModel], Mapping[str, float]]


@dataclass(frozen=True)
class Loop:
    """What a training run works with."""

    recipe: TrainingRecipe
    losses: LossRecipe
    source: Source
    held_out: Source
    path: Path  # the run folder: checkpoints/, tensorboard/ and metrics.jsonl go there
    rollout: Rollout | None = None  # scores the model now and then


def train(
    model: AgentModel, loop: Loop, *, advance: Callable[[int, str], None] = lambda count, note: None
) -> AgentModel:
    """The model after `recipe.updates` updates, going on from the last checkpoint in the run folder.

    Raises UserError when a loss or a gradient is not finite, naming the update and the episodes of the batch; the last
    checkpoint stays. `advance(n, note)` is called after updates.
    """
    recipe = loop.recipe
    AcceleratorState._reset_state()  # one process may train twice with different precisions
    accelerator = Accelerator(mixed_precision="bf16" if uses_bfloat16(recipe.precision) else "no")
    if recipe.gradient_checkpointing:
        model.activation_checkpointing_enable()
    groups = parameter_groups(model, recipe.weight_decay, recipe.part_rates)
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=recipe.betas, fused=True)
    model, optimizer = accelerator.prepare(model, optimizer)
    first = _resume(accelerator, loop.path)
    journal = Journal(loop.path, first) if accelerator.is_main_process else None
    lap = journal.lap if journal else lambda part: None
    advance(first, "")

    batches = _batches(loop, accelerator, first)
    model.train()
    for update in range(first + 1, recipe.updates + 1):
        if journal:
            journal.start()
        _set_learning_rate(optimizer, learning_rate(update, recipe))
        for micro in range(recipe.accumulation):
            batch, noise = next(batches)
            batch, noise = batch.to(accelerator.device), noise.to(accelerator.device)
            lap("batch")
            losses = _forward(model, batch, noise, loop.losses, accelerator)
            if not torch.isfinite(losses.total):
                raise _not_finite("loss", losses, batch, update, loop.path)
            lap("forward")
            last = micro == recipe.accumulation - 1
            with nullcontext() if last else accelerator.no_sync(model):
                accelerator.backward(losses.total / recipe.accumulation)
            lap("backward")
            if journal:
                journal.add(losses, batch)
        gradient_norm = accelerator.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
        if not torch.isfinite(gradient_norm):  # before the weights have it, and a checkpoint the weights
            raise _not_finite("gradient", losses, batch, update, loop.path)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        lap("optimizer")

        note = ""
        if journal and (update % recipe.log_every == 0 or update == recipe.updates):
            note = journal.write(update, learning_rate(update, recipe), float(gradient_norm))
        if update % recipe.evaluate_every == 0 or update == recipe.updates:
            scores = _evaluate(accelerator.unwrap_model(model), loop, accelerator)
            if journal:
                journal.write_values(update, scores)
        if update % recipe.checkpoint_every == 0 or update == recipe.updates:
            _save(accelerator, loop.path, update)
        advance(1, note)
    if journal:
        journal.close()
    unwrapped: AgentModel = accelerator.unwrap_model(model)
    return unwrapped


def uses_bfloat16(precision: str) -> bool:
    """Whether matrix products run in bfloat16: "auto" takes it where the hardware has it (else it is slow)."""
    if precision != "auto":
        return precision == "bfloat16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))


def learning_rate(update: int, recipe: TrainingRecipe) -> float:
    """Linear warm-up over `warmup_updates`, then a cosine down to `final_learning_rate` at the last update."""
    if update <= recipe.warmup_updates:
        return recipe.learning_rate * update / recipe.warmup_updates
    share = (update - recipe.warmup_updates) / max(1, recipe.updates - recipe.warmup_updates)
    low = recipe.final_learning_rate
    return low + (recipe.learning_rate - low) * 0.5 * (1 + math.cos(math.pi * share))


def parameter_groups(
    model: torch.nn.Module, weight_decay: float, rates: PartRates | None = None
) -> list[dict[str, Any]]:
    """Matrices decay; vectors and embedding tables do not; what is frozen is left out.

    Parts whose rate is 0 are frozen here; a group's `rate` multiplies the learning rate.
    """
    factors = (rates or PartRates()).model_dump()
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        rate = factors[name.split(".")[0]]
        if rate == 0:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            groups[rate, parameter.ndim >= 2 and id(parameter) not in embeddings].append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if decays else 0.0, "rate": rate}
        for (rate, decays), parameters in sorted(groups.items(), key=lambda item: item[0], reverse=True)
    ]


def _batches(loop: Loop, accelerator: Accelerator, first: int) -> Iterator[tuple[Batch, Tensor]]:
    """Each process's share of every batch from update `first` on, with the noise that decides which patches are masked.

    Noise is drawn for the batch of all processes together, so that their number changes nothing.
    """
    recipe, source = loop.recipe, loop.source
    everywhere = recipe.batch_size * accelerator.num_processes
    mine = slice(accelerator.process_index * recipe.batch_size, (accelerator.process_index + 1) * recipe.batch_size)
    numbers = range(first * recipe.accumulation, recipe.updates * recipe.accumulation)

    def make(number: int) -> Batch:
        batch = source.batch(source.order(recipe.seed, number * everywhere, everywhere)[mine])
        if recipe.colour_jitter is None:
            return batch
        chances = np.random.default_rng([recipe.seed, number]).random((everywhere, 4), np.float32)[mine]
        return replace(batch, frames=jitter_colours(batch.frames, torch.from_numpy(chances), recipe.colour_jitter))

    for number, batch in zip(numbers, prefetch(make, numbers), strict=True):
        generator = torch.Generator().manual_seed(_batch_seed(recipe.seed, number))
        noise = torch.rand(everywhere, source.window, batch.patches_per_frame, generator=generator)
        yield batch, noise[mine][:, : batch.step_mask.shape[1]][batch.step_mask]


def _batch_seed(seed: int, number: int) -> int:
    """A seed of its own for every batch of every run."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)


def _forward(
    model: torch.nn.Module, batch: Batch, noise: Tensor, recipe: LossRecipe, accelerator: Accelerator
) -> Losses:
    with accelerator.autocast():
        output = model(
            batch.instruction,
            batch.instruction_mask,
            batch.frames,
            batch.actions,
            batch.step_mask,
            action_mask=batch.action_mask,
            mask_noise=noise if recipe.masked_image > 0 else None,
            mask_ratio=recipe.mask_ratio,
        )
    return compute_losses(output, batch, recipe)


def _not_finite(what: str, losses: Losses, batch: Batch, update: int, path: Path) -> UserError:
    means = {"language": losses.language, "masked image": losses.masked_image, "action": losses.action}
    parts = ", ".join(f"{name} {part.mean:.3g}" for name, part in means.items())
    return UserError(
        f"update {update}: the {what} is not finite ({parts}) on episodes {sorted(set(batch.episodes))}; "
        f"the last checkpoint in {path / 'checkpoints'} is kept: lower training.learning_rate and start again"
    )


def _set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value * group["rate"]


@torch.no_grad()
def _evaluate(model: AgentModel, loop: Loop, accelerator: Accelerator) -> dict[str, float]:
    """Losses and accuracy on held-out windows, and what the rollout says. The same windows and masks every time."""
    model.eval()
    scores: dict[str, float] = {}
    source, size = loop.held_out, loop.recipe.batch_size
    count = min(len(source), HELD_OUT_WINDOWS)
    chosen = order(len(source), 0, 0, count) if count else np.zeros(0, np.int64)
    sums: Sums = defaultdict(float)
    for start in range(0, count, size):
        batch = source.batch(chosen[start : start + size]).to(accelerator.device)
        generator = torch.Generator().manual_seed(start)
        noise = torch.rand(int(batch.step_mask.sum()), batch.patches_per_frame, generator=generator)
        losses = _forward(model, batch, noise.to(accelerator.device), loop.losses, accelerator)
        _add(sums, losses, batch)
    if count:
        scores |= {f"held_out/{name}": value for name, value in _means(sums).items()}
    if loop.rollout:
        scores |= loop.rollout(model)
    model.train()
    return scores


def _add(sums: Sums, losses: Losses, batch: Batch) -> None:
    sums["samples"] += len(batch.episodes)
    sums["loss/total"] += losses.total.item() * len(batch.episodes)
    for name, part in (("language", losses.language), ("masked_image", losses.masked_image), ("action", losses.action)):
        sums[f"loss/{name}"] += part.sum.item()
        sums[f"count/{name}"] += part.count
    sums["correct"] += losses.correct


def _means(sums: Mapping[str, float]) -> dict[str, float]:
    parts = {
        f"loss/{name}": sums[f"loss/{name}"] / sums[f"count/{name}"]
        for name in ("language", "masked_image", "action")
        if sums[f"count/{name}"]
    }
    total = sums["loss/total"] / sums["samples"]
    return {"loss/total": total, **parts, "accuracy/action": sums["correct"] / max(1, sums["count/action"])}


class Journal:
    """The curves of a run: TensorBoard scalars, and the same values as metrics.jsonl.

    Going on from update `first` forgets what was written beyond it, so that a resumed journal has no value twice.
    """

    def __init__(self, path: Path, first: int) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._file = path / "metrics.jsonl"
        kept = [line for line in read_metrics(path) if line["update"] <= first]
        self._file.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._tensorboard = SummaryWriter(str(path / "tensorboard"), purge_step=first + 1)
        self._sums: Sums = defaultdict(float)
        self._seconds: Sums = defaultdict(float)
        self._started = 0.0

    def start(self) -> None:
        """The clock of an update starts."""
        self._started = time.perf_counter()

    def lap(self, part: str) -> None:
        """The time since the last lap went into that part; evaluation and checkpoints are no part of an update."""
        now = time.perf_counter()
        self._seconds[part] += now - self._started
        self._started = now

    def add(self, losses: Losses, batch: Batch) -> None:
        """Takes one batch's losses."""
        _add(self._sums, losses, batch)

    def write(self, update: int, rate: float, gradient_norm: float) -> str:
        """Writes the means since the last write; returns a short note for people."""
        values = _means(self._sums)
        whole = sum(self._seconds.values())
        self.write_values(
            update,
            {
                **values,
                "learning_rate": rate,
                "gradient_norm": gradient_norm,
                "targets_per_second": self._sums["count/action"] / whole,
                **{f"time/{part}": seconds / whole for part, seconds in self._seconds.items()},
            },
        )
        note = f"action loss {values['loss/action']:.3f}, accuracy {values['accuracy/action']:.1%}"
        self._sums, self._seconds = defaultdict(float), defaultdict(float)
        return note

    def write_values(self, update: int, values: Mapping[str, float]) -> None:
        """Writes values of an update."""
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, update)
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"update": update, **values}) + "\n")

    def close(self) -> None:
        """Flushes the scalars."""
        self._tensorboard.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; a last line that was cut short is left out."""
    file = path / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _save(accelerator: Accelerator, path: Path, update: int) -> None:
    """A checkpoint that is there whole or not at all; older ones go once it is there."""
    folder = path / "checkpoints" / f"{update:07d}"
    temporary = folder.with_suffix(".tmp")
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        temporary.rename(folder)
        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other)
    accelerator.wait_for_everyone()


def _resume(accelerator: Accelerator, path: Path) -> int:
    """Loads the last whole checkpoint; the update it was made after, 0 when there is none."""
    whole = sorted(folder for folder in (path / "checkpoints").glob("*") if folder.suffix != ".tmp")
    if not whole:
        return 0
    accelerator.load_state(str(whole[-1]))
    return int(whole[-1].name)
