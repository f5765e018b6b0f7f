"""Reinforcement learning from a trained agent, as a function of folders: PPO, its learning curve, and a run again.

    runs/NAME/finetuning.json   the resolved recipe       runs/NAME/curve.jsonl     the score on fixed seeds, by steps
    runs/NAME/checkpoint.zip    where it resumes from     runs/NAME/NAME.{json,svg,md}  what was reached
    runs/NAME/recipe.json       of the run it started from; with model/ it makes this a run that `evaluate` reads

An interrupted training resumes from the last point of its curve, with new episodes.
"""

import json
import shutil
import time
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import gymnasium

from agentgym import environments
from agentgym.errors import UserError, first_line
from agentgym.evaluation import measures
from agentgym.evaluation.demonstrations import check_unseen
from agentgym.evaluation.rollouts import play_suite
from agentgym.experiments.frame_policy import FramePolicy, LatestFrame
from agentgym.extras import needs
from agentgym.files import (
    append_json_line,
    check_points,
    read_json_lines,
    sync_folder,
    sync_tree,
    write_json,
    writing,
)
from agentgym.folders import claimed
from agentgym.model.agent import AgentModel
from agentgym.model.device import default_device, describe_device
from agentgym.model.sizes import check_room
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.protocol import Policy
from agentgym.policies.sb3 import AgentActorCriticPolicy, HistoryObservation, TetheredPolicy
from agentgym.recipes import FinetuningRecipe, PPORecipe
from agentgym.spaces import SpaceCodec
from agentgym.training.run_folder import BUSY, check_is_vacant_or, read_recipe

with needs("sb3", what="fine-tuning by PPO"):
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.utils import LinearSchedule
    from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

CHECKPOINT = "checkpoint.zip"
POINT = ("steps", "seconds", "cpu_seconds", "success_rate", "mean_return")
OnProgress = Callable[[int, str], None]


def finetune(
    recipe: FinetuningRecipe, run: Path, *, on_progress: OnProgress = lambda count, note: None
) -> list[dict[str, Any]]:
    """Trains by the recipe into the run folder, resumed where it was; the points of the curve.

    Raises UserError when the folder holds something else, or the agent does not fit the suite.
    """
    check_is_vacant_or(run, "fine-tuning", file="finetuning.json", recipe=recipe)
    if not (run / "model").exists() and not (run / "model.zip").exists():
        domain = _agent(recipe).domain
        kept = recipe.ppo.environments * recipe.ppo.rollout_steps * domain.window
        check_room(
            3 * kept * domain.frame_shape[0] * domain.frame_shape[1],
            f"{recipe.ppo.environments:,} environments by {recipe.ppo.rollout_steps:,} steps of {domain.window} frames",
            "choose smaller ppo.environments or ppo.rollout_steps",
        )
        env = _environment(recipe, domain.window)
        model = _first(recipe, env, domain.tasks[0])
        if (run / CHECKPOINT).is_file():
            _restore(model, run / CHECKPOINT)
        with claimed(run, BUSY):  # nothing is made before here
            write_json(run / "finetuning.json", recipe.model_dump(mode="json"))
            _learn(model, recipe, run, on_progress)
        env.close()
    return read_points(run)


def _learn(model: PPO, recipe: FinetuningRecipe, run: Path, on_progress: OnProgress) -> None:
    """Trains to the last step, and keeps what was trained in place of the checkpoint."""
    on_progress(model.num_timesteps, "")
    curve = CurveCallback(recipe, run, on_progress)
    left = recipe.ppo.steps - model.num_timesteps
    if left > 0:
        model.learn(left, callback=curve, reset_num_timesteps=model.num_timesteps == 0)
    _keep(model, recipe, run)
    (run / CHECKPOINT).unlink(missing_ok=True)


