"""Presets: the sizes of the model's parts, as data."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import CLIPVisionConfig, OPTConfig

from agentgym.errors import UserError
from agentgym.model.agent import AgentConfig, AgentModel
from agentgym.spaces import TextTokenSpace
from agentgym.spaces.domains import Domain, action_tokens

MOST_MERGED = 14  # patches a side: a token of more would need a projector larger than the rest of a small model

# `image` None: the side of the data set's own frames. `patch_merge` None: as few tokens a frame as MOST_MERGED allows,
# one up to 112 pixels.
PRESETS: dict[str, dict[str, Any]] = {
    # From scratch on two cores: 8-pixel patches are the cells of a 56x56 grid world. One token a frame learns fastest.
    "tiny": {
        "image": None,
        "patch_merge": None,
        "vision": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
                   "patch_size": 8, "hidden_act": "relu"},
        "language": {"hidden_size": 128, "ffn_dim": 512, "num_hidden_layers": 3, "num_attention_heads": 4},
        "decoder": (32, 1, 1),
    },
    "small": {
        "image": None,
        "patch_merge": 2,
        "vision": {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 6,
                   "patch_size": 8, "hidden_act": "gelu"},
        "language": {"hidden_size": 256, "ffn_dim": 1024, "num_hidden_layers": 4, "num_attention_heads": 8},
        "decoder": (128, 2, 4),
    },
    # The paper's parts: CLIP ViT-B/16 and OPT-125M; all 196 patches of a frame enter the language model.
    "paper": {
        "image": 224,
        "patch_merge": 1,
        "vision": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                   "patch_size": 16, "hidden_act": "quick_gelu"},
        "language": {"hidden_size": 768, "ffn_dim": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                     "max_position_embeddings": 2048},
        "decoder": (512, 8, 16),
    },
}  # fmt: skip


def make_config(
    preset: str,
    *,
    num_text_tokens: int,
    instruction_tokens: int,
    domains: Sequence[Domain],
    frame_side: int,
    complete_frames: bool = False,
    patch_merge: int | None = None,
    convolutional_stem: bool = False,
    temporal_attention: bool = False,
    instruction_attention: bool = False,
    parts: tuple[CLIPVisionConfig | None, OPTConfig | None] = (None, None),
) -> AgentConfig:
    """The configuration of a preset for some data. Dropout is 0 throughout, for imitation and reinforcement alike.

    The vision encoder and the language model have the sizes of the `parts` that are published; the preset gives the
    rest. Frames are completed to whole patches. Raises UserError when the window does not fit the language model.
    """
    sizes = PRESETS[preset]
    vision, language = sizes["vision"], sizes["language"]
    image = sizes["image"] or -(-frame_side // vision["patch_size"]) * vision["patch_size"]
    if parts[0]:
        vision = parts[0].to_dict()
        image = vision["image_size"]
    if parts[1]:
        language = parts[1].to_dict()
    patch = vision["patch_size"]
    merge = patch_merge or sizes["patch_merge"] or _few_tokens(-(-image // patch))
    side = -(-(image // patch) // merge)
    tokens = action_tokens(domains)
    window = max(domain.window for domain in domains)
    needed = instruction_tokens + max(_most_tokens(domain, side**2) for domain in domains)
    positions = language.get("max_position_embeddings", needed)
    if needed > positions:
        raise UserError(
            f"window {window} needs {needed} positions, the language model has {positions}: choose a smaller window"
        )
    width, layers, heads = sizes["decoder"]
    return AgentConfig(
        vision_config=_vision_config(vision, image),
        language_config=_language_config(language, positions, num_text_tokens + len(tokens)),
        frame_side=frame_side,
        complete_frames=complete_frames,
        convolutional_stem=convolutional_stem,
        temporal_attention=temporal_attention,
        instruction_attention=instruction_attention,
        patch_merge=merge,
        decoder_width=width,
        decoder_layers=layers,
        decoder_heads=heads,
        num_text_tokens=num_text_tokens,
        action_tokens=list(tokens),
        domains=[domain.to_json() for domain in domains],
        window=window,
    )


def describe_frames(config: AgentConfig) -> str:
    """How a frame is encoded, for people: the preset may have chosen it by the frame's size."""
    vision: Any = config.vision_config
    patch, image = vision.patch_size, vision.image_size
    side = -(-image // patch)
    tokens = (-(-side // config.patch_merge)) ** 2
    many = f"{tokens} visual tokens" if tokens > 1 else "1 visual token"
    frame, how = config.frame_side or image, ""
    if frame != image:
        how = f", {'completed' if 0 < image - frame < patch else 'resized'} to {image}x{image}"
    cut = f"{side**2} patches of {patch}x{patch}, patch_merge {config.patch_merge}: {many}"
    return f"frames of {frame}x{frame}{_squared(config)}{how}: {cut}"


def _squared(config: AgentConfig) -> str:
    """Which frames are made squares, and how."""
    shapes = dict.fromkeys(domain.frame_shape for domain in config.all_domains())
    oblong = ", ".join(f"{height}x{width}" for height, width in shapes if height != width)
    return oblong and f" ({oblong} {'fitted into' if config.complete_frames else 'resized to'} it)"


def _few_tokens(side: int) -> int:
    """How many patches a side are merged, so that a frame of that many patches is as few tokens as possible."""
    return -(-side // -(-side // MOST_MERGED))


def _vision_config(sizes: Mapping[str, Any], image: int) -> dict[str, Any]:
    values = {**sizes, "image_size": image, "attention_dropout": 0.0, "dtype": None}
    return dict(CLIPVisionConfig.from_dict(values).to_dict())


def _language_config(sizes: Mapping[str, Any], positions: int, vocabulary: int) -> dict[str, Any]:
    values = {
        "word_embed_proj_dim": sizes["hidden_size"],
        **sizes,
        "max_position_embeddings": positions,
        "vocab_size": vocabulary,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "layerdrop": 0.0,
        "dtype": None,
    }
    return dict(OPTConfig.from_dict(values).to_dict())


def _most_tokens(domain: Domain, visual: int) -> int:
    """The most tokens that follow an instruction: captions are at the last step only."""
    answers = 1 if isinstance(domain.space.root, TextTokenSpace) else domain.window
    return domain.window * visual + answers * domain.space.longest


def count_parameters(config: AgentConfig) -> dict[str, int]:
    """The parameters of each part, fixed positions among them; counted without allocating any."""
    with torch.device("meta"):
        model = AgentModel(config)
    return {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
