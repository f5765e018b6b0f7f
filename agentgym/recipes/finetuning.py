"""experiments/ppo/*.toml: reinforcement learning from a run."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agentgym.recipes.base import LAST_SEED, MOST_AT_ONCE, MOST_EPISODES, Name, Recipe
from agentgym.recipes.suites import SuiteRecipe


class PPORecipe(Recipe):
    """PPO as Stable-Baselines3 has it: `steps` in all, `environments` x `rollout_steps` of them between updates.

    The learning rate falls evenly to `final_learning_rate`. An update ends where the policy has moved by 1.5 times
    `target_kl` from the one that played. `value_rate` multiplies the value head's learning rate. In the first
    `value_warmup_rollouts` only that head learns.
    `tether` weighs the divergence from the agent that was started from, `entropy` the entropy bonus: one of the two.
    `freeze_vision`: frames are encoded as they were, only the language model learns.
    """

    steps: Annotated[int, Field(ge=1, le=10**12)]
    environments: Annotated[int, Field(ge=1, le=MOST_AT_ONCE)] = 16
    rollout_steps: Annotated[int, Field(ge=1, le=10**6)] = 64
    batch_size: Annotated[int, Field(ge=2, le=10**7)] = 256
    epochs: Annotated[int, Field(ge=1, le=10**6)] = 3
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    final_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    target_kl: Annotated[float, Field(gt=0)] | None = None
    value_rate: Annotated[float, Field(gt=0)] = 5.0
    value_warmup_rollouts: Annotated[int, Field(ge=0, le=10**9)] = 0
    tether: Annotated[float, Field(ge=0)] = 0.0
    entropy: Annotated[float, Field(ge=0)] = 0.0
    freeze_vision: bool = False
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.99
    gae_lambda: Annotated[float, Field(gt=0, le=1)] = 0.95
    clip: Annotated[float, Field(gt=0)] = 0.2
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0

    @model_validator(mode="after")
    def _one_bonus(self) -> Self:
        if self.tether and self.entropy:
            raise ValueError("expected 'tether' or 'entropy' to be 0")
        return self


class CurveRecipe(Recipe):
    """The points of a learning curve: after `every` steps, [first_seed, first_seed + episodes) of each task."""

    episodes: Annotated[int, Field(ge=1, le=MOST_EPISODES)] = 100
    first_seed: Annotated[int, Field(ge=0, le=LAST_SEED - MOST_EPISODES)] = 500_000
    every: Annotated[int, Field(ge=1, le=10**12)] = 10_240


class FinetuningRecipe(Recipe):
    """experiments/ppo/*.toml: reinforcement learning on a suite, from the run `init`.

    `start` "agent" is that agent, "random" one of the same sizes with random weights, "cnn" Stable-Baselines3's
    CnnPolicy, which sees only the latest frame.
    """

    name: Name
    description: str
    suite: SuiteRecipe
    init: str
    start: Literal["agent", "random", "cnn"] = "agent"
    ppo: PPORecipe
    evaluation: CurveRecipe = CurveRecipe()

    @model_validator(mode="after")
    def _something_to_hold_to(self) -> Self:
        if self.ppo.tether and self.start != "agent":
            raise ValueError(f"start '{self.start}' knows nothing to be held to: expected ppo.tether to be 0")
        return self