def _restore(model: PPO, file: Path) -> None:
    """The weights, what the optimiser remembers and the count of steps are those of a checkpoint.

    Nothing in it is unpickled, so that a folder of somebody else's runs no code: what else a model has is made of the
    recipe. Raises UserError for a file that is damaged or of another model.
    """
    try:
        model.set_parameters(str(file))
        with zipfile.ZipFile(file) as archive:
            steps = json.loads(archive.read("data"))["num_timesteps"]
        if type(steps) is not int or steps < 0:
            raise ValueError(f"{steps!r} steps")
    except Exception as error:  # a damaged file raises whatever its reader raises
        raise UserError(
            f"{file}: cannot be read as a checkpoint ({first_line(error)}); delete the run's folder to begin again"
        ) from error
    model.num_timesteps = steps


def read_points(run: Path) -> list[dict[str, Any]]:
    """The points of a run's learning curve. Raises UserError when there is none, or one is damaged."""
    file = run / "curve.jsonl"
    if not file.is_file():
        raise UserError(f"{run}: has no learning curve (curve.jsonl); 'agentgym finetune RECIPE' makes one")
    return check_points(read_json_lines(file), file, POINT)


def measure(recipe: FinetuningRecipe, points: Collection[Mapping[str, Any]]) -> measures.Measure:
    """What the points of a curve speak of."""
    return measures.measure_of(recipe.suite.tasks, (point["success_rate"] for point in points))


class CurveCallback(BaseCallback):
    """Scores the agent at intervals and saves what training resumes from; freezes the agent at first."""

    def __init__(self, recipe: FinetuningRecipe, run: Path, on_progress: OnProgress) -> None:
        super().__init__()
        self._recipe, self._run, self._on_progress = recipe, run, on_progress
        self._file = run / "curve.jsonl"
        self._before = (read_points(run) if self._file.is_file() else [{"seconds": 0.0, "cpu_seconds": 0.0}])[-1]
        self._spent = 0.0  # seconds of this process that went into measuring
        self._cpu_spent = 0.0

    def _on_training_start(self) -> None:
        self._began, self._cpu_began = time.perf_counter(), time.process_time()
        self._seen = self.num_timesteps
        self._next = self.num_timesteps + self._recipe.evaluation.every
        if self.num_timesteps == 0:
            self._measure()

    def _on_rollout_start(self) -> None:
        self._on_progress(self.num_timesteps - self._seen, "")
        self._seen = self.num_timesteps
        if self.num_timesteps >= self._next:
            self._measure()
            self._next += self._recipe.evaluation.every
        if self._recipe.start != "cnn":
            ppo = self._recipe.ppo
            rollouts = self.num_timesteps // (ppo.environments * ppo.rollout_steps)
            _let_learn(self.model.policy.features_extractor.agent, ppo, warm=rollouts >= ppo.value_warmup_rollouts)

    def _on_training_end(self) -> None:
        self._on_progress(self.num_timesteps - self._seen, "")
        self._measure()

    def _on_step(self) -> bool:
        return True

    def _measure(self) -> None:
        """A point of the curve. The clocks are stopped meanwhile: measuring is no training."""
        began, cpu_began = time.perf_counter(), time.process_time()
        assert isinstance(self.model, PPO)
        scored = _play(self.model, self._recipe)
        point = {
            "steps": self.num_timesteps,
            "seconds": round(self._before["seconds"] + began - self._began - self._spent, 1),
            "cpu_seconds": round(self._before["cpu_seconds"] + cpu_began - self._cpu_began - self._cpu_spent, 1),
            **scored,
            "device": describe_device(self.model.device),
        }
        temporary = self._run / "checkpoint.tmp.zip"
        with writing(self._run / CHECKPOINT):
            self.model.save(temporary)
            sync_folder(temporary)
            temporary.replace(self._run / CHECKPOINT)
            sync_folder(self._run)
        append_json_line(self._file, point)
        self._spent += time.perf_counter() - began
        self._cpu_spent += time.process_time() - cpu_began
        self._on_progress(0, measure(self._recipe, read_points(self._run)).said(point))


