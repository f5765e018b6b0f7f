"""A trained run -> the folder of an agent that others load: weights, recipe, scores and a model card.

NAME/model/            config.json, model.safetensors, the tokenizer
NAME/recipe.json       what it was trained by             NAME/evaluation.json    what it scored
NAME/training.json     what the training was              NAME/README.md          the model card
"""

import json
import shutil
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from safetensors.torch import load_file, save_file

from agentgym.errors import UserError
from agentgym.files import read_json, write_json
from agentgym.report import reproduction
from agentgym.report.publish import results_table, summary

STORED = ("recipe.json", "training.json", "evaluation.json")


def write_agent_folder(run: Path, to: Path, *, half: bool = True) -> Path:
    """Writes the agent of a run that is trained and evaluated into `to`, whole or not at all; its weights as float16.

    Raises UserError when the run is not so far, or `to` holds something.
    """
    for name in (*STORED, "model/model.safetensors"):
        if not (run / name).is_file():
            raise UserError(f"{run / name}: is missing; an agent is made of a run that is trained and evaluated")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"{to}: exists; choose another folder for the agent")
    temporary = to.with_name(to.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        shutil.copytree(run / "model", temporary / "model")
        if half:
            _halve(temporary / "model")
        for name in STORED:
            write_json(temporary / name, read_json(run / name))
        (temporary / "README.md").write_text(model_card(run), encoding="utf-8")
        if to.exists():
            to.rmdir()
        temporary.rename(to)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return to


def model_card(run: Path) -> str:
    """The card of a run's agent: what it plays, how well, what it was trained on, where its limits are."""
    recipe, training, evaluation = (read_json(run / name) for name in STORED)
    loader = PackageLoader("agentgym.report")
    environment = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True)
    versions = {**training["versions"], **evaluation["versions"]}
    return environment.get_template("model_card.md").render(
        name=recipe["name"],
        description=recipe["description"],
        tasks=[task["task"] for task in evaluation["tasks"]],
        parameters=f"{training['parameters']:,}",
        scores=results_table(evaluation),
        summary=summary(evaluation),
        updates=f"{training['updates']:,}",
        batch=recipe["training"]["batch_size"],
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
    weights = {name: each.half() if each.is_floating_point() else each for name, each in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    config: dict[str, Any] = read_json(checkpoint / "config.json")
    (checkpoint / "config.json").write_text(json.dumps({**config, "dtype": "float16"}, indent=2) + "\n")
