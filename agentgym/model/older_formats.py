"""Checkpoints of older formats, as the present format has them.

format 1    an agent of one Discrete space: its action names, start and length are in the configuration
format 2    domains are there; tensors have the names of transformers' modules (see `published_names`)
format 3    the present one: tensors have the names of `agentgym.model`
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from agentgym.files import LARGEST_SETTINGS, read_json, understanding
from agentgym.model.published_names import agent_tensors
from agentgym.spaces import SpaceCodec
from agentgym.spaces.domains import Domain

CHECKPOINT_FORMAT = 3


@dataclass(frozen=True)
class OlderCheckpoint:
    """A checkpoint folder whose `config` is the present format's already."""

    path: Path
    config: dict[str, Any]

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors under their present names."""
        found: dict[str, Tensor] = {}
        for file in sorted(self.path.glob("*.safetensors")):
            found |= safetensors.torch.load_file(file)
        return agent_tensors(found)


def read_older(path: Path) -> OlderCheckpoint | None:
    """The checkpoint of a folder of format 1 or 2; None for any other folder."""
    file = path / "config.json"
    values = read_json(file, dict, most=LARGEST_SETTINGS) if file.is_file() else {}
    if values.get("checkpoint_format") not in (1, 2):
        return None
    if values["checkpoint_format"] == 1:
        with understanding(file):
            values = _from_format_1(values)
    return OlderCheckpoint(path, {**values, "checkpoint_format": CHECKPOINT_FORMAT})


def _from_format_1(values: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of an agent of one Discrete space, whose names were all that it held of its actions."""
    kept = {key: value for key, value in values.items() if key not in ("action_names", "action_start", "action_length")}
    space = SpaceCodec.discrete(values["action_names"], values["action_start"])
    side = values["frame_side"] or values["vision_config"]["image_size"]
    domain = Domain(space, (side, side), values["window"], tuple(kept.pop("tasks") or ()))
    return {**kept, "action_tokens": list(space.tokens), "domains": [domain.to_json()]}
