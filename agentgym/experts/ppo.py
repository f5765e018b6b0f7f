"""train_expert(recipe, task): an expert that PPO trains on an environment's own state (Schulman et al. 2017).

It writes NAME.safetensors and, next to it, NAME.json: the network's shape, the recipe, the curve and the versions.
While it trains, NAME.checkpoint holds everything that the same command needs to resume; episodes then start again.
"""

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from agentgym import environments
from agentgym.environments import Task
from agentgym.errors import UserError, did_you_mean
from agentgym.experts.actor_critic import ActorCritic
from agentgym.experts.networks import NetworkShape
from agentgym.files import read_json, replace_bytes, sync_folder, write_json, writing
from agentgym.folders import lock_file, make_folder
from agentgym.recipes import ExpertRecipe, TaskRecipe, differences, expert_file
from agentgym.versions import installed_versions

TRAINING_SEED = 2_000_000_000  # episodes of training are drawn from here on, far from those that are scored or recorded
BUSY = "another process trains this expert; wait for it to end, or choose another --to"
POINTS = 100  # of the curve; at each of them the training can be resumed

OnProgress = Callable[[int, str], None]


def choose_tasks(recipe: ExpertRecipe, task: str | None) -> list[TaskRecipe]:
    """All tasks of the recipe's suite, or the one named. Raises UserError for one that cannot be made or trained on."""
    environments.check_suite(recipe.suite)
    names = [each.id for each in recipe.suite.tasks]
    if task is not None and task not in names:
        raise UserError(f"--task {task}: suite {recipe.suite.name} has no such task{did_you_mean(task, names)}")
    chosen = [each for each in recipe.suite.tasks if task in (None, each.id)]
    for each in chosen:
        env = environments.make(each, frame=recipe.suite.frame)
        shape_of(env, recipe)
        env.close()
    return chosen


def shape_of(task: Task, recipe: ExpertRecipe) -> NetworkShape:
    """The network for a task's state and actions. Raises UserError for what PPO here cannot read or choose from."""
    state, actions = task.state_space, task.action_space
    if state is None:
        raise UserError(f"{task.task}: has no state but its frame; experts are trained where there is one")
    if not isinstance(state, gymnasium.spaces.Box | gymnasium.spaces.MultiBinary) or not state.shape:
        raise UserError(f"{task.task}: its state is {state}; experts are trained where it is one array of numbers")
    if not isinstance(actions, gymnasium.spaces.Discrete):
        raise UserError(f"{task.task}: takes {actions}; experts are trained where actions are Discrete")
    if recipe.network == "grid" and (len(state.shape) != 3 or min(state.shape[:2]) < 3):
        raise UserError(
            f"{task.task}: its state is {list(state.shape)}; network 'grid' reads [height, width, channels]"
        )
    return NetworkShape(
        kind=recipe.network,
        activation="relu" if recipe.network == "grid" else "tanh",
        state=state.shape,
        actions=int(actions.n),
    )


def train_expert(
    recipe: ExpertRecipe, task: TaskRecipe, folder: Path, *, on_progress: OnProgress = lambda count, note: None
) -> Path:
    """Trains the expert of one task and writes `folder`/NAME.safetensors and NAME.json; returns the former's path.

    `on_progress(n, note)` is called every n steps of all environments. Resumes what was interrupted there, and does
    nothing that is done. Raises UserError for a task that no expert can be trained on, an expert or a checkpoint of
    another recipe, and while another process trains this one.
    """
    path = folder / expert_file(task.id)
    if _is_made(path, recipe, task):
        on_progress(recipe.steps, "")
        return path
    make_folder(folder)
    with lock_file(path, BUSY):
        _train(path, recipe, task, on_progress)
    return path


def _is_made(path: Path, recipe: ExpertRecipe, task: TaskRecipe) -> bool:
    """Whether this expert is there. Raises UserError when what is there is another: it would be lost."""
    described = path.with_suffix(".json")
    if not described.exists():
        if path.exists() and not path.with_suffix(".checkpoint").exists():
            raise UserError(f"{path}: exists, and no {described.name} says what it is; choose another --to")
        return False
    made = read_json(described, dict)
    changed = differences(
        {"task": made.get("task"), "recipe": made.get("recipe")},
        {"task": task.id, "recipe": recipe.model_dump(mode="json")},
    )
    if changed:
        raise UserError(f"{described}: is of another training ({changed[0]}); remove it, or choose another --to")
    return path.exists()


