"""The stages of a run: what `agentgym train`, `evaluate` and `run` do, as functions of folders.

    runs/NAME/recipe.json        the resolved recipe            runs/NAME/model/          the checkpoint
    runs/NAME/metrics.jsonl      the curves                     runs/NAME/training.json   what the training was
    runs/NAME/evaluation.json    the scores                     runs/NAME/episodes.json   the episodes behind them
    runs/NAME/videos/            films of some of them          runs/NAME/report.html     all of it as a page

Each stage goes on where it was interrupted and does nothing that is done.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from transformers import PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from agentgym import environments, pictures, scores, videos
from agentgym.actions import ActionCodec
from agentgym.collection import make_header
from agentgym.environments import MiniGridTask
from agentgym.errors import UserError
from agentgym.model.agent import AgentModel
from agentgym.model.presets import make_config
from agentgym.model.pretrained import read_parts
from agentgym.model.tokenizer import load_tokenizer, tokenize, train_tokenizer
from agentgym.policy import AgentPolicy
from agentgym.recipes import DatasetRecipe, EvaluationRecipe, ExperimentRecipe, TaskRecipe, differences
from agentgym.rollouts import Episode, replay_frames, rollout, rollout_expert
from agentgym.store import SampleDataset, replace_file
from agentgym.training import Loop, train, uses_bfloat16
from agentgym.windows import WindowSource, split_episodes

EVALUATION_FORMAT = 1
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
    dataset = open_dataset(data, recipe.dataset)
    started = time.perf_counter()
    torch.manual_seed(recipe.training.seed)
    model, tokenizer = first_model(recipe, dataset)
    trained, held_out = split_episodes(dataset, recipe.dataset.held_out)

    def source(episodes: Any) -> WindowSource:
        return WindowSource(
            dataset,
            episodes,
            window=recipe.training.window,
            tokenize=lambda text: tokenize(tokenizer, text),
            patches_per_frame=model.vision.num_patches,
        )

    def score_now(model: AgentModel) -> dict[str, float]:
        return _periodic_score(AgentPolicy(model, tokenizer), recipe)

    training, testing = source(trained), source(held_out)
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
            "targets": int(windows * dataset.lengths[trained].sum() / len(training)),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "seconds": round(time.perf_counter() - started, 1),
            "precision": "bfloat16" if uses_bfloat16(recipe.training.precision) else "float32",
            "versions": all_versions(),
        },
    )


def first_model(recipe: ExperimentRecipe, dataset: SampleDataset) -> tuple[AgentModel, PreTrainedTokenizerFast]:
    """The model that training starts with, and its tokenizer: from scratch, of published parts, or a trained agent.

    Raises UserError when what it starts from does not fit the dataset.
    """
    codec, init = dataset.header.codec, recipe.model.init
    height, width, _ = dataset.header.frame_shape
    if height != width:
        raise UserError(f"{recipe.dataset.name}: frames are {height}x{width}; the visual encoder takes square ones")
    tasks = [task.id for task in recipe.dataset.suite.tasks]
    if init and init.agent:
        policy = AgentPolicy.from_pretrained(init.agent)
        policy.refuse_other_actions(codec, recipe.dataset.name)
        model, window = policy.model, recipe.training.window
        if (model.frame_side, model.config.window) != (height, window):
            raise UserError(
                f"{init.agent}: sees {model.config.window} frames of {model.frame_side} pixels; "
                f"this recipe has {window} of {height}"
            )
        model.config.tasks = sorted({*(model.config.tasks or ()), *tasks})
        folder = Path(init.agent)
        return model, load_tokenizer(folder / "model" if (folder / "recipe.json").is_file() else folder)
    parts = read_parts(init.vision, init.language) if init and init.vision and init.language else None
    tokenizer = parts.tokenizer(codec) if parts else train_tokenizer(dataset.column("instruction"), codec)
    config = make_config(
        recipe.model.preset,
        num_text_tokens=len(tokenizer) - codec.num_tokens,
        instruction_tokens=environments.INSTRUCTION_BYTES,
        codec=codec,
        frame_side=height,
        window=recipe.training.window,
        tasks=tasks,
        patch_merge=recipe.model.patch_merge,
        parts=parts.configs if parts else None,
    )
    model = AgentModel(config)
    if parts:
        parts.copy_into(model)
    return model, tokenizer


def evaluate_run(
    run: Path,
    protocol: EvaluationRecipe,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    advance: AdvanceWithNote = lambda count, note: None,
) -> dict[str, Any]:
    """Scores the run's agent, the random policy and the expert on the protocol's seeds, and films some episodes.

    Writes evaluation.json, episodes.json and videos/; returns what evaluation.json holds. Raises UserError when the
    seeds overlap the demonstrations', or the run holds an evaluation by another protocol that may not be overwritten.
    """
    recipe = read_recipe(run)
    _refuse_overlap(protocol, recipe.dataset)
    policy = AgentPolicy.from_pretrained(run)
    for task in recipe.dataset.suite.tasks:
        refuse_other_environment(policy, environments.make(task.id, frame=recipe.dataset.suite.frame))
    _make_room(run, protocol, overwrite)
    if (run / "evaluation.json").is_file():
        found: dict[str, Any] = read_json(run / "evaluation.json")
        return found
    episodes: dict[str, Any] = {"protocol": _identity(protocol)}
    if (run / "episodes.json").is_file():
        episodes = read_json(run / "episodes.json")  # an interrupted evaluation goes on with the next policy
    for name in ("agent", "random", "expert"):
        if name in episodes:
            advance(len(episodes[name]), name)
            continue
        played = [
            episode
            for task in recipe.dataset.suite.tasks
            for episode in _play(name, policy, task, recipe, protocol, workers, advance)
        ]
        episodes[name] = [episode.to_json() for episode in played]
        write_json(run / "episodes.json", episodes)
    _film(run, policy, [Episode.from_json(values) for values in episodes["agent"]], recipe, protocol)
    evaluation = {
        "format": EVALUATION_FORMAT,
        "policy": str(run),
        "deterministic": protocol.deterministic,
        "versions": all_versions(),
        "tasks": [_score_task(task, episodes, recipe, protocol) for task in recipe.dataset.suite.tasks],
    }
    write_json(run / "evaluation.json", evaluation)
    return evaluation


def _make_room(run: Path, protocol: EvaluationRecipe, overwrite: bool) -> None:
    """Makes room for an evaluation. Raises UserError when there is one by another protocol, unless overwriting."""
    file = run / "episodes.json"
    if overwrite:
        for name in ("episodes.json", "evaluation.json"):
            (run / name).unlink(missing_ok=True)
    elif file.is_file():
        changed = differences(read_json(file)["protocol"], _identity(protocol))
        if changed:
            raise UserError(f"{run}: holds an evaluation by another protocol ({changed[0]}); --overwrite replaces it")


def _identity(protocol: EvaluationRecipe) -> dict[str, Any]:
    """What decides an evaluation's result: everything but how many environments run at once."""
    return protocol.model_dump(mode="json", exclude={"environments"})


