"""Imitation: a run is trained on its recorded dataset, and scored by a few rollouts now and then.

Training resumes where it was interrupted and does nothing that is done.
"""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from pydantic import ValidationError
from transformers.utils.logging import disable_progress_bar

from agentgym.data.store import EpisodeDataset
from agentgym.errors import UserError
from agentgym.evaluation.rollouts import rollout
from agentgym.files import read_json, write_json
from agentgym.model.agent import AgentModel
from agentgym.model.presets import describe_frames
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.recipes import DatasetRecipe, ExperimentRecipe, load_experiment
from agentgym.training import distributed
from agentgym.training import loop as training_loop
from agentgym.training.datasets import open_parts, sources_of
from agentgym.training.first_model import first_model, window_config_of
from agentgym.training.loop import Loop
from agentgym.training.optimizer import uses_bfloat16
from agentgym.training.run_folder import open_run
from agentgym.training.windows import Source
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
    on_progress: OnProgressWithNote = lambda count, note: None,
) -> dict[str, Any]:
    """Trains an experiment on its recorded dataset to the last update; returns what training.json then holds.

    `recipe` is a recipe, the name of one that ships, or a TOML file, to which `overrides` ("training.updates=100")
    apply. `data` and `run` are data/NAME and runs/NAME when not given; the agent is in `run`/model, and `load_policy`
    reads the run. With several `processes` (None: as many as the batch is worth) the others are spawned, which asks for
    `if __name__ == "__main__"` in a script. `on_progress(n, note)` is called after updates. Resumes what was
    interrupted. Raises UserError when the dataset does not fit, or the run folder holds something else.
    """
    if isinstance(recipe, str):
        recipe = load_experiment(recipe, overrides)
    data = Path(data) if data else Path("data") / recipe.dataset.name
    run = Path(run) if run else Path("runs") / recipe.name
    count = distributed.choose(processes, recipe.training.batch_size)
    if distributed.is_first():
        open_run(run, recipe)
    if not (run / "training.json").is_file():
        with distributed.beside(count, train_run, recipe, data, run):
            train_run(recipe, data, run, on_progress=on_progress)
    distributed.wait()
    result: dict[str, Any] = read_json(run / "training.json")
    return result


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
    model = training_loop.train(model, loop, on_progress=on_progress)
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
    patches = model.vision.patchify(batch.frames[:, 0].to(model.device))
    noise = torch.rand(patches.shape[:2], generator=torch.Generator().manual_seed(0)).to(model.device)
    result = model.reconstruct(patches, noise, recipe.losses.mask_ratio)
    hidden = result.masked[..., None]
    masked = model.vision.unpatchify(patches.masked_fill(hidden, 0.0))
    predicted = model.vision.unpatchify(torch.where(hidden, result.predicted, patches))
    frames = model.vision.unpatchify(patches)  # at the size that the encoder sees
    arrays = [row.cpu().numpy() for row in (frames, masked, predicted)]
    np.savez_compressed(run / "reconstructions.npz", frames=arrays[0], masked=arrays[1], predicted=arrays[2])
