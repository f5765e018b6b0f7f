"""The run folder: what lies in it, and what makes a folder one.

runs/NAME/recipe.json        the resolved recipe            runs/NAME/model/          the checkpoint
runs/NAME/metrics.jsonl      the curves                     runs/NAME/training.json   what the training was
runs/NAME/evaluation.json    the scores                     runs/NAME/episodes.json   the episodes that were scored
runs/NAME/videos/            videos of some of them         runs/NAME/report.html     all of it as a page
runs/NAME/reconstructions.npz   frames, as they are, masked, and as the masked autoencoder predicts them
"""

from pathlib import Path

from agentgym.errors import UserError
from agentgym.files import read_json, write_json
from agentgym.recipes import ExperimentRecipe, differences, with_later_keys


def open_run(run: Path, recipe: ExperimentRecipe) -> None:
    """The run folder with its recipe. Raises UserError when it holds another recipe's run or something else."""
    file = run / "recipe.json"
    values = recipe.model_dump(mode="json")
    if file.is_file():
        changed = differences(read_recipe(run).model_dump(mode="json"), values)
        if changed:
            raise UserError(
                f"{run}: holds a run of another recipe ({changed[0]}); choose another folder or --overwrite"
            )
    elif run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise UserError(f"{run}: exists and is no run; choose another folder or --overwrite")
    else:
        run.mkdir(parents=True, exist_ok=True)
        write_json(file, values)


def read_recipe(run: Path) -> ExperimentRecipe:
    """The recipe of a run folder. Raises UserError when it is no run."""
    if not (run / "recipe.json").is_file():
        raise UserError(f"{run}: is no run folder (no recipe.json); 'agentgym train EXPERIMENT' makes one in runs/NAME")
    return ExperimentRecipe.model_validate(with_later_keys(read_json(run / "recipe.json")))
