"""Agents from checkpoint folders: every tensor in its place, finite, and ready to act, or an error that names it."""

from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from agentgym.errors import UserError, first_line
from agentgym.files import LARGEST_SETTINGS, read_json
from agentgym.model.agent import AgentModel
from agentgym.model.config import AgentConfig
from agentgym.model.older_formats import CHECKPOINT_FORMAT
from agentgym.model.sizes import check_described


def load_agent(
    path: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> AgentModel:
    """The model of a checkpoint folder, ready to act. Raises UserError unless each tensor has its place."""
    path = Path(path)
    config_file = path / "config.json"
    if not config_file.is_file():
        raise UserError(f"{path}: no config.json; name a checkpoint folder, such as runs/NAME/model")
    values: dict[str, Any] = read_json(config_file, dict, most=LARGEST_SETTINGS)
    if values.get("model_type") != AgentConfig.model_type:
        raise UserError(
            f"{config_file}: model_type is {values.get('model_type')!r}, not 'agentgym': another kind of model"
        )
    if values.get("checkpoint_format") not in (1, 2, CHECKPOINT_FORMAT):
        found = values.get("checkpoint_format")
        raise UserError(
            f"{config_file}: checkpoint format {found}; this agentgym reads formats 1 to {CHECKPOINT_FORMAT}"
        )
    if not list(path.glob("*.safetensors")):
        raise UserError(f"{path}: has no model.safetensors; the weights are missing")
    check_described(config_file, values)
    transformers_logging.disable_progress_bar()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # what differs is said below, as an error
    try:
        model, report = AgentModel.from_pretrained(
            path,
            dtype=dtype,
            output_loading_info=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # a damaged file raises whatever its reader raises
        raise UserError(f"{path}: the weights cannot be read: {first_line(error)}") from None
    finally:
        transformers_logging.set_verbosity(verbosity)
    for problem, keys in (
        ("missing", "missing_keys"),
        ("left over", "unexpected_keys"),
        ("of another shape", "mismatched_keys"),
    ):
        if report[keys]:
            raise UserError(
                f"{path}: tensor {min(str(key) for key in report[keys])} is {problem} ({len(report[keys])} in all)"
            )
    _check_windows(config_file, model)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{path}: tensor {name} has numbers that are not finite; the agent cannot act with them")
    return model.to(device).eval()


def _check_windows(file: Path, model: AgentModel) -> None:
    """Raises UserError when the language model has no room for the windows that the configuration names."""
    language: Any = model.config.language_config
    try:
        longest = max((domain.window for domain in model.config.all_domains()), default=model.config.window)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"{file}: key 'domains': cannot be read ({first_line(error)}); make it again") from None
    if type(longest) is not int or not 0 < longest * model.visual_tokens <= language.max_position_embeddings:
        raise UserError(
            f"{file}: windows of {longest} steps of {model.visual_tokens} visual tokens do not fit into the "
            f"{language.max_position_embeddings} positions of its language model"
        )
