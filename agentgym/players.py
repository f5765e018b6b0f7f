"""WHO plays: a run, a checkpoint, an expert or a Stable-Baselines3 zip, by the text that names it on the command line.

A player is known before anything is loaded, so that a worker process can be told who plays and load it there. What a
policy draws (`--sample`) is a function of the episode's seed: its draws do not depend on the rest of the batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from agentgym import experts
from agentgym.actions import ActionCodec
from agentgym.environments import Task
from agentgym.errors import UserError, did_you_mean
from agentgym.policy import AgentPolicy

SB3 = "sb3:"


@dataclass(frozen=True)
class Player:
    """Who plays. `kind` is "agent", "expert" or "sb3"; `path` the run, the checkpoint or the zip."""

    who: str
    kind: str
    path: Path | None = None

    @property
    def name(self) -> str:
        """A short name, good for a folder."""
        if self.path is None:
            return self.who
        folder = self.path.resolve()
        stem = folder.parent.name if folder.name == "model" else folder.name
        return f"sb3-{folder.stem}" if self.kind == "sb3" else stem

    @property
    def run(self) -> Path | None:
        """The run folder that a run or its checkpoint belongs to, when there is one."""
        if self.kind != "agent" or self.path is None:
            return None
        return next((f for f in (self.path, self.path.resolve().parent) if (f / "recipe.json").is_file()), None)


def find(who: str, *, trust: bool = False) -> Player:
    """The player of that name or path. Raises UserError when there is none, or when its code is not trusted."""
    if who.startswith(SB3):
        path = Path(who.removeprefix(SB3))
        if not path.is_file():
            raise UserError(f"{who}: there is no file {path}; name the zip that Stable-Baselines3's save wrote")
        if not trust:
            raise UserError(f"{who}: loading it runs code that is inside the file; give --trust if you know its origin")
        return Player(who, "sb3", path)
    if who in experts.EXPERTS:
        return Player(who, "expert")
    if not Path(who).is_dir():
        hint = did_you_mean(who, experts.EXPERTS) or f"; expected a run or checkpoint folder, sb3:PATH or {_known()}"
        raise UserError(f"{who}: there is no such folder or expert{hint}")
    return Player(who, "agent", Path(who))


def load(player: Player, *, sampled: bool) -> "AgentPolicy | SB3Policy":
    """The policy of an agent or a Stable-Baselines3 zip. Raises UserError when it is not whole or cannot be sampled."""
    assert player.path is not None
    if player.kind == "sb3":
        return SB3Policy(player.path, sampled=sampled)
    return (SampledAgent if sampled else AgentPolicy).from_pretrained(player.path)


def refuse_misfit(policy: "AgentPolicy | SB3Policy", env: Task) -> None:
    """Raises UserError when the environment's actions or frames are not the ones the policy was trained for."""
    if isinstance(policy, SB3Policy):
        policy.refuse_misfit(env)
        return
    policy.refuse_other_actions(ActionCodec.of(env.action_space, env.action_names), env.task)
    shape = env.observation_space["frame"].shape
    if shape != (policy.frame_side, policy.frame_side, 3):
        side = policy.frame_side
        raise UserError(f"{env.task}: its frames are {list(shape or ())}; the agent was trained on [{side}, {side}, 3]")


class Draws:
    """One generator a row, started by the seed of the row's episode."""

    def __init__(self) -> None:
        self._rows: dict[int, np.random.Generator] = {}

    def start(self, row: int, seed: int) -> None:
        """An episode of that seed has begun in that row."""
        self._rows[row] = np.random.default_rng(seed)

    def choose(self, probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """A place of each row of probabilities [N, A], drawn by them."""
        draws = np.array([[self._rows[row].random()] for row in range(len(probabilities))])
        chosen: NDArray[np.int64] = (probabilities.cumsum(axis=1) < draws).sum(axis=1)
        return np.minimum(chosen, probabilities.shape[1] - 1)  # the sum of rounded probabilities may fall short of 1


class SampledAgent(AgentPolicy):
    """An agent that draws by the episodes' seeds."""

    def start(self, row: int, seed: int) -> None:
        """An episode of that seed has begun in that row."""
        self._draws = getattr(self, "_draws", None) or Draws()
        self._draws.start(row, seed)

    def _choose(self, logits: torch.Tensor, deterministic: bool) -> NDArray[np.int64]:
        if deterministic:
            return super()._choose(logits, deterministic)
        return self._draws.choose((logits.double() / self._temperature).softmax(-1).numpy())[:, None]


class SB3Policy:
    """The policy inside a Stable-Baselines3 zip of any algorithm. Loading it unpickles: the caller trusts the file."""

    def __init__(self, path: Path, *, sampled: bool) -> None:
        from stable_baselines3.common.policies import ActorCriticPolicy
        from stable_baselines3.common.save_util import load_from_zip_file

        try:
            data, parameters, _ = load_from_zip_file(str(path), device="cpu")
            assert data is not None
            kwargs = dict(data["policy_kwargs"])
            policy_class = data["policy_class"]
            if issubclass(policy_class, ActorCriticPolicy):
                kwargs["use_sde"] = data["use_sde"]
            self._space = data["observation_space"]
            self._actions = data["action_space"]
            self._policy = policy_class(self._space, self._actions, lambda progress: 0.0, **kwargs)
            self._policy.load_state_dict(parameters["policy"])
        except Exception as error:  # whatever is in the file: pickles of other versions, other classes, no zip at all
            reason = str(error).partition("\n")[0]
            raise UserError(f"{path}: cannot be loaded as a Stable-Baselines3 model ({reason})") from None
        if sampled and not hasattr(self._policy, "get_distribution"):
            raise UserError(f"{path}: a {policy_class.__name__} has no distribution to draw from; leave --sample out")
        self._path = path
        self._policy.set_training_mode(False)
        self._draws = Draws()

    def start(self, row: int, seed: int) -> None:
        """An episode of that seed has begun in that row."""
        self._draws.start(row, seed)

    def predict(
        self, observation: Mapping[str, Any], state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Actions for a batch of observations."""
        if deterministic:
            return self._policy.predict(observation, state, episode_start, deterministic=True)
        with torch.no_grad():
            tensors, _ = self._policy.obs_to_tensor(observation)
            probabilities = self._policy.get_distribution(tensors).distribution.probs
        return self._draws.choose(probabilities.double().numpy()) + int(self._actions.start), state

    def refuse_misfit(self, env: Task) -> None:
        """Raises UserError when the environment's spaces are not the ones of the file."""
        if _shapes(self._space) != _shapes(env.observation_space) or self._actions != env.action_space:
            found = f"shows {_shapes(env.observation_space)} and takes {env.action_space}"
            raise UserError(
                f"{env.task}: {found}; {self._path} was trained on {_shapes(self._space)} and {self._actions}"
            )


def _shapes(space: gymnasium.Space[Any]) -> Any:
    """The shapes of a space's parts; pictures the same whether channels come first or last, as SB3 takes both."""
    if isinstance(space, gymnasium.spaces.Dict):
        return {key: _shapes(part) for key, part in space.items()}
    shape = tuple(space.shape or ())
    return (*shape[1:], shape[0]) if len(shape) == 3 and shape[0] == 3 and shape[2] != 3 else shape


def _known() -> str:
    return " or ".join(experts.EXPERTS)
