"""How large a model and its batches are, estimated before they are allocated, so that absurd sizes are refused.

These are lower bounds: what they refuse cannot run here. What they let pass may still be too much.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from agentgym.errors import UserError, first_line
from agentgym.model.config import AgentConfig

BYTES = 4  # of a number
LARGEST = 2**40  # of a size in a configuration
SLACK = 1_000_000  # numbers that a configuration may describe and the weights lack


def count_numbers(config: Mapping[str, Any]) -> int:
    """About how many numbers the model of a configuration holds. Raises KeyError, TypeError or ValueError."""
    vision, language = config["vision_config"], config["language_config"]
    layers = _layers(vision, "intermediate_size") + _layers(language, "ffn_dim")
    wide, width = _size(vision, "hidden_size"), _size(language, "hidden_size")
    patch, image = _size(vision, "patch_size"), _size(vision, "image_size")
    rows = _size(language, "vocab_size") + _size(language, "max_position_embeddings")
    decoder = _size(config, "decoder_layers", 1) * 12 * _size(config, "decoder_width", 64) ** 2
    merged = wide * _size(config, "patch_merge", 1) ** 2 * width
    return layers + rows * width + 3 * patch**2 * wide + (image // patch) ** 2 * wide + decoder + merged


def check_described(file: Path, config: Mapping[str, Any]) -> None:
    """Raises UserError unless the configuration in that file describes about what the weights next to it hold.

    transformers makes the model that is described before it compares.
    """
    try:
        described = count_numbers(config)
        layers = max(_size(config[part], "num_hidden_layers") for part in ("vision_config", "language_config"))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{file}: is not a whole configuration of an agent; the checkpoint is not whole") from None
    stored, tensors = _stored(file.parent)
    if described > 2 * stored + SLACK or layers > tensors:
        raise UserError(
            f"{file}: describes {described:,} numbers in up to {layers:,} layers, the weights next to it hold "
            f"{stored:,} in {tensors:,} tensors; the checkpoint is not whole"
        )


def check_room(needed: int, what: str, remedy: str) -> None:
    """Raises UserError when that many bytes are more than this machine's memory."""
    there = machine_memory()
    if needed > there:
        raise UserError(f"{what} takes at least {_gib(needed)}, this machine has {_gib(there)}; {remedy}")


def check_training_fits(config: AgentConfig, *, windows: int, steps: int, kept_layers: bool) -> None:
    """Raises UserError when a batch of that many windows of that many steps is more than this machine's memory.

    `kept_layers`: whether each layer's activations are kept for the backward pass.
    """
    vision: Any = config.vision_config
    language: Any = config.language_config
    side = vision.image_size // vision.patch_size
    frames = windows * steps
    layers = (vision.num_hidden_layers, language.num_hidden_layers) if kept_layers else (1, 1)
    pixels = frames * 3 * vision.image_size**2
    patches = frames * side**2 * vision.hidden_size * 4 * layers[0]
    tokens = frames * (-(-side // config.patch_merge)) ** 2 * language.hidden_size * 4 * layers[1]
    check_room(
        BYTES * (pixels + patches + tokens),
        f"a batch of {windows:,} windows of up to {steps:,} steps, frames of {vision.image_size}x{vision.image_size},",
        "choose a smaller training.batch_size (accumulation makes up for it), training.window or model.frame_side",
    )


def machine_memory() -> int:
    """Bytes of memory, or what this process's container may have of it."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(limit).read_text().strip()
        except OSError:
            continue
        sizes += [int(text)] if text.isdecimal() else []
    return min(sizes)


def _stored(folder: Path) -> tuple[int, int]:
    """How many numbers the weights of a folder hold, and in how many tensors. Raises UserError for a damaged file."""
    numbers = tensors = 0
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "np") as weights:
                for name in weights.keys():  # noqa: SIM118  (no mapping)
                    count = 1
                    for size in weights.get_slice(name).get_shape():
                        count *= size
                    numbers, tensors = numbers + count, tensors + 1
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(f"{file}: the weights cannot be read: {first_line(error)}") from None
    return numbers, tensors


def _layers(part: Mapping[str, Any], inner: str) -> int:
    width = _size(part, "hidden_size")
    return _size(part, "num_hidden_layers") * (4 * width**2 + 2 * width * _size(part, inner))


def _size(values: Mapping[str, Any], name: str, default: int | None = None) -> int:
    found = values[name] if default is None else values.get(name, default)
    if type(found) is not int or not 0 < found < LARGEST:
        raise ValueError(f"{name} is {found!r}")
    return found


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
