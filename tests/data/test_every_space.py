"""Actions of every kind of space, from the recording to the scores, in environments as they come."""

import gymnasium
import numpy as np
import pytest

from agentgym.evaluation import protocol, scoring
from agentgym.evaluation.rollouts import fitted
from agentgym.experiments import imitation
from agentgym.experts import collection
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.recipes import ExperimentRecipe
from agentgym.training.run_folder import open_run


class Pressing(gymnasium.Env):
    """Four steps; the reward is the number of pressed buttons."""

    observation_space = gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8)
    action_space = gymnasium.spaces.MultiBinary(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observe(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.steps += 1
        return self.observe(), float(action.sum()), self.steps == 4, False, {}

    def observe(self):
        return np.full((16, 16, 3), self.steps * 40, np.uint8)


class Turning(Pressing):
    """The same with two wheels of three and two positions."""

    action_space = gymnasium.spaces.MultiDiscrete([3, 2])


@pytest.fixture(scope="module", autouse=True)
def registered():
    gymnasium.register("Pressing-v0", Pressing)
    gymnasium.register("Turning-v0", Turning)
    yield
    for name in ("Pressing-v0", "Turning-v0"):
        del gymnasium.registry[name]


TASKS = {
    "CartPole-v1": {"action_names": ["left", "right"]},
    "Pendulum-v1": {},
    "Pressing-v0": {},
    "Turning-v0": {},
}
TOKENS = {"CartPole-v1": 2, "Pendulum-v1": 256, "Pressing-v0": 3 + 2, "Turning-v0": 5}


def recipe_of(task):
    tasks = [{"id": task, "instructions": ("play",), "limit": 6, "success_return": 1.0, **TASKS[task]}]
    suite = {"name": "one", "description": "", "frame": {"size": [16, 16]}, "tasks": tasks}
    dataset = {"name": "d", "description": "", "suite": suite, "expert": "random", "episodes": 6, "keep": "all"}
    training = {"updates": 3, "batch_size": 2, "window": 3, "evaluate_episodes": 2, "evaluate_every": 3}
    return ExperimentRecipe.model_validate(
        {
            "name": "e",
            "description": "",
            "dataset": {**dataset, "held_out": 0.5},
            "training": training,
            "evaluation": {"episodes": 2, "videos": int(task in SLOW)},
        }
    )


SLOW = ("CartPole-v1", "Pendulum-v1", "Turning-v0")  # what they draw, or what Pressing-v0 shows too


@pytest.mark.parametrize(
    "task", [pytest.param(task, marks=[pytest.mark.slow] if task in SLOW else []) for task in TASKS]
)
def test_an_agent_is_recorded_for_trained_and_scored(task, tmp_path):
    recipe, run = recipe_of(task), tmp_path / "run"
    collection.collect(recipe.dataset, tmp_path / "data", workers=1)
    open_run(run, recipe)
    imitation.train_run(recipe, tmp_path / "data", run)
    found = scoring.evaluate(protocol.configure_evaluation(str(run), expert="random"), workers=1)
    assert found["tasks"][0]["episodes"] == 2
    assert found["next_action"]["perplexity"] > 1
    policy = AgentPolicy.from_pretrained(run)
    assert len(policy.model.config.action_tokens) == TOKENS[task]
    suite = recipe.dataset.suite
    assert fitted(policy, suite.tasks[0], suite.frame) is policy