def _train(path: Path, recipe: ExpertRecipe, task: TaskRecipe, on_progress: OnProgress) -> None:
    """Trains to the last step and writes both files."""
    training = _Training(recipe, task, path.with_suffix(".checkpoint"))
    on_progress(training.steps, "")
    try:
        while training.steps < recipe.steps:
            before = training.steps
            training.iterate()
            on_progress(training.steps - before, f"return {training.mean_return:.1f}")
    finally:
        training.close()
    replace_bytes(path, save(training.network.actor_weights()))
    made = {
        "task": task.id,
        "network": training.network.shape.model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json"),
        "seconds": round(training.seconds),
        "versions": installed_versions(("torch", *training.packages)),
        "curve": training.curve,
    }
    write_json(path.with_suffix(".json"), made)
    training.checkpoint.unlink(missing_ok=True)


class _Training:
    """The environments, the network and how far they are; `seconds` are of a core."""

    def __init__(self, recipe: ExpertRecipe, task: TaskRecipe, checkpoint: Path) -> None:
        torch.manual_seed(recipe.seed)
        self._recipe, self.checkpoint = recipe, checkpoint
        self._envs = [environments.make(task, frame=recipe.suite.frame) for _ in range(recipe.environments)]
        self.packages = self._envs[0].packages
        self._first = int(getattr(self._envs[0].action_space, "start", 0))
        self.network = ActorCritic(shape_of(self._envs[0], recipe), layers=recipe.layers, features=recipe.features)
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=recipe.learning_rate, eps=1e-5)
        self.steps, self.seconds, self.curve = 0, 0.0, list[dict[str, float]]()
        self._resume()
        self._seeds = np.random.default_rng([TRAINING_SEED + recipe.seed, self.steps])
        self._returns, self._latest = np.zeros(recipe.environments), deque[float](maxlen=100)
        for env in self._envs:
            env.begin(int(self._seeds.integers(environments.MAX_SEED)))
        self._states = np.stack([env.state for env in self._envs])

    @property
    def mean_return(self) -> float:
        """Of the latest episodes."""
        return float(np.mean(self._latest)) if self._latest else float("nan")

    def iterate(self) -> None:
        """One rollout, and what is learnt from it."""
        started = time.process_time()
        rate = self._recipe.learning_rate * (1 - self.steps / self._recipe.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        rollout = self._play()
        self._learn(*rollout)
        self.steps += rollout[0].shape[0]
        self.seconds += time.process_time() - started
        if self.steps * POINTS >= (len(self.curve) + 1) * self._recipe.steps and self._latest:
            self.curve.append(
                {"steps": self.steps, "seconds": round(self.seconds, 1), "return": round(self.mean_return, 4)}
            )
            self._save()

    def close(self) -> None:
        """Closes the environments."""
        for env in self._envs:
            env.close()

    def _play(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """States, actions, their log-probabilities, advantages and value targets of a rollout, a row a step."""
        settings, count = self._recipe.settings, len(self._envs)
        states = np.empty((settings.n_steps, *self._states.shape), self._states.dtype)
        actions = np.empty((settings.n_steps, count), np.int64)
        log_probabilities, rewards, over = (np.empty((settings.n_steps, count), np.float32) for _ in range(3))
        values = np.empty((settings.n_steps + 1, count), np.float32)
        for step in range(settings.n_steps):
            states[step] = self._states
            actions[step], log_probabilities[step], values[step] = self.network.draw(self._states)
            rewards[step], over[step] = self._step(actions[step])
        values[-1] = self.network.draw(self._states)[2]
        advantages = estimate_advantages(rewards, values, over, settings.gamma, settings.gae_lambda)
        rows = (states.reshape(-1, *self._states.shape[1:]), actions, log_probabilities, advantages)
        flat = [torch.from_numpy(each if each is rows[0] else each.reshape(-1)) for each in rows]
        return flat[0], flat[1], flat[2], flat[3], torch.from_numpy((advantages + values[:-1]).reshape(-1))

    def _step(self, actions: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The rewards of all environments, and which episodes are over; those begin again."""
        rewards, over = np.zeros(len(actions), np.float32), np.zeros(len(actions), np.float32)
        for row, (env, action) in enumerate(zip(self._envs, actions.tolist(), strict=True)):
            step = env.play(action + self._first)
            rewards[row], over[row] = step.reward, step.terminated or step.truncated
            self._returns[row] += step.reward
            if over[row]:
                self._latest.append(float(self._returns[row]))
                self._returns[row] = 0.0
                env.begin(int(self._seeds.integers(environments.MAX_SEED)))
            self._states[row] = env.state
        return rewards, over

    def _learn(self, states: Tensor, actions: Tensor, before: Tensor, advantages: Tensor, targets: Tensor) -> None:
        settings = self._recipe.settings
        for _ in range(settings.n_epochs):
            for rows in torch.randperm(len(states)).split(settings.batch_size):
                logits, values = self.network(states[rows])
                every = functional.log_softmax(logits, dim=1)
                chosen = every.gather(1, actions[rows, None]).squeeze(1)
                policy = clipped_loss(chosen - before[rows], normalise(advantages[rows]), settings.clip_range)
                entropy = -(every.exp() * every).sum(1).mean()
                value = functional.mse_loss(values, targets[rows])
                loss = policy + settings.vf_coef * value - settings.ent_coef * entropy
                self._optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.network.parameters(), settings.max_grad_norm)
                self._optimizer.step()
        if not all(each.isfinite().all() for each in self.network.parameters()):
            raise UserError(
                f"{self.checkpoint.stem}: its weights are not finite any more; choose a smaller learning_rate"
            )

    def _save(self) -> None:
        held = {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "steps": self.steps,
            "seconds": self.seconds,
            "curve": self.curve,
            "recipe": self._recipe.model_dump(mode="json"),
        }
        partial = self.checkpoint.with_name(self.checkpoint.name + ".tmp")
        try:
            with writing(self.checkpoint):
                torch.save(held, partial)
                sync_folder(partial)
                partial.replace(self.checkpoint)
                sync_folder(self.checkpoint.parent)
        finally:
            partial.unlink(missing_ok=True)  # on a full disk its room is needed

    def _resume(self) -> None:
        if not self.checkpoint.is_file():
            return
        try:
            held: dict[str, Any] = torch.load(self.checkpoint, weights_only=True)
            changed = differences(held["recipe"], self._recipe.model_dump(mode="json"))
        except Exception:  # whatever else a file of that name may be
            raise UserError(f"{self.checkpoint}: is not a checkpoint of an expert's training; remove it") from None
        if changed:
            raise UserError(
                f"{self.checkpoint}: is of another recipe ({changed[0]}); remove it, or choose another --to"
            )
        self.network.load_state_dict(held["network"])
        self._optimizer.load_state_dict(held["optimizer"])
        self.steps, self.seconds, self.curve = held["steps"], held["seconds"], held["curve"]
        torch.manual_seed(self._recipe.seed + self.steps)


def estimate_advantages(
    rewards: NDArray[np.float32],
    values: NDArray[np.float32],
    over: NDArray[np.float32],
    gamma: float,
    gae_lambda: float,
) -> NDArray[np.float32]:
    """Generalised advantage estimates (Schulman et al. 2016), float32[steps, environments]; `values` has a row more."""
    advantages = np.zeros_like(rewards)
    following = np.zeros_like(rewards[0])
    for step in reversed(range(len(rewards))):
        going_on = 1 - over[step]
        surprise = rewards[step] + gamma * values[step + 1] * going_on - values[step]
        following = surprise + gamma * gae_lambda * going_on * following
        advantages[step] = following
    return advantages


def clipped_loss(log_ratio: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """PPO's policy loss, of two float32[steps] (arXiv 1707.06347, eq. 7).

    Nothing is gained from moving an action's probability further than the clip range.
    """
    ratio = log_ratio.exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip_range, 1 + clip_range) * advantages).mean()


def normalise(advantages: Tensor) -> Tensor:
    """Advantages, float32[steps], with mean 0 and deviation 1."""
    return (advantages - advantages.mean()) / (advantages.std() + 1e-8)
