"""One training loop on Accelerate: optimizers, warm-up, cosine, checkpoints; a resumed run equals an uninterrupted one.

It knows neither Gymnasium nor text: batches of windows come in, a trained model and its curves come out. Everything
random is a function of (seed, place of the window), so that a checkpoint needs only weights and optimiser. Several
processes share every batch of the recipe and every evaluation, so that their number changes nothing but the time.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import DistributedType, GradientAccumulationPlugin, gather_object
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from agentgym.errors import UserError
from agentgym.model.agent import AgentModel
from agentgym.model.output import AgentOutput
from agentgym.recipes import LossRecipe, TrainingRecipe
from agentgym.training.allocator import keep_freed_memory
from agentgym.training.batches import batches_of
from agentgym.training.checkpoints import resume, save_checkpoint, seconds_spent
from agentgym.training.distributed import forget_accelerator, is_first
from agentgym.training.forward import forward, read_windows, some_windows
from agentgym.training.losses import Losses
from agentgym.training.metrics import MetricAccumulator, MetricLogger, StepTimer, read_metrics
from agentgym.training.optimizer import convolves_in_bfloat16, learning_rate, optimizers_of, uses_bfloat16
from agentgym.training.trackers import make_trackers
from agentgym.training.windows import Batch, Source

HELD_OUT_WINDOWS = 256  # of all parts together: enough for two digits of accuracy, in seconds
FEWEST_WINDOWS = 64  # of a part

Rollout = Callable[[AgentModel, int, int], Sequence[tuple[str, float]]]
"""rollout(model, index, count): the scores of the levels index, index + count, ...: one process's share of them.

