"""Policies by name: a run, a checkpoint, an exported policy, an expert or a Stable-Baselines3 zip.

A policy is named before anything is loaded, so that a worker process gets its name and loads it there. What a
policy draws (`--sample`) is a function of the episode's seed: its draws do not depend on the rest of the batch.
Torch is imported when a policy that needs it is loaded.
"""

import hashlib
import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from gymnasium.spaces import Discrete

from agentgym import experts, hub
from agentgym.client import address_of
from agentgym.environments import Task
from agentgym.errors import UserError, did_you_mean, first_line
from agentgym.evaluation import remote
from agentgym.experts.sb3 import describe, load_sb3_policy, shapes_of
from agentgym.extras import needs
from agentgym.policies.agents import find_agent, shipped_agents
from agentgym.policies.sampling import PerEpisodeSampler
from agentgym.spaces import Integers, SpaceCodec
from agentgym.spaces.from_zero import from_zero
from agentgym.trust import check_pickle, trusting

if TYPE_CHECKING:
    from agentgym.policies.agent_policy import AgentPolicy
    from agentgym.policies.onnx_runtime.onnx_policy import OnnxPolicy

    LoadedPolicy: TypeAlias = "AgentPolicy | OnnxPolicy | SB3Policy | remote.ServedPolicy"

ONNX = "policy.onnx"


@dataclass(frozen=True)
class PolicySpec:
    """A policy by name. `kind` is "agent", "onnx", "expert", "sb3" or "remote"; `path` its run, checkpoint or file."""

    who: str
    kind: str
    path: Path | None = None
    token: str | None = None  # of a server, which no file is to have

    @property
    def name(self) -> str:
        """A short name, good for a folder."""
        if self.path is None:
            return self.who
        if self.kind == "remote":
            return re.sub(r"\W+", "-", self.who).strip("-")
        if self.kind == "onnx":
            return f"{self.path.resolve().parent.name}-{self.path.stem}"
        folder = self.path.resolve()
        stem = folder.parent.name if folder.name == "model" else folder.name
        kinds = {"sb3": "sb3", "expert": "trained"}
        return f"{kinds[self.kind]}-{folder.stem}" if self.kind in kinds else stem

    @property
    def run(self) -> Path | None:
        """The run folder that a run or its checkpoint belongs to, when there is one."""
        if self.kind != "agent" or self.path is None:
            return None
        return next((f for f in (self.path, self.path.resolve().parent) if (f / "recipe.json").is_file()), None)

    @property
    def fingerprint(self) -> str | None:
        """Identifies the weights, so that a new training is not taken for an old one."""
        if self.path is None:
            return None
        folder = self.path / "model" if (self.path / "recipe.json").is_file() else self.path
        file = folder / "model.safetensors" if folder.is_dir() else self.path
        if not file.is_file():
            return None  # loading it says what is missing
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def resolve_policy(who: str) -> PolicySpec:
    """The player of that name or path. Raises UserError when there is none, or when its code is not trusted."""
    if who.startswith(experts.SB3):
        path = Path(who.removeprefix(experts.SB3))
        if not path.is_file():
            raise UserError(f"{who}: there is no file {path}; name the zip that Stable-Baselines3's save wrote")
        check_pickle(who)
        return PolicySpec(who, "sb3", path)
    if who.startswith(remote.PREFIX):
        url, token = address_of(who.removeprefix(remote.PREFIX))
        return PolicySpec(remote.PREFIX + url, "remote", Path(url), token)
    if who in experts.EXPERTS or who.startswith(experts.CONSTANT):
        experts.make(who)
        return PolicySpec(who, "expert")
    if who.startswith(experts.TRAINED):
        return PolicySpec(who, "expert", Path(who.removeprefix(experts.TRAINED)))
    who = who.removeprefix(experts.AGENT)  # as a dataset's recipe names it
    exported = Path(who) / ONNX if Path(who).is_dir() else Path(who)
    if exported.suffix == ".onnx" and exported.is_file():
        return PolicySpec(who, "onnx", exported)
    if not Path(who).is_dir() and who not in shipped_agents() and not hub.is_repository(who):
        hint = (
            did_you_mean(who, [*experts.EXPERTS, *shipped_agents()])
            or f"; expected a run, checkpoint or export, a shipped agent ({' or '.join(shipped_agents()) or 'none'}), "
            f"sb3:PATH, trained:PATH, agent:PATH or {_known()}"
        )
        raise UserError(f"{who}: there is no such folder, agent or expert{hint}")
    return PolicySpec(who, "agent", find_agent(who))


def load_policy(who: str | Path, *, trust: bool = False, sampled: bool = False) -> "LoadedPolicy":
    """The policy of a run, checkpoint or exported folder, or of `sb3:PATH`, ready to `predict`.

    `predict(observation, state, episode_start, deterministic)` takes a batch, {"frame": uint8[N, H, W, 3],
    "instruction": uint8[N, L]}, or a single observation, and gives actions and the next state, as Stable-Baselines3's
    does. With `sampled` it draws by the episodes' seeds in `rollout(..., deterministic=False)`. Raises UserError when
    there is none, for an expert, which acts on an environment's state, and for a zip that is not trusted.
    """
    with trusting(trust):
        spec = resolve_policy(str(who))
        if spec.kind == "expert":
            raise UserError(f"{who}: an expert acts on an environment's state and has no policy; see agentgym.evaluate")
        return load(spec, sampled=sampled)


