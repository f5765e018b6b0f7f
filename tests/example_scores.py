"""The values of evaluation.json and episodes.json, as an evaluation writes them, for the tests of what reads them."""

from typing import Any

NEXT_ACTION = {
    "actions": 1088,
    "accuracy": 0.9797,
    "perplexity": 1.0708,
    "bleu4": 0.9476,
    "bleu4_with_delimiters": 0.9848,
}


def score_of(**changes: Any) -> dict[str, Any]:
    """What one player reached on one task."""
    return {
        "episodes": 10,
        "success_rate": 0.9,
        "success_ci95": [0.5958, 0.9821],
        "return_mean": 0.85,
        "return_ci95": [0.8, 0.9],
        "length_mean": 6.25,
        "errors": 0,
        **changes,
    }


def task_of(agent: dict[str, Any], **roles: Any) -> dict[str, Any]:
    """A task with the score of its agent, those of the references, and what else is given."""
    return {"task": "T-v0", "first_seed": 0, **agent, "normalised": None, "published": None, **roles}


def evaluation_of(task: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The evaluation of one task."""
    over_tasks = {
        "tasks": 1,
        "iqm": 0.9,
        "iqm_ci95": [0.8, 0.95],
        "mean": 0.875,
        "mean_ci95": [0.75, 0.9],
        "optimality_gap": 0.125,
        "optimality_gap_ci95": [0.1, 0.25],
    }
    shared = {"format": 1, "versions": {"torch": "2"}, "over_tasks": over_tasks, "next_action": NEXT_ACTION}
    return {**shared, "tasks": [task], **changes}


def episode_of(*, seed: int = 0, success: bool = True, length: int = 2, **changes: Any) -> dict[str, Any]:
    """One episode: its return is 1 or 0, its actions are all 0."""
    outcome = {"success": success, "total_reward": float(success), "length": length, "actions": [0] * length}
    return {"task": "T-v0", "seed": seed, "instruction": "go", **outcome, **changes}