def all_versions() -> dict[str, str]:
    """The versions of everything that decides a result."""
    return {**environments.versions(), **{name: version(name) for name in ("torch", "transformers", "accelerate")}}


def read_json(file: Path) -> Any:
    """The values of a JSON file. Raises UserError when it is cut short."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{file}: is no whole JSON file; delete it, the stage that writes it makes it again") from None


def write_json(file: Path, values: Any) -> None:
    """Writes a JSON file that is there whole or not at all."""
    replace_file(file, json.dumps(values, indent=1) + "\n")


def _play(
    name: str,
    policy: AgentPolicy,
    task: TaskRecipe,
    recipe: ExperimentRecipe,
    protocol: EvaluationRecipe,
    workers: int | None,
    advance: AdvanceWithNote,
) -> list[Episode]:
    def with_note(count: int) -> None:
        advance(count, name)

    frame = recipe.dataset.suite.frame
    seeds = range(protocol.first_seed, protocol.first_seed + protocol.episodes)
    if name == "agent":
        return rollout(
            policy,
            task.id,
            frame=frame,
            seeds=seeds,
            num_environments=protocol.environments,
            deterministic=protocol.deterministic,
            advance=with_note,
        )
    expert = "random" if name == "random" else recipe.dataset.expert
    jobs = workers or os.cpu_count() or 1
    return rollout_expert(expert, task.id, frame=frame, seeds=seeds, workers=jobs, advance=with_note)


def refuse_other_environment(policy: AgentPolicy, env: MiniGridTask) -> None:
    """Raises UserError when the environment's actions or frames are not the ones the agent was trained for."""
    policy.refuse_other_actions(ActionCodec.of(env.action_space, env.action_names), env.task)
    shape = env.observation_space["frame"].shape
    if shape != (policy.frame_side, policy.frame_side, 3):
        side = policy.frame_side
        raise UserError(f"{env.task}: its frames are {list(shape or ())}; the agent was trained on [{side}, {side}, 3]")


