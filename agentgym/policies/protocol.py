"""Acting in Gymnasium's own loops: objects that hold the history where a loop passes no `state` along.

A policy holds no history, so that rollouts can share it; an `Actor` holds one environment's, a `VectorPolicy` that of a
vector environment. Both take any policy with Stable-Baselines3's `predict` and know no model.
"""

from typing import Any, Protocol

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray


class Policy(Protocol):
    """What acts: the protocol is Stable-Baselines3's `PolicyPredictor`."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Actions [N, ...] for a batch of N observations, and the state to pass to the next call.

        `state` is None at first; `episode_start`, bool[N], says in which rows an episode begins.
        """
        ...


class Actor:
    """Acts in one environment: `reset()` with the environment's own reset, `act(observation)` at every step."""

    def __init__(self, policy: Policy, *, deterministic: bool = True) -> None:
        self._policy = policy
        self._deterministic = deterministic
        self._state: Any = None

    def reset(self) -> None:
        """The next observation is an episode's first."""
        self._state = None

    def act(self, observation: Any) -> Any:
        """The action for the next observation of the episode."""
        action, self._state = self._policy.predict(observation, self._state, deterministic=self._deterministic)
        return action


class VectorPolicy:
    """Acts in a `gymnasium.vector` environment, in any of its autoreset modes; holds the history of its episodes."""

    def __init__(self, policy: Policy, envs: VectorEnv, *, deterministic: bool = True) -> None:
        self._policy = policy
        self._deterministic = deterministic
        self._waits = envs.metadata.get("autoreset_mode") == AutoresetMode.NEXT_STEP
        self._state: Any = None
        self._over = np.zeros(envs.num_envs, bool)

    def reset(self) -> None:
        """The next observations are all first ones."""
        self._state = None
        self._over[:] = False

    def act(self, observations: Any, over: NDArray[np.bool_] | None = None) -> Any:
        """Actions for the latest observations, one a row; `over`, bool[N], says which episodes ended in the last step.

        With NEXT_STEP an episode's last observation comes first (its action is ignored) and the new episode's one
        step later; with SAME_STEP the new one comes at once; with DISABLED it comes from the caller's own
        `reset(options={"reset_mask": over})`, to be called before this.
        """
        over = np.zeros_like(self._over) if over is None else np.array(over, bool)
        starts = self._over if self._waits else over
        self._over = over
        actions, self._state = self._policy.predict(observations, self._state, starts, self._deterministic)
        return actions