A score is a value and the name of the curve that it belongs to, whose point is the mean of all of its values.
"""


@dataclass(frozen=True)
class Loop:
    """What a training run works with."""

    recipe: TrainingRecipe
    losses: LossRecipe
    source: Source
    held_out: Mapping[str, Source]  # by the name of the part
    path: Path  # the run folder: checkpoints/, metrics.jsonl and what trackers keep go there
    rollout: Rollout | None = None  # scores the model now and then


def train(
    model: AgentModel, loop: Loop, *, on_progress: Callable[[int, str], None] = lambda count, note: None
) -> AgentModel:
    """The model after `recipe.updates` updates, resumed from the last checkpoint in the run folder.

    Raises UserError, on every process, when a loss or a gradient is not finite, naming the update and the episodes of
    the batch; the last checkpoint stays. `on_progress(n, note)` is called after updates.
    """
    recipe = loop.recipe
    began = time.perf_counter() - seconds_spent(loop.path)
    updater, first = _prepare(model, loop)
    accelerator, model = updater.accelerator, updater.model
    unscored = first > 0 and _evaluates(first, recipe) and not _is_scored(loop.path, first)
    accelerator.wait_for_everyone()
    logger = MetricLogger(accelerator, loop.path, first) if accelerator.is_main_process else None
    if unscored:  # the run ended between a checkpoint and its evaluation
        scores = _evaluate(_whole(model, accelerator), loop, accelerator)
        if logger:
            logger.write(first, scores)
    metrics, timer = MetricAccumulator(), StepTimer()
    on_progress(first, "")

    model.train()
    for update in range(first + 1, recipe.updates + 1):
        rate = learning_rate(update, recipe)
        gradient_norm = updater.update(update, rate, metrics, timer)
        note = ""
        if update % recipe.log_every == 0 or update == recipe.updates:
            means = _means_of_all(metrics, accelerator)
            note = f"action loss {means['loss/action']:.3f}, accuracy {means['accuracy/action']:.1%}"
            if logger:
                targets = metrics.targets * accelerator.num_processes
                moved = {"learning_rate": rate, "gradient_norm": gradient_norm}
                logger.write(update, {**means, **moved, **timer.rates(targets)})
            metrics, timer = MetricAccumulator(), StepTimer()
        if update % recipe.checkpoint_every == 0 or update == recipe.updates:
            save_checkpoint(accelerator, loop.path, update, time.perf_counter() - began)
        if _evaluates(update, recipe):  # after the checkpoint: what fails here is not lost there
            scores = _evaluate(_whole(model, accelerator), loop, accelerator)
            if logger:
                logger.write(update, scores)
        on_progress(1, note)
    if logger:
        logger.close()
    return _whole(model, accelerator)


@dataclass(frozen=True)
class Updater:
    """Makes the updates of a training on this process: `step` is the model, compiled where the recipe says so."""

    loop: Loop
    accelerator: Accelerator
    model: AgentModel
    step: Callable[..., AgentOutput]
    optimizers: Sequence[AcceleratedOptimizer]
    batches: Iterator[tuple[Batch, Tensor]]

    def update(self, number: int, rate: float, metrics: MetricAccumulator, timer: StepTimer) -> float:
        """One update of the weights; the norm of the gradient. Raises UserError when that is not finite."""
        accelerator, accumulation = self.accelerator, self.loop.recipe.accumulation
        windows = accumulation * self.loop.recipe.batch_size // accelerator.num_processes  # of this process
        timer.start()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["rate"]
        for micro in range(accumulation):
            batch, noise = next(self.batches)
            batch, noise = batch.to(accelerator.device), noise.to(accelerator.device)
            timer.lap("batch")
            _, losses = forward(self.step, batch, noise, self.loop.losses, accelerator.autocast)
            metrics.add(losses, len(batch.episodes))
            timer.lap("forward")
            last = micro == accumulation - 1
            with nullcontext() if last else accelerator.no_sync(self.model):
                accelerator.backward(losses.total * (len(batch.episodes) / windows))
            timer.lap("backward")
        gradient_norm = accelerator.clip_grad_norm_(self.model.parameters(), self.loop.recipe.gradient_clip)
        if not torch.isfinite(gradient_norm):  # before the weights have it, and a checkpoint the weights
            raise _not_finite(losses, batch, number, self.loop.path)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        timer.lap("optimizer")
        return float(gradient_norm)


def _prepare(model: AgentModel, loop: Loop) -> tuple[Updater, int]:
    """The updater, resumed from the last checkpoint, and the number of that checkpoint's update."""
    recipe = loop.recipe
    keep_freed_memory()
    bfloat16 = uses_bfloat16(recipe.precision, model.width)
    accelerator = _accelerator(loop, bfloat16)
    if model.vision_encoder.stem is not None:
        model.vision_encoder.stem.trains_in_bfloat16 = convolves_in_bfloat16(recipe.precision)
    if recipe.gradient_checkpointing:
        model.activation_checkpointing_enable()
    if accelerator.distributed_type == DistributedType.FSDP:  # the table stays with the model: the output reads it too
        model.get_input_embeddings = _nothing  # type: ignore[method-assign, assignment]
    model, *optimizers = accelerator.prepare(model, *optimizers_of(model, recipe, bfloat16=bfloat16))
    step = torch.compile(model, dynamic=True) if recipe.compile else model
    first = resume(accelerator, loop.path)
    batches = batches_of(
        recipe, loop.source, first=first, process=accelerator.process_index, processes=accelerator.num_processes
    )
    return Updater(loop, accelerator, model, step, optimizers, batches), first


def _evaluates(update: int, recipe: TrainingRecipe) -> bool:
    return update % recipe.evaluate_every == 0 or update == recipe.updates


def _is_scored(path: Path, update: int) -> bool:
    """Whether the curves have the scores of that update."""
    return any(
        line["update"] == update and any(name.startswith(("held_out/", "rollout/")) for name in line)
        for line in read_metrics(path)
    )


