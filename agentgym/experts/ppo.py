"""train_expert(recipe, task): an expert that Stable-Baselines3 trains on an environment's own state.

What it writes is an ordinary zip of Stable-Baselines3, small because what the optimiser remembers stays out, and beside
it a JSON of how it was made: the recipe, the curve and the score.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from agentgym import environments
from agentgym.environments import Task
from agentgym.errors import UserError, did_you_mean
from agentgym.experts.networks import GridNetwork
from agentgym.files import replace_file
from agentgym.recipes import ExpertRecipe, TaskRecipe, expert_file
from agentgym.versions import installed_versions

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"ppo": PPO, "dqn": DQN}
TRAINING_SEED = 2_000_000_000  # episodes of training are drawn from here on, far from those that are scored or recorded
Advance = Callable[[int, str], None]


class StateView(gymnasium.Env[Any, Any]):
    """A task as an expert in training sees it: its state, never drawn. Episodes begin with seeds of its own."""

    def __init__(self, task: Task, seed: int) -> None:
        if task.state_space is None:
            raise UserError(f"{task.task}: has no state but its frame; experts are trained where there is one")
        self._task = task
        self.observation_space = task.state_space
        self.action_space = task.action_space
        self._seeds = np.random.default_rng(TRAINING_SEED + seed)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """The state at the start of the episode of the next seed."""
        self._task.begin(int(self._seeds.integers(environments.MAX_SEED)))
        return self._task.state, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The task's step."""
        step = self._task.play(action)
        return self._task.state, step.reward, step.terminated, step.truncated, {}


def choose_tasks(recipe: ExpertRecipe, task: str | None) -> list[TaskRecipe]:
    """All tasks of the recipe's suite, or the one named. Raises UserError for one that cannot be made or trained on."""
    environments.check_suite(recipe.suite)
    names = [each.id for each in recipe.suite.tasks]
    if task is not None and task not in names:
        raise UserError(f"--task {task}: suite {recipe.suite.name} has no such task{did_you_mean(task, names)}")
    chosen = [each for each in recipe.suite.tasks if task in (None, each.id)]
    for each in chosen:
        env = environments.make(each, frame=recipe.suite.frame)
        StateView(env, 0)
        env.close()
    return chosen


def train_expert(
    recipe: ExpertRecipe, task: TaskRecipe, folder: Path, *, advance: Advance = lambda count, note: None
) -> Path:
    """Trains the expert of one task and writes `folder`/NAME.zip and NAME.json; returns the zip's path.

    `advance(n, note)` follows every n steps of all environments. Raises UserError for settings that the algorithm does
    not take, and a task without a state.
    """
    env = VecMonitor(DummyVecEnv([_view(recipe, task, number) for number in range(recipe.environments)]))
    model = _make(recipe, env)
    curve = _Curve(advance)
    started = time.monotonic()
    model.learn(recipe.steps, callback=curve)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / expert_file(task.id)
    model.policy.optimizer.state.clear()  # Adam's moments are two thirds of the file, and no one goes on from them
    model.save(path, exclude=["replay_buffer", "ep_info_buffer", "_last_obs", "_last_original_obs"])
    made = {
        "task": task.id,
        "recipe": recipe.model_dump(mode="json"),
        "seconds": round(time.monotonic() - started),
        "versions": installed_versions(("stable-baselines3", "torch", *_packages(recipe, task))),
        "curve": curve.points,
    }
    replace_file(path.with_suffix(".json"), json.dumps(made, indent=1))
    return path


def _view(recipe: ExpertRecipe, task: TaskRecipe, number: int) -> Callable[[], StateView]:
    return lambda: StateView(environments.make(task, frame=recipe.suite.frame), 1000 * recipe.seed + number)


def _packages(recipe: ExpertRecipe, task: TaskRecipe) -> tuple[str, ...]:
    env = environments.make(task, frame=recipe.suite.frame)
    env.close()
    return env.packages


def _make(recipe: ExpertRecipe, env: VecMonitor) -> BaseAlgorithm:
    rate = recipe.learning_rate
    try:
        return ALGORITHMS[recipe.algorithm](
            "MlpPolicy",
            env,
            learning_rate=lambda remaining: rate * remaining,
            policy_kwargs=_network(recipe),
            seed=recipe.seed,
            device="cpu",
            **recipe.settings,
        )
    except (TypeError, AssertionError) as error:
        raise UserError(
            f"expert recipe {recipe.name}: key 'settings': {recipe.algorithm} refuses it: {error}"
        ) from None


def _network(recipe: ExpertRecipe) -> dict[str, Any]:
    if recipe.network == "grid":
        return {"net_arch": list(recipe.layers), "features_extractor_class": GridNetwork}
    return {"net_arch": list(recipe.layers)}


class _Curve(BaseCallback):
    """The mean return of the latest 100 episodes, at a hundred points of the training."""

    def __init__(self, advance: Advance) -> None:
        super().__init__()
        self.points: list[dict[str, float]] = []
        self._advance = advance
        self._reported = 0
        self._started = time.monotonic()

    def _on_step(self) -> bool:
        if self.num_timesteps - self._reported >= self.model._total_timesteps / 100:
            episodes = [episode["r"] for episode in self.model.ep_info_buffer or ()]
            mean = float(np.mean(episodes)) if episodes else float("nan")
            seconds = round(time.monotonic() - self._started, 1)
            self.points.append({"steps": self.num_timesteps, "seconds": seconds, "return": mean})
            self._advance(self.num_timesteps - self._reported, f"return {mean:.1f}")
            self._reported = self.num_timesteps
        return True
