"""The files of a run whose every number is known."""

from typing import Any

from example_scores import episode_of, evaluation_of, score_of, task_of

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


SCORE = score_of(episodes=500, return_mean=0.8765, return_ci95=[0.8612, 0.8923], length_mean=7.25)
TASK = task_of(
    {**SCORE, "success_rate": 0.964, "success_ci95": [0.9438, 0.9771]},
    task="GoTo-v0",
    random={**SCORE, "success_rate": 0.312, "success_ci95": [0.2731, 0.3539], "return_mean": 0.1265},
    expert={
        **SCORE,
        "name": "bot",
        "success_rate": 0.998,
        "success_ci95": [0.9888, 0.9996],
        "errors": 3,
        "return_mean": 1.1265,
    },
    normalised=0.75,
    published={"random": 0.1, "expert": 0.93, "source": "a paper"},
)
EVALUATION = evaluation_of(
    TASK,
    policy="runs/goto/model",
    deterministic=True,
    versions={"minigrid": "3.2.0", "torch": "2.13.0"},
    over_tasks={
        "tasks": 1,
        "iqm": 0.9612,
        "iqm_ci95": [0.94, 0.97],
        "mean": 0.9512,
        "mean_ci95": [0.93, 0.96],
        "optimality_gap": 0.0488,
        "optimality_gap_ci95": [0.04, 0.07],
        "profile": {"thresholds": [0.0, 0.5, 1.0], "shares": [1.0, 0.9, 0.25]},
    },
)


def an_episode(seed: int, success: bool, length: int) -> dict[str, Any]:
    """An episode whose instruction would run a script on a page that does not escape it."""
    return episode_of(seed=seed, success=success, length=length, task="GoTo-v0", instruction=MARKUP)
