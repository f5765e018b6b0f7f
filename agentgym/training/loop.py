"""One training loop on Accelerate: optimizers, warm-up, cosine, checkpoints; a resumed run equals an uninterrupted one.

It knows neither Gymnasium nor text: batches of windows come in, a trained model and its curves come out. Everything
random is a function of (seed, place of the window), so that a checkpoint needs weights and optimiser alone. Several
processes share every batch of the recipe and every evaluation, so that their number changes nothing but the time.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import DistributedType, GradientAccumulationPlugin, gather_object
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from agentgym.errors import UserError, first_line
from agentgym.files import sync_folder, sync_tree, writing
from agentgym.model.agent import AgentModel
from agentgym.recipes import LossRecipe, TrainingRecipe
from agentgym.training.allocator import keep_freed_memory
from agentgym.training.augmentation import draw, jitter_colours
from agentgym.training.distributed import forget_accelerator, is_first
from agentgym.training.forward import forward, read_windows, some_windows
from agentgym.training.losses import Losses
from agentgym.training.metrics import MetricAccumulator, MetricLogger, StepTimer, read_metrics
from agentgym.training.optimizer import learning_rate, optimizers_of, uses_bfloat16
from agentgym.training.trackers import make_trackers
from agentgym.training.windows import Batch, Source, prefetch

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
    """The model after `recipe.updates` updates, going on from the last checkpoint in the run folder.

    Raises UserError, on every process, when a loss or a gradient is not finite, naming the update and the episodes of
    the batch; the last checkpoint stays. `on_progress(n, note)` is called after updates.
    """
    recipe = loop.recipe
    keep_freed_memory()
    bfloat16 = uses_bfloat16(recipe.precision, model.width)
    accelerator = _accelerator(loop, bfloat16)
    if recipe.gradient_checkpointing:
        model.activation_checkpointing_enable()
    if accelerator.distributed_type == DistributedType.FSDP:  # the table stays with the model: the output reads it too
        model.get_input_embeddings = _nothing  # type: ignore[method-assign, assignment]
    model, *optimizers = accelerator.prepare(model, *optimizers_of(model, recipe, bfloat16=bfloat16))
    step = torch.compile(model, dynamic=True) if recipe.compile else model
    first = _resume(accelerator, loop.path)
    unscored = first > 0 and _evaluates(first, recipe) and not _is_scored(loop.path, first)
    accelerator.wait_for_everyone()
    logger = MetricLogger(accelerator, loop.path, first) if accelerator.is_main_process else None
    if unscored:  # the run ended between a checkpoint and its evaluation
        scores = _evaluate(_whole(model, accelerator), loop, accelerator)
        if logger:
            logger.write(first, scores)
    metrics, timer = MetricAccumulator(), StepTimer()
    on_progress(first, "")

    batches = _batches(loop, accelerator, first)
    model.train()
    for update in range(first + 1, recipe.updates + 1):
        timer.start()
        rate = learning_rate(update, recipe)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["rate"]
        for micro in range(recipe.accumulation):
            batch, noise = next(batches)
            batch, noise = batch.to(accelerator.device), noise.to(accelerator.device)
            timer.lap("batch")
            _, losses = forward(step, batch, noise, loop.losses, accelerator.autocast)
            metrics.add(losses, len(batch.episodes))
            timer.lap("forward")
            last = micro == recipe.accumulation - 1
            with nullcontext() if last else accelerator.no_sync(model):
                accelerator.backward(losses.total / recipe.accumulation)
            timer.lap("backward")
        gradient_norm = accelerator.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
        if not torch.isfinite(gradient_norm):  # before the weights have it, and a checkpoint the weights
            raise _not_finite(losses, batch, update, loop.path)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        timer.lap("optimizer")

        note = ""
        if update % recipe.log_every == 0 or update == recipe.updates:
            means = _means_of_all(metrics, accelerator)
            note = f"action loss {means['loss/action']:.3f}, accuracy {means['accuracy/action']:.1%}"
            if logger:
                targets = metrics.targets * accelerator.num_processes
                moved = {"learning_rate": rate, "gradient_norm": float(gradient_norm)}
                logger.write(update, {**means, **moved, **timer.rates(targets)})
            metrics, timer = MetricAccumulator(), StepTimer()
        if update % recipe.checkpoint_every == 0 or update == recipe.updates:
            _save(accelerator, loop.path, update)
        if _evaluates(update, recipe):  # after the checkpoint: what fails here is not lost there
            scores = _evaluate(_whole(model, accelerator), loop, accelerator)
            if logger:
                logger.write(update, scores)
        on_progress(1, note)
    if logger:
        logger.close()
    return _whole(model, accelerator)


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


def _batches(loop: Loop, accelerator: Accelerator, first: int) -> Iterator[tuple[Batch, Tensor]]:
    """This process's share of every batch from update `first` on, with the noise that decides which patches are masked.

    The windows of an update go into its batches by length, so that few steps are padded, and every process has some of
    each length. Noise and jitter belong to a window's place in the order. So neither the number of processes nor how an
    update is cut into batches changes the update.
    """
    recipe, source = loop.recipe, loop.source
    numbers = range(first * recipe.accumulation, recipe.updates * recipe.accumulation)

    def make(number: int) -> tuple[Batch, Tensor]:
        update, micro = divmod(number, recipe.accumulation)
        windows = recipe.accumulation * recipe.batch_size
        chosen = source.order(recipe.seed, update * windows, windows)
        by_length = source.steps(chosen).argsort(kind="stable").reshape(recipe.accumulation, recipe.batch_size)
        mine = by_length[micro, accelerator.process_index :: accelerator.num_processes]
        batch = source.batch(chosen[mine])
        noise, colours = draw(batch, recipe.seed, update * windows + mine)
        if recipe.colour_jitter is None:
            return batch, noise
        return replace(batch, frames=jitter_colours(batch.frames, colours, recipe.colour_jitter)), noise

    return prefetch(make, numbers, workers=recipe.loader_workers)


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
    """Losses and accuracy on held-out windows, of all and part by part, and what the rollouts say.

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


def _save(accelerator: Accelerator, path: Path, update: int) -> None:
    """A checkpoint that is there whole or not at all; older ones go once it is there."""
    folder = path / "checkpoints" / f"{update:07d}"
    temporary = folder.with_suffix(".tmp")
    with writing(folder):
        if accelerator.is_main_process:
            shutil.rmtree(temporary, ignore_errors=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(temporary))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            sync_tree(temporary)
            shutil.rmtree(folder, ignore_errors=True)  # one that could not be read
            temporary.rename(folder)
            sync_folder(folder.parent)
            for other in _checkpoints(path):
                if other != folder:
                    shutil.rmtree(other)
    accelerator.wait_for_everyone()


def _checkpoints(path: Path) -> list[Path]:
    """The checkpoints of a run, whole and begun ones; what else lies there is none."""
    found = (path / "checkpoints").glob("*")
    return sorted(each for each in found if each.is_dir() and re.fullmatch(r"\d{7,}(\.tmp)?", each.name))


def _resume(accelerator: Accelerator, path: Path) -> int:
    """Loads the last whole checkpoint; the update it was made after, 0 when there is none."""
    whole = [folder for folder in _checkpoints(path) if folder.suffix != ".tmp"]
    if not whole:
        return 0
    try:
        accelerator.load_state(str(whole[-1]))
    except Exception as error:  # a damaged file raises whatever its reader raises
        raise UserError(
            f"{whole[-1]}: the checkpoint cannot be read ({first_line(error)}); delete this folder, and training "
            "begins again"
        ) from error
    return int(whole[-1].name)
