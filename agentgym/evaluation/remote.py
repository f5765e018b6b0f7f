"""`remote:URL`: a policy that a server runs, scored like one that is here."""

from collections.abc import Mapping
from typing import Any

from agentgym.client import RemoteError, RemotePolicy, RemoteState
from agentgym.environments import Task
from agentgym.errors import UserError

PREFIX = "remote:"


class ServedPolicy:
    """Asks the server of that address, whose refusals are the user's to read. Actions are the likeliest ones."""

    def __init__(self, url: str, *, token: str | None, sampled: bool) -> None:
        """Connects. Raises UserError when no policy answers there, and for drawn actions, which need a local policy."""
        if sampled:
            raise UserError(f"{PREFIX}{url}: a served policy is scored by its likeliest actions; leave --sample out")
        try:
            self._remote = RemotePolicy(url, token=token)
        except RemoteError as error:
            raise UserError(str(error)) from None

    def predict(
        self,
        observation: Mapping[str, Any],
        state: RemoteState | None = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[Any, RemoteState]:
        """Actions for a batch of observations. Raises UserError with what the server refused."""
        try:
            return self._remote.predict(observation, state, episode_start, deterministic=deterministic)
        except RemoteError as error:
            raise UserError(str(error)) from None

    def select(self, state: RemoteState, rows: Any) -> RemoteState:
        """The state of those rows."""
        return self._remote.select(state, rows)

    def check_fit(self, env: Task) -> None:
        """Raises UserError when the server does not answer to what the environment shows."""
        observation, _ = env.reset(seed=0)
        self.predict(observation)
