"""Imitation: a run is trained on its recorded dataset, and scored by a few rollouts now and then.

Training resumes where it was interrupted and does nothing that is done.
"""

import io
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from transformers import PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from agentgym import environments
from agentgym.data.store import locate
from agentgym.evaluation.results import RolloutResult
from agentgym.evaluation.rollouts import play_suite
from agentgym.files import replace_bytes, sync_folder, sync_tree, write_json, writing
from agentgym.folders import claimed
from agentgym.model.agent import AgentModel
from agentgym.model.device import describe_device
from agentgym.model.presets import describe_frames
from agentgym.model.sizes import check_training_fits
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.recipes import ExperimentRecipe, SuiteRecipe, load_experiment
from agentgym.training import distributed
from agentgym.training import loop as training_loop
from agentgym.training.checkpoints import seconds_spent
from agentgym.training.datasets import adopt, on_dataset, open_parts
from agentgym.training.distributed import is_first
from agentgym.training.first_model import first_model, window_config_of
from agentgym.training.loop import Loop
from agentgym.training.optimizer import convolves_in_bfloat16, uses_bfloat16
from agentgym.training.run_folder import BUSY, begun, check_same_run, read_training
from agentgym.training.sources import sources_of
from agentgym.training.trackers import chosen_trackers
from agentgym.training.windows import Source, split_episodes
from agentgym.versions import LEARNING, installed_versions

ROLLOUT_SEED = 2_000_000_000  # the periodic evaluation's levels: neither demonstrations nor the final evaluation's

OnProgressWithNote = Callable[[int, str], None]


def train(
    recipe: ExperimentRecipe | str,
    data: str | Path | None = None,
    run: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    processes: int | None = 1,
    overwrite: bool = False,
    on_progress: OnProgressWithNote = lambda count, note: None,
) -> dict[str, Any]:
    """Trains an experiment on its recorded dataset to the last update; returns what training.json then holds.

    `recipe` is a recipe, the name of one that ships, or a TOML file, to which `overrides` ("training.updates=100")
    apply. `data` and `run` are data/NAME and runs/NAME when not given; a folder that another recipe made takes the
    place of the experiment's dataset. The agent is in `run`/model, and `load_policy` reads the run. With several
    `processes` (None: as many as the batch is worth) the others are spawned, which asks for `if __name__ == "__main__"`
    in a script. `on_progress(n, note)` is called after updates. Resumes what was interrupted; with `overwrite` a run
    that is there goes first. Raises UserError when the dataset does not fit, or the run folder holds something else;
    then nothing is deleted or made.
    """
    if isinstance(recipe, str):
        recipe = load_experiment(recipe, overrides)
    recipe = adopt(recipe) if data is None or recipe.parts else on_dataset(recipe, locate(data))
    data = locate(data or recipe.trained_on[0].folder)
    run = Path(run) if run else Path("runs") / recipe.name
    count, first = distributed.choose(processes, recipe.training.batch_size), distributed.is_first()
    if first:
        check_same_run(run, recipe, overwrite=overwrite)
    if overwrite or not (run / "training.json").is_file():
        start = prepare(recipe, data)
        with begun(run, recipe, overwrite=overwrite) if first else nullcontext():
            distributed.wait()
            with distributed.other_processes(count, train_run, recipe, data, run):
                train_run(recipe, data, run, start=start, on_progress=on_progress)
    distributed.wait()
    return read_training(run / "training.json")


@dataclass(frozen=True)
class Start:
    """What a training begins with: the model, its tokenizer, and the windows to train on and those held out."""

    model: AgentModel
    tokenizer: PreTrainedTokenizerFast
    training: Source
    held_out: Mapping[str, Source]


def prepare(recipe: ExperimentRecipe, data: Path) -> Start:
    """What the recipe's training begins with; nothing is written. Raises UserError for whatever cannot be trained."""
    chosen_trackers(recipe.training.trackers)
    parts = open_parts(data, recipe)
    if recipe.training.evaluate_episodes:
        for suite in recipe.suites:
            environments.check_suite(suite)
    torch.manual_seed(recipe.training.seed)
    model, tokenizer = first_model(recipe, parts)
    loop = recipe.training
    check_training_fits(
        model.config,
        windows=loop.batch_size,
        steps=max(min(part.window, int(part.dataset.lengths.max(initial=1))) for part in parts),
        kept_layers=not loop.gradient_checkpointing,
    )
    return Start(model, tokenizer, *sources_of(parts, window_config_of(model, tokenizer)))


def warnings_about(recipe: ExperimentRecipe, data: Path) -> list[str]:
    """A line for each part of whose few episodes its share to hold out is none: it has no held-out curve."""
    found = []
    for part in open_parts(data, adopt(recipe)):
        if part.held_out and not len(split_episodes(part.dataset, part.held_out, part.held_out_hash)[1]):
            found.append(
                f"{part.name}: a share of {part.held_out:g} of its {len(part.dataset)} episodes is none, so nothing is "
                "held out and no curve says how it does on what it has not seen; raise held_out"
            )
    return found


