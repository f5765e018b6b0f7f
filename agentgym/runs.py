"""The run folder and its training, as functions of folders; `agentgym.evaluation` adds the scores.

    runs/NAME/recipe.json        the resolved recipe            runs/NAME/model/          the checkpoint
    runs/NAME/metrics.jsonl      the curves                     runs/NAME/training.json   what the training was
    runs/NAME/evaluation.json    the scores                     runs/NAME/episodes.json   the episodes behind them
    runs/NAME/videos/            films of some of them          runs/NAME/report.html     all of it as a page

Training goes on where it was interrupted and does nothing that is done.
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
from transformers import PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from agentgym import environments, pictures
from agentgym.collection import make_header
from agentgym.errors import UserError
from agentgym.model.adapting import with_domains
from agentgym.model.agent import AgentModel, load_agent
from agentgym.model.presets import make_config
from agentgym.model.pretrained import read_parts
from agentgym.model.tokenizer import load_tokenizer, tokenize, train_tokenizer
from agentgym.optimisation import uses_bfloat16
from agentgym.parts import Part, Reading, alike, domains_of, open_parts, sources_of, tokens_of
from agentgym.policy import AgentPolicy, find_checkpoint
from agentgym.recipes import DatasetRecipe, ExperimentRecipe, differences
from agentgym.rollouts import rollout
from agentgym.store import Header, SampleDataset, replace_file
from agentgym.training import Loop, train
from agentgym.windows import Source

ROLLOUT_SEED = 2_000_000_000  # the periodic evaluation's levels: neither demonstrations nor the final evaluation's

AdvanceWithNote = Callable[[int, str], None]


def open_run(run: Path, recipe: ExperimentRecipe) -> None:
    """The run folder with its recipe. Raises UserError when it holds another recipe's run or something else."""
    file = run / "recipe.json"
    values = recipe.model_dump(mode="json")
    if file.is_file():
        changed = differences(read_json(file), values)
        if changed:
            raise UserError(
                f"{run}: holds a run of another recipe ({changed[0]}); choose another folder or --overwrite"
            )
    elif run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise UserError(f"{run}: exists and is no run; choose another folder or --overwrite")
    else:
        run.mkdir(parents=True, exist_ok=True)
        write_json(file, values)


def read_recipe(run: Path) -> ExperimentRecipe:
    """The recipe of a run folder. Raises UserError when it is no run."""
    if not (run / "recipe.json").is_file():
        raise UserError(f"{run}: is no run folder (no recipe.json); 'agentgym train EXPERIMENT' makes one in runs/NAME")
    return ExperimentRecipe.model_validate(read_json(run / "recipe.json"))


def train_run(
    recipe: ExperimentRecipe, data: Path, run: Path, *, advance: AdvanceWithNote = lambda count, note: None
) -> None:
    """Trains the recipe's model on a recorded dataset into run/model. Returns at once when that is done."""
    if (run / "training.json").is_file():
        return
    parts = open_parts(data, recipe)
    started = time.perf_counter()
    torch.manual_seed(recipe.training.seed)
    model, tokenizer = first_model(recipe, parts)
    reading = reading_of(model, tokenizer)
    training, testing = sources_of(parts, recipe.dataset.held_out, reading)

    def score_now(model: AgentModel, index: int, count: int) -> list[float]:
        return _periodic_score(AgentPolicy(model, tokenizer), recipe, index, count)

    rollouts = score_now if recipe.training.evaluate_episodes else None
    loop = Loop(recipe.training, recipe.losses, training, testing, run, rollouts)
    model = train(model, loop, advance=advance)
    if not PartialState().is_main_process:
        return
    temporary = run / "model.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    disable_progress_bar()  # the bar of this command is the only one
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(run / "model", ignore_errors=True)
    temporary.rename(run / "model")
    _picture_reconstructions(model, testing if len(testing) else training, recipe, run)
    windows = recipe.training.updates * recipe.training.accumulation * recipe.training.batch_size
    write_json(
        run / "training.json",
        {
            "updates": recipe.training.updates,
            "windows": windows,
            "targets": int(windows * training.targets_per_window),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "seconds": round(time.perf_counter() - started, 1),
            "precision": "bfloat16" if uses_bfloat16(recipe.training.precision) else "float32",
            "data": str(data),
            "versions": all_versions(),
        },
    )