def _score_task(
    task: TaskRecipe, episodes: dict[str, Any], recipe: ExperimentRecipe, protocol: EvaluationRecipe
) -> dict[str, Any]:
    def scored(name: str) -> dict[str, Any]:
        mine = [episode for episode in episodes[name] if episode["task"] == task.id]
        return scores.score(
            [e["success"] for e in mine], [e["total_reward"] for e in mine], [e["length"] for e in mine]
        )

    return {
        "task": task.id,
        "first_seed": protocol.first_seed,
        **scored("agent"),
        "random": scored("random"),
        "expert": {"name": recipe.dataset.expert, **scored("expert")},
    }


def open_dataset(data: Path, recipe: DatasetRecipe) -> SampleDataset:
    """The recorded dataset of a recipe. Raises UserError when it is another one or holds nothing to learn from."""
    dataset = SampleDataset(data)
    changed = differences(dict(dataset.header.recipe), recipe.model_dump(mode="json"))
    if changed:
        raise UserError(
            f"{data}: was recorded by another recipe ({changed[0]}); name its folder with --data, or record it"
        )
    if dataset.header.codec != make_header(recipe).codec:
        raise UserError(f"{data}: its actions are not those of the installed environments; record it again")
    if not len(dataset):
        raise UserError(f"{data}: no attempt was kept ({dataset.outcomes()}); there is nothing to train on")
    return dataset


def _refuse_overlap(protocol: EvaluationRecipe, recipe: DatasetRecipe) -> None:
    last, last_demonstration = protocol.first_seed + protocol.episodes, recipe.first_seed + recipe.episodes
    if protocol.first_seed < last_demonstration and recipe.first_seed < last:
        raise UserError(
            f"evaluation seeds [{protocol.first_seed}, {last}) overlap the demonstrations' "
            f"[{recipe.first_seed}, {last_demonstration}); choose another evaluation.first_seed"
        )


def _periodic_score(policy: AgentPolicy, recipe: ExperimentRecipe) -> dict[str, float]:
    """The success rate over a few levels of each task, the same ones every time."""
    seeds = range(ROLLOUT_SEED, ROLLOUT_SEED + recipe.training.evaluate_episodes)
    played = [
        episode
        for task in recipe.dataset.suite.tasks
        for episode in rollout(
            policy,
            task.id,
            frame=recipe.dataset.suite.frame,
            seeds=seeds,
            num_environments=min(32, len(seeds)),
            deterministic=recipe.evaluation.deterministic,
        )
    ]
    return {"rollout/success_rate": float(np.mean([episode.success for episode in played]))}


def _film(
    run: Path, policy: AgentPolicy, played: Sequence[Episode], recipe: ExperimentRecipe, protocol: EvaluationRecipe
) -> None:
    """Films of some failures and successes, the first of each; fewer failures leave more places for successes."""
    failures = [episode for episode in played if not episode.success][: (protocol.videos + 1) // 2]
    successes = [episode for episode in played if episode.success][: protocol.videos - len(failures)]
    folder = run / "videos"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    listed = []
    for episode in [*successes, *failures]:
        outcome: videos.Outcome = "success" if episode.success else "failure"
        file = f"{outcome}-{episode.task}-{episode.seed}.mp4"
        seen, world = replay_frames(episode, recipe.dataset.suite.frame)
        videos.write_video(
            folder / file,
            frames=seen,
            world=world,
            actions=[policy.codec.name(action) for action in episode.actions],
            instruction=episode.instruction,
            outcome=outcome,
        )
        listed.append({"file": file, **{k: v for k, v in episode.to_json().items() if k != "actions"}})
    write_json(folder / "videos.json", listed)


@torch.inference_mode()
def _picture_reconstructions(model: AgentModel, source: WindowSource, recipe: ExperimentRecipe, run: Path) -> None:
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
