"""Who acts while demonstrations are recorded: one file per kind, all behind one small Protocol."""

from collections.abc import Callable
from typing import Any, Protocol

from agentgym.environments import Observation, Task
from agentgym.errors import UserError, did_you_mean
from agentgym.experts.babyai import BabyAIExpert
from agentgym.experts.planner import MiniGridPlanner
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


EXPERTS: dict[str, tuple[Callable[[], Expert], str]] = {
    "babyai-bot": (BabyAIExpert, "the scripted bot of BabyAI, for every BabyAI-* task"),
    "minigrid-planner": (MiniGridPlanner, "a planner on the true grid, for every MiniGrid-* task with a mission"),
    "random": (RandomExpert, "uniformly random actions, by the episode's seed"),
}


def make(name: str) -> Expert:
    """The expert of that name. Raises UserError when there is none."""
    if name not in EXPERTS:
        hint = did_you_mean(name, EXPERTS) or f"; known: {', '.join(EXPERTS)}"
        raise UserError(f"no expert is named '{name}'{hint}")
    return EXPERTS[name][0]()