def first_model(recipe: ExperimentRecipe, parts: Sequence[Part]) -> tuple[AgentModel, PreTrainedTokenizerFast]:
    """The model that training starts with, and its tokenizer: from scratch, of published parts, or a trained agent.

    Raises UserError when what it starts from does not fit the parts.
    """
    init, first = recipe.model.init, _own_header(recipe, parts)
    height, width, _ = first.frame_shape
    side = recipe.model.frame_side or height
    if height != width and not recipe.model.frame_side:
        raise UserError(
            f"{recipe.dataset.name}: frames are {height}x{width}; the visual encoder takes square ones: "
            "set model.frame_side"
        )
    if init and init.agent:
        return _adapted(init.agent, parts, first, side)
    published = read_parts(init.vision, init.language) if init and init.vision and init.language else None
    tokens = tokens_of(parts, first)
    texts = [text for part in parts for text in (*part.dataset.column("instruction"), *part.prompts)]
    tokenizer = published.tokenizer(tokens) if published else train_tokenizer(texts, tokens)
    num_text_tokens = len(tokenizer) - len(tokens)
    config = make_config(
        recipe.model.preset,
        num_text_tokens=num_text_tokens,
        instruction_tokens=environments.INSTRUCTION_BYTES,
        domains=domains_of(parts, first, num_text_tokens),
        frame_side=side,
        patch_merge=recipe.model.patch_merge,
        temporal_attention=recipe.model.temporal_attention,
        instruction_attention=recipe.model.instruction_attention,
        parts=published.configs if published else None,
    )
    model = AgentModel(config)
    if published:
        published.copy_into(model)
    return model, tokenizer


def reading_of(model: AgentModel, tokenizer: PreTrainedTokenizerFast) -> Reading:
    """How parts become windows of that model."""
    return Reading(
        tokenize=lambda text: tokenize(tokenizer, text),
        tokens=tuple(model.config.action_tokens or ()),
        num_text_tokens=model.config.num_text_tokens,
        patches_per_frame=model.vision.num_patches,
        frame_side=model.frame_side,
    )


def _own_header(recipe: ExperimentRecipe, parts: Sequence[Part]) -> Header:
    """The header of the part that is of the recipe's own suite; there is one (see `open_parts`)."""
    own = make_header(recipe.dataset)
    return next(part.dataset.header for part in parts if alike(part.dataset.header, own))


def _adapted(agent: str, parts: Sequence[Part], first: Header, side: int) -> tuple[AgentModel, PreTrainedTokenizerFast]:
    """A trained agent that goes on with those parts; what it could play it still can."""
    folder = find_checkpoint(agent)
    model = load_agent(folder)
    domains = domains_of(parts, first, model.config.num_text_tokens)
    window = max(domain.window for domain in domains)
    if (model.frame_side, model.config.window) != (side, window):
        raise UserError(
            f"{agent}: sees {model.config.window} frames of {model.frame_side} pixels; "
            f"this recipe has {window} of {side}"
        )
    return with_domains(model, load_tokenizer(folder), domains)


def all_versions() -> dict[str, str]:
    """The versions of everything that decides a result."""
    return environments.versions(("minigrid", "torch", "transformers", "accelerate"))


def read_json(file: Path) -> Any:
    """The values of a JSON file. Raises UserError when it is cut short."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{file}: is no whole JSON file; delete it, the stage that writes it makes it again") from None


def write_json(file: Path, values: Any) -> None:
    """Writes a JSON file that is there whole or not at all."""
    replace_file(file, json.dumps(values, indent=1) + "\n")


def adopt_dataset(recipe: ExperimentRecipe, data: Path) -> ExperimentRecipe:
    """The experiment on the dataset in that folder, whatever made it: recorded, merged, selected or imported.

    Its own recipe takes the place of the experiment's `dataset`, held_out and suite among it, so that the run says what
    it was trained on. Raises UserError when it has none that can be played.
    """
    recorded = SampleDataset(data).header.recipe
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
def _picture_reconstructions(model: AgentModel, source: Source, recipe: ExperimentRecipe, run: Path) -> None:
    """Eight frames beside their masked input and the autoencoder's reconstruction (masked patches only)."""
    model.eval()
    batch = source.batch(np.arange(min(8, len(source))))
    patches = model.vision.patchify(batch.frames[:, 0].to(model.device))
    noise = torch.rand(patches.shape[:2], generator=torch.Generator().manual_seed(0)).to(model.device)
    result = model.reconstruct(patches, noise, recipe.losses.mask_ratio)
    hidden = result.masked[..., None]
    masked = model.vision.unpatchify(patches.masked_fill(hidden, 0.0))
    predicted = model.vision.unpatchify(torch.where(hidden, result.predicted, patches))
    (run / "pictures").mkdir(exist_ok=True)
    frames = model.vision.unpatchify(patches)  # at the size that the encoder sees
    picture = pictures.reconstructions(frames.cpu().numpy(), masked.cpu().numpy(), predicted.cpu().numpy(), scale=2)
    (run / "pictures" / "reconstructions.png").write_bytes(picture)