def _agent(recipe: FinetuningRecipe) -> AgentPolicy:
    """The agent to start from, as it plays the suite. Raises UserError when it does not know it, or only in parts."""
    read_recipe(Path(recipe.init))
    environments.check_suite(recipe.suite)
    curve = recipe.evaluation
    tasks = [task.id for task in recipe.suite.tasks]
    check_unseen(recipe.init, tasks, range(curve.first_seed, curve.first_seed + curve.episodes))
    policy, domains = AgentPolicy.from_pretrained(recipe.init), []
    for task in recipe.suite.tasks:
        env = environments.make(task, frame=recipe.suite.frame)
        policy = policy.fitted(SpaceCodec.of(env.action_space, env.action_names), env.frame_shape, env.task)
        env.close()
        domains.append(policy.domain)
    if any(domain != domains[0] for domain in domains):
        raise UserError(
            f"suite {recipe.suite.name}: {recipe.init} plays its tasks by different domains; PPO trains one"
        )
    return policy


def _environment(recipe: FinetuningRecipe, window: int) -> VecMonitor:
    """The environments, task by task in turns."""

    def make(number: int) -> gymnasium.Env[Any, Any]:
        task = recipe.suite.tasks[number % len(recipe.suite.tasks)]
        env = environments.make(task, frame=recipe.suite.frame)
        return LatestFrame(env) if recipe.start == "cnn" else HistoryObservation(env, window=window)

    return VecMonitor(DummyVecEnv([lambda i=i: make(i) for i in range(recipe.ppo.environments)]))


def _first(recipe: FinetuningRecipe, env: VecMonitor, task: str) -> PPO:
    """PPO before its first step, on an agent in the domain of that task."""
    ppo = recipe.ppo
    settings = {
        "learning_rate": LinearSchedule(ppo.learning_rate, ppo.final_learning_rate, end_fraction=1.0),
        "target_kl": ppo.target_kl,
        "n_steps": ppo.rollout_steps,
        "batch_size": ppo.batch_size,
        "n_epochs": ppo.epochs,
        "gamma": ppo.gamma,
        "gae_lambda": ppo.gae_lambda,
        "clip_range": ppo.clip,
        "ent_coef": ppo.tether or ppo.entropy,
        "seed": ppo.seed,
        "device": default_device(),
    }
    if recipe.start == "cnn":
        return PPO("CnnPolicy", env, **settings)
    kwargs = {"checkpoint": recipe.init, "task": task, "value_rate": ppo.value_rate}
    model = PPO(TetheredPolicy if ppo.tether else AgentActorCriticPolicy, env, policy_kwargs=kwargs, **settings)
    if recipe.start == "random":
        agent = model.policy.features_extractor.agent
        agent.load_state_dict(AgentModel(agent.config).state_dict())
    return model


def _let_learn(agent: AgentModel, ppo: PPORecipe, *, warm: bool) -> None:
    """Which weights of the agent learn: none before the value head is warm."""
    agent.requires_grad_(warm)
    if ppo.freeze_vision:
        agent.vision_encoder.requires_grad_(False)
        agent.projector.requires_grad_(False)


def _play(model: PPO, recipe: FinetuningRecipe) -> dict[str, Any]:
    """What is reached on the curve's seeds, by the likeliest actions, as values of a point."""
    features = model.policy.features_extractor
    policy: Policy = FramePolicy(model) if recipe.start == "cnn" else AgentPolicy(features.agent, features.tokenizer)
    seeds = range(recipe.evaluation.first_seed, recipe.evaluation.first_seed + recipe.evaluation.episodes)
    return measures.score(play_suite(policy, recipe.suite, seeds, num_environments=50, deterministic=True))


def _keep(model: PPO, recipe: FinetuningRecipe, run: Path) -> None:
    """An agent becomes the model of this run, with the recipe of the run it came from; a CnnPolicy stays a zip."""
    if recipe.start == "cnn":
        with writing(run / "model.zip"):
            model.save(run / "model.tmp.zip")
            sync_folder(run / "model.tmp.zip")
            (run / "model.tmp.zip").replace(run / "model.zip")
        return
    temporary = run / "tuned.tmp"
    with writing(run / "model"):
        shutil.rmtree(temporary, ignore_errors=True)
        model.policy.save_checkpoint(temporary)
        sync_tree(temporary)
        (temporary / "recipe.json").replace(run / "recipe.json")
        (temporary / "model").rename(run / "model")
        temporary.rmdir()
        sync_folder(run)
