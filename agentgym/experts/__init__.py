"""Experts, with one small Protocol (Expert), and how their demonstrations are collected.

    babyai_bot, planner/, atari/          BabyAI's bot; a search on MiniGrid's true grid; players and a search for Atari
    trained, ppo, networks, sb3           networks trained on an environment's state; Stable-Baselines3 zips
    agent, random, trivial                agentgym's own agent, and the players that it is compared with
    collection, demonstrations, replay    an expert's episodes on all cores, one of them, and whether they replay
    action_noise, dagger, budget, outcomes   acting in the expert's place; what an episode may cost; what surveys know

Only `ppo` trains anything, and torch is imported only where it is needed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from agentgym.environments import Observation, Task
from agentgym.errors import UserError, did_you_mean
from agentgym.experts.atari import AtariRam, RolloutIW
from agentgym.experts.babyai_bot import BabyAIExpert
from agentgym.experts.planner import MiniGridPlanner
from agentgym.experts.random import RandomExpert
from agentgym.experts.sb3 import SB3Expert
from agentgym.experts.trained import TrainedExpert
from agentgym.experts.trivial import ConstantExpert, RepeatExpert

__all__ = [
    "AGENT",
    "BY_PATH",
    "CONSTANT",
    "EXPERTS",
    "SB3",
    "TRAINED",
    "Expert",
    "ObservesExecution",
    "RandomExpert",
    "StateOnly",
    "make",
]


class Expert(Protocol):
    """Acts for one episode at a time."""

    def check(self, environment: Task) -> None:
        """Raises UserError when it cannot act in that environment at all."""
        ...

    def start(self, environment: Task, seed: int) -> None:
        """Called after the reset of each episode, with the episode's seed."""
        ...

    def act(self, observation: Observation) -> Any:
        """The action for the observation {"frame": uint8[H, W, 3], "instruction": uint8[L]}.

        Any exception that it raises ends the episode as an error, and the collection continues.
        """
        ...


@runtime_checkable
class ObservesExecution(Protocol):
    """An expert that assumes its last action was executed, unless `executed` names another."""

    def executed(self, action: Any) -> None:
        """Called after each step with the action that was executed."""
        ...


@runtime_checkable
class GivesProbabilities(Protocol):
    """An expert that can say how likely it finds each action of a Discrete space.

    `has_probabilities` says, after `check`, whether it does in that environment.
    """

    has_probabilities: bool

    def probabilities(self) -> NDArray[np.float32]:
        """float32[actions], of the state in which it acted last; their sum is 1."""
        ...


@runtime_checkable
class StateOnly(Protocol):
    """An expert that never looks at a frame: where no frame is kept either, none has to be drawn for it."""

    unseeing: bool


EXPERTS: dict[str, tuple[Callable[[], Expert], str]] = {
    "babyai-bot": (BabyAIExpert, "the scripted bot of BabyAI, for every BabyAI-* task"),
    "minigrid-planner": (MiniGridPlanner, "a planner on the true grid, for every MiniGrid-* task with a mission"),
    "atari-ram": (AtariRam, "players that read the emulator's memory, for ALE/Breakout-v5, Freeway and Pong"),
    "rollout-iw": (RolloutIW, "a planner on the emulator's saved states, for every ALE/* game"),
    "trained": (TrainedExpert, "networks that come with the package, for the MinAtar/*-v1 games"),
    "random": (RandomExpert, "uniformly random actions, by the episode's seed"),
    "repeat": (RepeatExpert, "the last action again: one action an episode, drawn by its seed"),
}


SB3, AGENT, TRAINED, CONSTANT = "sb3:", "agent:", "trained:", "constant:"
BY_PATH = {
    f"{CONSTANT}N": "action number N of a Discrete space (0 is the first) at every step",
    f"{TRAINED}PATH": "the network of a .safetensors file that 'agentgym train-expert' wrote",
    f"{SB3}PATH": "the agent of a Stable-Baselines3 zip, wherever it was trained; with --trust",
    f"{AGENT}PATH": "agentgym's own agent of a run or checkpoint folder, by its likeliest actions",
}


def is_known(name: str) -> bool:
    """Whether it is the name of an expert, as far as that can be told without looking for its file."""
    return name in EXPERTS or name.startswith((SB3, TRAINED, AGENT, CONSTANT))


def make(name: str) -> Expert:
    """The expert of that name, or of `trained:PATH`, `sb3:PATH`, `agent:PATH` or `constant:N`.

    Raises UserError for another name, and for a file that cannot be read or is not trusted.
    """
    if name.startswith(SB3):
        return SB3Expert(Path(name.removeprefix(SB3)))
    if name.startswith(TRAINED):
        return TrainedExpert(Path(name.removeprefix(TRAINED)))
    if name.startswith(AGENT):
        from agentgym.experts.agent import AgentExpert  # which needs torch

        return AgentExpert(name.removeprefix(AGENT))
    if name.startswith(CONSTANT) and name.removeprefix(CONSTANT).isdecimal():
        return ConstantExpert(int(name.removeprefix(CONSTANT)))
    if name not in EXPERTS:
        hint = did_you_mean(name, EXPERTS) or f"; known: {', '.join([*EXPERTS, *BY_PATH])}"
        raise UserError(f"no expert is named '{name}'{hint}")
    return EXPERTS[name][0]()
