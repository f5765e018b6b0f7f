"""A trained run -> the folder of an agent that others load: weights, recipe, scores and a model card.

NAME/model/            config.json, model.safetensors, the tokenizer
NAME/recipe.json       what it was trained by             NAME/evaluation.json    what it scored
NAME/training.json     what the training was              NAME/README.md          the model card
"""

import shutil
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from agentgym.errors import UserError, first_line
from agentgym.evaluation.stored import read_evaluation
from agentgym.files import read_json, replace_file, understanding, write_json
from agentgym.folders import new_folder
from agentgym.recipes import ExperimentRecipe, PartRecipe
from agentgym.report import reproduction
from agentgym.report.publish import results_table, summary
from agentgym.training.run_folder import read_recipe, read_training

STORED = ("recipe.json", "training.json", "evaluation.json")


def write_agent_folder(run: Path, to: Path, *, half: bool = True) -> Path:
    """Writes the agent of a run that is trained and evaluated into `to`, whole or not at all; its weights as float16.

    Raises UserError when the run is not so far, or `to` holds something.
    """
    for name in (*STORED, "model/model.safetensors"):
        if not (run / name).is_file():
            raise UserError(f"{run / name}: is missing; an agent is made of a run that is trained and evaluated")
    card, stored = model_card(run), {name: read_json(run / name, dict) for name in STORED}
    with new_folder(to) as folder:
        shutil.copytree(run / "model", folder / "model")
        if half:
            _halve(folder / "model")
        for name, values in stored.items():
            write_json(folder / name, values)
        replace_file(folder / "README.md", card)
    return to


def model_card(run: Path) -> str:
    """The card of a run's agent: what it plays, how well, what it was trained on, where its limits are."""
    recipe, training = read_json(run / "recipe.json", dict), read_training(run / "training.json")
    evaluation = read_evaluation(run / "evaluation.json")
    data = _data(read_recipe(run))
    with understanding(run):
        return _render(run, recipe, training, evaluation, data)


def _data(recipe: ExperimentRecipe) -> list[dict[str, Any]]:
    """What the agent was trained on, part by part; of a folder that no recipe records only its name is known."""
    parts = recipe.parts or [PartRecipe(dataset=recipe.dataset)]
    whole = sum(part.weight for part in parts)
    return [
        {
            "name": part.dataset.name if part.dataset else Path(part.folder).name,
            "recipe": part.dataset,
            "caption": part.caption,
            "share": part.weight / whole,
            "window": part.window or recipe.training.window,
            "held_out": recipe.held_out_of(part),
        }
        for part in parts
    ]


def _render(
    run: Path,
    recipe: dict[str, Any],
    training: dict[str, Any],
    evaluation: dict[str, Any],
    data: list[dict[str, Any]],
) -> str:
    loader = PackageLoader("agentgym.report")
    environment = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True)
    versions = {**training["versions"], **evaluation["versions"]}
    return environment.get_template("model_card.md").render(
        name=recipe["name"],
        description=recipe["description"],
        tasks=[task["task"] for task in evaluation["tasks"]],
        parameters=f"{training['parameters']:,}",
        data=data,
        scores=results_table(evaluation),
        summary=summary(evaluation),
        updates=f"{training['updates']:,}",
        batch=recipe["training"]["batch_size"] * recipe["training"].get("accumulation", 1),
        targets=f"{training['targets']:,}",
        seconds=f"{training['seconds']:,.0f}",
        precision=training["precision"],
        seed=recipe["training"]["seed"],
        made_by=reproduction.command(recipe, run),
        versions=", ".join(f"{package} {number}" for package, number in sorted(versions.items())),
    )


def _halve(checkpoint: Path) -> None:
    """The weights as float16, and a configuration that says so."""
    file = checkpoint / "model.safetensors"
    try:
        loaded = load_file(file)
    except SafetensorError as error:
        raise UserError(f"{file}: cannot be read ({first_line(error)}); the checkpoint is not whole") from None
    weights = {name: each.half() if each.is_floating_point() else each for name, each in loaded.items()}
    save_file(weights, file, metadata={"format": "pt"})
    config: dict[str, Any] = read_json(checkpoint / "config.json", dict)
    write_json(checkpoint / "config.json", {**config, "dtype": "float16"})