def load(spec: PolicySpec, *, sampled: bool) -> "LoadedPolicy":
    """The policy of who is no expert. Raises UserError when it is not whole or cannot be sampled."""
    assert spec.path is not None
    if spec.kind == "onnx":
        return _load_onnx(spec.path, sampled=sampled)
    if spec.kind == "sb3":
        return SB3Policy(spec.path, sampled=sampled)
    if spec.kind == "remote":
        return remote.ServedPolicy(spec.who.removeprefix(remote.PREFIX), token=spec.token, sampled=sampled)
    from agentgym.policies.agent_policy import AgentPolicy

    return AgentPolicy.from_pretrained(spec.path, sampler=PerEpisodeSampler() if sampled else None)


def load_once(spec: PolicySpec, *, sampled: bool) -> "LoadedPolicy":
    """The same, loaded once in a process that plays it task after task."""
    return _load_weights(spec, spec.fingerprint, sampled)


@lru_cache(maxsize=1)
def _load_weights(spec: PolicySpec, fingerprint: str | None, sampled: bool) -> "LoadedPolicy":
    return load(spec, sampled=sampled)


def _load_onnx(file: Path, *, sampled: bool) -> "OnnxPolicy":
    with needs("onnx", what=f"{file}:"):
        from agentgym.policies.onnx_runtime import onnx_policy
    try:
        return onnx_policy.OnnxPolicy(file, threads=1, sampler=PerEpisodeSampler() if sampled else None)
    except Exception as error:  # a damaged graph raises whatever onnxruntime raises
        raise UserError(f"{file}: cannot be loaded: {first_line(error)}") from None


def check_fit(policy: "LoadedPolicy", env: Task) -> None:
    """Raises UserError when the environment's actions or frames are not the ones the policy was trained for."""
    if isinstance(policy, SB3Policy | remote.ServedPolicy):
        policy.check_fit(env)
        return
    space, shape = SpaceCodec.of(env.action_space, env.action_names), env.observation_space["frame"].shape
    if hasattr(policy, "fitted"):  # an AgentPolicy
        policy.fitted(space, shape or (), env.task)
        return
    if space.root != SpaceCodec.discrete(policy.action_names, policy.action_start).root:
        raise UserError(f"{env.task}: its actions are {space}; the policy was exported for {policy.action_names}")
    expected = (*policy.frame_shape, 3)
    if shape != expected:
        raise UserError(f"{env.task}: its frames are {list(shape or ())}; the policy takes {list(expected)}")


class SB3Policy:
    """The policy inside a Stable-Baselines3 zip of any algorithm.

    Raises UserError when the file is not trusted (loading it unpickles), cannot be read, or is to be `sampled` and has
    no distribution.
    """

    def __init__(self, path: Path, *, sampled: bool) -> None:
        self._policy: Any = load_sb3_policy(path)
        self._space, self._actions = self._policy.observation_space, self._policy.action_space
        discrete = isinstance(self._actions, Discrete)
        if sampled and not (discrete and hasattr(self._policy, "get_distribution")):
            kind = type(self._policy).__name__ if discrete else f"policy of {self._actions}"
            raise UserError(f"{path}: a {kind} has no distribution to draw from; leave --sample out")
        self._first_action: Any = 0
        self._path = path
        self._sampler = PerEpisodeSampler()

    def start(self, row: int, seed: int) -> None:
        """An episode of that seed has begun in that row."""
        self._sampler.start(row, seed)

    def predict(
        self, observation: Mapping[str, Any], state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Actions for a batch of observations."""
        if deterministic:
            chosen, state = self._policy.predict(observation, state, episode_start, deterministic=True)
            return chosen + self._first_action, state
        import torch

        with torch.no_grad():
            tensors, _ = self._policy.obs_to_tensor(observation)
            probabilities = self._policy.get_distribution(tensors).distribution.probs
        return self._sampler.sample(probabilities.cpu().double().numpy()) + self._first_action, state

    def playing(self, space: SpaceCodec, task: str) -> "SB3Policy":
        """The policy as it plays environments with that space, whose actions may begin with another number than 0."""
        other, root = copy(self), space.root
        if isinstance(root, Integers):
            other._first_action = np.reshape(root.starts, root.shape or ())
        return other

    def check_fit(self, env: Task) -> None:
        """Raises UserError when the environment's spaces are not the ones of the file."""
        if (
            shapes_of(self._space) != shapes_of(env.observation_space)
            or self._actions != from_zero(env.action_space)[0]
        ):
            found = f"shows {describe(env.observation_space)} and takes {env.action_space}"
            raise UserError(
                f"{env.task}: {found}; {self._path} was trained on {describe(self._space)} and {self._actions}"
            )


def _known() -> str:
    return " or ".join(experts.EXPERTS)
