"""Who acts while demonstrations are recorded: one file per kind, all behind one small Protocol."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from agentgym.environments import Observation, Task
from agentgym.errors import UserError, did_you_mean
from agentgym.experts.babyai import BabyAIExpert
from agentgym.experts.random import RandomExpert


class Expert(Protocol):
    """Acts for one episode at a time."""

    def check(self, environment: Task) -> None:
        """Raises UserError when it cannot act in that environment at all."""
        ...

    def start(self, environment: Task, seed: int) -> None:
        """Called after the reset of each episode, with the episode's seed."""
        ...

    def act(self, observation: Observation) -> Any:
        """The action for the present observation."""
        ...


@runtime_checkable
class Following(Protocol):
    """An expert that takes for granted that its last action was executed, unless it is told otherwise."""

    def executed(self, action: Any) -> None:
        """Called after each step with the action that was executed."""
        ...


EXPERTS: dict[str, tuple[Callable[[], Expert], str]] = {
    "babyai-bot": (BabyAIExpert, "the scripted bot of BabyAI, for every BabyAI-* task"),
    "random": (RandomExpert, "uniformly random actions, by the episode's seed"),
}


def make(name: str) -> Expert:
    """The expert of that name. Raises UserError when there is none."""
    if name not in EXPERTS:
        hint = did_you_mean(name, EXPERTS) or f"; known: {', '.join(EXPERTS)}"
        raise UserError(f"no expert is named '{name}'{hint}")
    return EXPERTS[name][0]()
