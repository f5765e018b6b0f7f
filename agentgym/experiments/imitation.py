"""Imitation: a run is trained on its recorded dataset, and scored by a few rollouts now and then.

Training resumes where it was interrupted and does nothing that is done.
"""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from pydantic import ValidationError
from transformers.utils.logging import disable_progress_bar

from agentgym.data.store import EpisodeDataset
from agentgym.errors import UserError
from agentgym.evaluation.rollouts import rollout
from agentgym.files import write_json
from agentgym.model.agent import AgentModel
from agentgym.model.presets import describe_frames
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.recipes import DatasetRecipe, ExperimentRecipe
from agentgym.training.datasets import open_parts, sources_of
from agentgym.training.first_model import first_model, window_config_of
from agentgym.training.loop import Loop, train
from agentgym.training.optimizer import uses_bfloat16
from agentgym.training.windows import Source
from agentgym.versions import LEARNING, installed_versions

ROLLOUT_SEED = 2_000_000_000  # the periodic evaluation's levels: neither demonstrations nor the final evaluation's

OnProgressWithNote = Callable[[int, str], None]


def train_run(
    recipe: ExperimentRecipe, data: Path, run: Path, *, on_progress: OnProgressWithNote = lambda count, note: None
) -> None:
    """Trains the recipe's model on a recorded dataset into run/model. Returns at once when that is done."""
    if (run / "training.json").is_file():
        return
    parts = open_parts(data, recipe)
    started = time.perf_counter()
    torch.manual_seed(recipe.training.seed)
    model, tokenizer = first_model(recipe, parts)
    on_progress(0, describe_frames(model.config))
    reading = window_config_of(model, tokenizer)
    training, testing = sources_of(parts, recipe.dataset.held_out, reading)

    def score_now(model: AgentModel, index: int, count: int) -> list[float]:
        return _periodic_score(AgentPolicy(model, tokenizer), recipe, index, count)

    rollouts = score_now if recipe.training.evaluate_episodes else None
    loop = Loop(recipe.training, recipe.losses, training, testing, run, rollouts)
    model = train(model, loop, on_progress=on_progress)
    if not PartialState().is_main_process:
        return
    temporary = run / "model.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    disable_progress_bar()  # the bar of this command is the only one
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(run / "model", ignore_errors=True)
    temporary.rename(run / "model")
    _save_reconstructions(model, testing if len(testing) else training, recipe, run)
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
            "precision": "bfloat16" if uses_bfloat16(recipe.training.precision, model.width) else "float32",
            "data": str(data),
            "versions": installed_versions(LEARNING),
        },
    )


def adopt_dataset(recipe: ExperimentRecipe, data: Path) -> ExperimentRecipe:
    """The experiment on the dataset in that folder, whatever made it: recorded, merged, selected or imported.

    Its own recipe takes the place of the experiment's `dataset`, held_out and suite among it, so that the run says what
    it was trained on. Raises UserError when it has none that can be played.
    """
    recorded = EpisodeDataset(data).header.recipe
    try:
        return recipe.model_copy(update={"dataset": DatasetRecipe.model_validate_json(json.dumps(recorded))})
    except ValidationError:
        raise UserError(f"{data}: says neither suite nor expert, so nothing can be trained on it here") from None


def _periodic_score(policy: AgentPolicy, recipe: ExperimentRecipe, index: int, count: int) -> list[float]:
    """Who succeeded of every `count`-th of a few levels of each task, the same ones every time."""
    seeds = range(ROLLOUT_SEED, ROLLOUT_SEED + recipe.training.evaluate_episodes)[index::count]
    return [
        float(episode.success)
        for task in recipe.dataset.suite.tasks
        for episode in rollout(
            policy,
            task,
            frame=recipe.dataset.suite.frame,
            seeds=seeds,
            num_environments=min(32, len(seeds)),
            deterministic=recipe.evaluation.deterministic,
        )
    ]


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
    np.savez_compressed(run / "reconstructions.npz", frames=arrays[0], masked=arrays[1], predicted=arrays[2])
