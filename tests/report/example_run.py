"""The files of a run whose every number is known."""

from typing import Any

MARKUP = "<script>document.title = 'owned'</script> & \"go\" to the <b>ball</b>"


RECIPE: dict[str, Any] = {
    "name": "goto",
    "description": "a small run",
    "dataset": {
        "name": "goto-data",
        "description": "a hundred episodes",
        "suite": {
            "name": "goto-suite",
            "description": "one task",
            "frame": {"view": "partial", "tile_size": 8},
            "tasks": [{"id": "GoTo-v0"}],
        },
        "expert": "bot",
        "episodes": 100,
        "first_seed": 1_000_000,
    },
    "model": {"preset": "tiny", "patch_merge": None},
    "training": {"updates": 400, "betas": [0.9, 0.98]},
}


TRAINING = {
    "updates": 400,
    "windows": 6400,
    "targets": 1_234_567,
    "parameters": 987_654,
    "seconds": 131.0,
    "precision": "float32",
    "versions": {"torch": "2.13.0"},
}


def score_values(success_rate: float, low: float, high: float) -> dict[str, Any]:
    return {
        "episodes": 500,
        "success_rate": success_rate,
        "success_ci95": [low, high],
        "return_mean": 0.8765,
        "return_ci95": [0.8612, 0.8923],
        "length_mean": 7.25,
        "errors": 0,
    }


TASK = {
    "task": "GoTo-v0",
    "first_seed": 0,
    **score_values(0.964, 0.9438, 0.9771),
    "random": {**score_values(0.312, 0.2731, 0.3539), "return_mean": 0.1265},
    "expert": {**score_values(0.998, 0.9888, 0.9996), "name": "bot", "errors": 3, "return_mean": 1.1265},
    "normalised": 0.75,
    "published": {"random": 0.1, "expert": 0.93, "source": "a paper"},
}


NEXT_ACTION = {
    "actions": 1088,
    "accuracy": 0.9797,
    "perplexity": 1.0708,
    "bleu4": 0.9476,
    "bleu4_with_delimiters": 0.9848,
}
EVALUATION = {
    "format": 1,
    "policy": "runs/goto/model",
    "deterministic": True,
    "versions": {"minigrid": "3.2.0", "torch": "2.13.0"},
    "tasks": [TASK],
    "over_tasks": {
        "tasks": 1,
        "iqm": 0.9612,
        "iqm_ci95": [0.94, 0.97],
        "mean": 0.9512,
        "mean_ci95": [0.93, 0.96],
        "optimality_gap": 0.0488,
        "optimality_gap_ci95": [0.04, 0.07],
        "profile": {"thresholds": [0.0, 0.5, 1.0], "shares": [1.0, 0.9, 0.25]},
    },
    "next_action": NEXT_ACTION,
}


def an_episode(seed: int, success: bool, length: int) -> dict[str, Any]:
    reward = float(success)
    outcome = {"success": success, "total_reward": reward, "length": length, "actions": [0] * length}
    return {"task": "GoTo-v0", "seed": seed, "instruction": MARKUP, **outcome}