def _accelerator(loop: Loop, bfloat16: bool) -> Accelerator:
    """Raises UserError when the processes cannot share a batch evenly."""
    forget_accelerator()  # one process may train twice with different precisions
    unused = loop.losses.masked_image == 0  # then the decoder has no gradient to wait for
    sharing = DistributedDataParallelKwargs(find_unused_parameters=unused)
    accelerator = Accelerator(
        mixed_precision="bf16" if bfloat16 else "no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),  # said, so that no variable changes it
        kwargs_handlers=[sharing],
        log_with=make_trackers(loop.recipe.trackers, loop.path) if is_first() else None,
    )
    if loop.recipe.batch_size % accelerator.num_processes:
        raise UserError(
            f"training.batch_size is {loop.recipe.batch_size}, which {accelerator.num_processes} processes cannot "
            "share evenly; choose a multiple"
        )
    if loop.recipe.optimizer == "muon" and accelerator.distributed_type == DistributedType.FSDP:
        raise UserError(
            "training.optimizer 'muon' needs whole weight matrices, of which FSDP gives each process a share; "
            "set training.optimizer to 'adamw'"
        )
    return accelerator


def _nothing() -> None:
    """Nothing, where a function is asked for."""


def _whole(model: torch.nn.Module, accelerator: Accelerator) -> AgentModel:
    """The model with all its weights, on every process: itself, or a copy where FSDP has sharded them."""
    unwrapped: AgentModel = accelerator.unwrap_model(model)
    if accelerator.distributed_type != DistributedType.FSDP:
        return unwrapped
    weights = get_model_state_dict(unwrapped, options=StateDictOptions(full_state_dict=True))
    whole = AgentModel(unwrapped.config).to(accelerator.device)
    whole.load_state_dict(weights)
    return whole


def _not_finite(losses: Losses, batch: Batch, update: int, path: Path) -> UserError:
    what = "gradient" if torch.isfinite(losses.total) else "loss"
    means = {"language": losses.language, "masked image": losses.masked_image, "action": losses.action}
    parts = ", ".join(f"{name} {part.mean:.3g}" for name, part in means.items())
    return UserError(
        f"update {update}: the {what} is not finite ({parts}) on episodes {sorted(set(batch.episodes))}; "
        f"the last checkpoint in {path / 'checkpoints'} is kept: lower training.learning_rate and start again"
    )


def _means_of_all(metrics: MetricAccumulator, accelerator: Accelerator) -> dict[str, float]:
    """The means over what all processes have seen."""
    return MetricAccumulator.means(_sum_of_all(metrics.values(), accelerator))


def _sum_of_all(values: Tensor, accelerator: Accelerator) -> Tensor:
    """The sum over all processes, on the host; float64 goes to no device where there is one process."""
    if accelerator.num_processes == 1:
        return values
    return accelerator.reduce(values.to(accelerator.device), reduction="sum").cpu()


def _evaluate(model: AgentModel, loop: Loop, accelerator: Accelerator) -> dict[str, float]:
    """Losses and accuracy on held-out windows, of all and part by part, and the scores of the rollouts.

    A name ends in /PART or /TASK where there is more than one.
    """
    model.eval()
    scores: dict[str, float] = {}
    share = accelerator.process_index, accelerator.num_processes
    count = max(FEWEST_WINDOWS, HELD_OUT_WINDOWS // max(1, len(loop.held_out)))
    whole = MetricAccumulator().values()
    for part, source in loop.held_out.items():
        metrics = MetricAccumulator()
        for batch, _, losses in read_windows(
            model,
            source,
            some_windows(source, count),
            loop.losses,
            size=loop.recipe.batch_size,
            device=accelerator.device,
            autocast=accelerator.autocast,
            share=share,
        ):
            metrics.add(losses, len(batch.episodes))
        values = _sum_of_all(metrics.values(), accelerator)
        whole = whole + values
        if len(loop.held_out) > 1:
            scores |= {f"held_out/{name}/{part}": value for name, value in MetricAccumulator.means(values).items()}
    if loop.held_out:
        scores |= {f"held_out/{name}": value for name, value in MetricAccumulator.means(whole).items()}
    if loop.rollout:
        played: dict[str, list[float]] = {}
        for name, value in gather_object(list(loop.rollout(model, *share))):
            played.setdefault(name, []).append(value)
        scores |= {f"rollout/{name}": float(np.mean(values)) for name, values in played.items()}
    model.train()
    return scores
