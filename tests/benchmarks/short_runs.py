"""A short training of a recipe and what its agent then scores: what benchmarks of settings compare."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentgym import recipes
from agentgym.evaluation.results import RolloutResult
from agentgym.evaluation.rollouts import rollout
from agentgym.experiments import imitation
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.training.metrics import read_metrics
from agentgym.training.run_folder import open_run


def train_and_play(
    recipe: str, data: Path, overrides: Sequence[str], *, updates: int, seed: int, levels: int
) -> tuple[list[RolloutResult], dict[str, Any], float]:
    """Trains once: the episodes of that many levels, the last held-out values, and seconds of the processor."""
    resolved = recipes.load_experiment(
        recipe,
        [
            *overrides,
            f"training.seed={seed}",
            f"training.updates={updates}",
            f"training.evaluate_every={updates}",
            f"training.checkpoint_every={updates}",
            "training.evaluate_episodes=0",
        ],
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        open_run(run, resolved)
        started = time.process_time()
        imitation.train_run(resolved, data, run)
        seconds = time.process_time() - started
        last = [line for line in read_metrics(run) if "held_out/accuracy/action" in line][-1]
        suite = resolved.dataset.suite
        played = rollout(
            AgentPolicy.from_pretrained(run),
            suite.tasks[0],
            frame=suite.frame,
            seeds=range(levels),
            num_environments=32,
            deterministic=True,
        )
    return played, last, seconds
