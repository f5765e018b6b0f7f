"""Agents trained by Stable-Baselines3 as experts, and the policy inside a zip.

Loading a zip unpickles, which can run any code inside it: it has to be trusted (`agentgym.trust`). An agent reads the
environment's state, or its observation, whichever it was trained on.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from agentgym import trust
from agentgym.environments import Observation, Task
from agentgym.errors import UserError, first_line
from agentgym.extras import needs
from agentgym.spaces.from_zero import from_zero

if TYPE_CHECKING:
    from stable_baselines3.common.policies import BasePolicy


class SB3Expert:
    """The likeliest actions of the agent in `path`."""

    def __init__(self, path: Path) -> None:
        trust.check_pickle(f"sb3:{path}")
        self._path = path
        self._policy: BasePolicy | None = None

    def check(self, environment: Task) -> None:
        """Raises UserError when there is no such file, or when it was trained on something else."""
        path = self._path
        if not path.is_file():
            raise UserError(f"sb3:{path}: there is no such file; name the zip that Stable-Baselines3's save wrote")
        self._policy = load_sb3_policy(path)
        space, actions = self._policy.observation_space, self._policy.action_space
        self._reads_state = space == environment.state_space
        fits = self._reads_state or shapes_of(space) == shapes_of(environment.observation_space)
        counted, self._first_action = from_zero(environment.action_space)
        if not fits or actions != counted:
            shown = [each for each in (environment.observation_space, environment.state_space) if each is not None]
            raise UserError(
                f"{environment.task}: shows {' or '.join(map(describe, shown))} and takes {environment.action_space}; "
                f"{path} was trained on {describe(space)} and {actions}"
            )

    def start(self, environment: Task, seed: int) -> None:
        """Nothing to begin: the agent has no memory."""
        if self._policy is None:
            self.check(environment)
        self._environment = environment

    def act(self, observation: Observation) -> Any:
        """The likeliest action for the present state."""
        assert self._policy is not None
        self._seen: Any = self._environment.state if self._reads_state else observation
        return self._policy.predict(self._seen, deterministic=True)[0] + self._first_action

    @property
    def has_probabilities(self) -> bool:
        """Whether the policy is an actor-critic of a Discrete space: others have values of actions, or means."""
        from stable_baselines3.common.policies import ActorCriticPolicy

        discrete = self._policy is not None and isinstance(self._policy.action_space, gymnasium.spaces.Discrete)
        return discrete and isinstance(self._policy, ActorCriticPolicy)

    def probabilities(self) -> NDArray[np.float32]:
        """float32[actions]: the policy's, for what it saw when it acted last."""
        policy: Any = self._policy
        observation, _ = policy.obs_to_tensor(self._seen)
        found: NDArray[np.float32] = policy.get_distribution(observation).distribution.probs[0].detach().numpy()
        return found


def load_sb3_policy(path: Path) -> "BasePolicy":
    """The policy inside a Stable-Baselines3 zip of any algorithm, ready to act.

    Raises UserError if it is not trusted or cannot be read.
    """
    trust.check_pickle(f"sb3:{path}")
    with needs("sb3", what=f"{path}:"):
        from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
        from stable_baselines3.common.save_util import load_from_zip_file

    try:
        data, parameters, _ = load_from_zip_file(str(path), device="cpu")
        if data is None:
            raise ValueError("it holds no model")
        kwargs, policy_class = dict(data["policy_kwargs"]), data["policy_class"]
        if issubclass(policy_class, ActorCriticPolicy):
            kwargs["use_sde"] = data["use_sde"]
        policy = policy_class(data["observation_space"], data["action_space"], lambda progress: 0.0, **kwargs)
        assert isinstance(policy, BasePolicy)
        policy.load_state_dict(parameters["policy"])
    except Exception as error:  # whatever is in the file: pickles of other versions, other classes, no zip at all
        reason = first_line(error)
        raise UserError(f"{path}: cannot be loaded as a Stable-Baselines3 model ({reason})") from None
    policy.set_training_mode(False)
    return policy


def shapes_of(space: gymnasium.Space[Any]) -> Any:
    """The shapes of a space's parts; pictures the same whether channels come first or last, as SB3 takes both."""
    if isinstance(space, gymnasium.spaces.Dict):
        return {key: shapes_of(part) for key, part in space.items()}
    shape = tuple(space.shape or ())
    return (*shape[1:], shape[0]) if len(shape) == 3 and shape[0] == 3 and shape[2] != 3 else shape


def describe(space: gymnasium.Space[Any]) -> str:
    """A space's dtypes and shapes in few words; limits are left out."""
    if isinstance(space, gymnasium.spaces.Dict):
        return "{" + ", ".join(f"{key}: {describe(part)}" for key, part in space.items()) + "}"
    return str(space) if space.dtype is None else f"{space.dtype}{list(space.shape or ())}"