def train_run(
    recipe: ExperimentRecipe,
    data: Path,
    run: Path,
    *,
    start: Start | None = None,
    on_progress: OnProgressWithNote = lambda count, note: None,
) -> None:
    """Trains the recipe's model on a recorded dataset into run/model. Returns at once when that is done.

    `start` is what `prepare` made, where it was called before. Raises UserError while another process trains there.
    """
    if (run / "training.json").is_file():
        return
    start = start or prepare(recipe, data)
    with claimed(run, BUSY) if is_first() else nullcontext():
        _train(recipe, data, run, start, on_progress)


def _train(recipe: ExperimentRecipe, data: Path, run: Path, start: Start, on_progress: OnProgressWithNote) -> None:
    started = time.perf_counter() - seconds_spent(run)
    on_progress(0, describe_frames(start.model.config))
    tokenizer, training, held_out = start.tokenizer, start.training, start.held_out

    def score_now(model: AgentModel, index: int, count: int) -> list[tuple[str, float]]:
        return _periodic_scores(AgentPolicy(model, tokenizer), recipe, index, count)

    rollouts = score_now if recipe.training.evaluate_episodes else None
    loop = Loop(recipe.training, recipe.losses, training, held_out, run, rollouts)
    model = training_loop.train(start.model, loop, on_progress=on_progress)
    if not PartialState().is_main_process:
        return
    disable_progress_bar()  # the bar of this command is the only one
    temporary = run / "model.tmp"
    with writing(run / "model"):
        shutil.rmtree(temporary, ignore_errors=True)
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        sync_tree(temporary)
        shutil.rmtree(run / "model", ignore_errors=True)
        temporary.rename(run / "model")
        sync_folder(run)
    _save_reconstructions(model, next(iter(held_out.values()), training), recipe, run)
    windows = recipe.training.updates * recipe.training.accumulation * recipe.training.batch_size
    write_json(
        run / "training.json",
        {
            "updates": recipe.training.updates,
            "windows": windows,
            "targets": int(windows * training.targets_per_window),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "seconds": round(time.perf_counter() - started, 1),
            "frames": describe_frames(model.config),
            "precision": _precision(recipe, model),
            "data": str(data),
            "device": describe_device(model.device),
            "versions": installed_versions(LEARNING),
        },
    )


def _precision(recipe: ExperimentRecipe, model: AgentModel) -> str:
    """What the matrix products of training were in."""
    if uses_bfloat16(recipe.training.precision, model.width):
        return "bfloat16"
    mixed = model.vision_encoder.stem is not None and convolves_in_bfloat16(recipe.training.precision)
    return "float32, convolutions in bfloat16" if mixed else "float32"


def _periodic_scores(policy: AgentPolicy, recipe: ExperimentRecipe, index: int, count: int) -> list[tuple[str, float]]:
    """The scores on every `count`-th of a few fixed levels of each task, by the name of their curve."""
    seeds = range(ROLLOUT_SEED, ROLLOUT_SEED + recipe.training.evaluate_episodes)[index::count]
    deterministic = recipe.evaluation.deterministic
    return [
        score
        for suite in recipe.suites
        for episode in play_suite(policy, suite, seeds, num_environments=32, deterministic=deterministic)
        for score in _scores_of(episode, suite, recipe.suites)
    ]


def _scores_of(
    episode: RolloutResult, suite: SuiteRecipe, suites: Sequence[SuiteRecipe]
) -> Iterator[tuple[str, float]]:
    """An episode's success where its task says what that is, else its return; one curve for all, and one for each.

    Of a task that may say it, both: whether it ever does is known once an episode has succeeded.
    """
    task = suite.task(episode.task)
    if environments.declares_success(task):
        yield "success_rate", float(episode.success)
        if len(suites) > 1:
            yield f"success_rate/{suite.name}", float(episode.success)
        return
    # the returns of different tasks have no common mean
    own = f"/{episode.task}" if sum(len(each.tasks) for each in suites) > 1 else ""
    yield f"return{own}", episode.total_reward
    if environments.defines_success(task):
        yield f"success_rate{own}", float(episode.success)


@torch.inference_mode()
def _save_reconstructions(model: AgentModel, source: Source, recipe: ExperimentRecipe, run: Path) -> None:
    """Eight frames, their masked input and the autoencoder's reconstruction of the masked patches, as arrays."""
    model.eval()
    batch = source.batch(np.arange(min(8, len(source))))
    patches = model.vision_encoder.patchify(batch.frames[:, 0].to(model.device))
    noise = torch.rand(patches.shape[:2], generator=torch.Generator().manual_seed(0)).to(model.device)
    result = model.reconstruct(patches, noise, recipe.losses.mask_ratio)
    hidden = result.masked[..., None]
    masked = model.vision_encoder.unpatchify(patches.masked_fill(hidden, 0.0))
    predicted = model.vision_encoder.unpatchify(torch.where(hidden, result.predicted, patches))
    frames = model.vision_encoder.unpatchify(patches)  # at the size that the encoder sees
    arrays = [row.cpu().numpy() for row in (frames, masked, predicted)]
    content = io.BytesIO()
    np.savez_compressed(content, frames=arrays[0], masked=arrays[1], predicted=arrays[2])
    replace_bytes(run / "reconstructions.npz", content.getbuffer())
