"""The names of transformers' CLIP and OPT, in which both are published, and what their tensors are called here.

Agentgym's own checkpoints of formats 1 and 2 have these names too, inside of `vision.clip`, `language` and `decoder`.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

LAYER = {
    "self_attn.out_proj": "attention_out",
    "self_attn.queries_keys_values": "queries_keys_values",
    "layer_norm1": "attention_norm",
    "layer_norm2": "mlp_norm",
    "mlp.fc1": "widen",
    "mlp.fc2": "narrow",
    "self_attn_layer_norm": "attention_norm",
    "final_layer_norm": "mlp_norm",
    "fc1": "widen",
    "fc2": "narrow",
}
CLIP = {
    "embeddings.class_embedding": "start",
    "embeddings.patch_embedding.weight": "patch_embedding.weight",
    "pre_layrnorm.": "first_norm.",
    "post_layernorm.": "last_norm.",
}
OPT = {
    "decoder.embed_tokens.": "embeddings.",
    "decoder.embed_positions.": "positions.",
    "decoder.project_in.": "project_in.",
    "decoder.project_out.": "project_out.",
    "decoder.final_layer_norm.": "norm.",
}
POSITIONS = "embeddings.position_embedding.weight"  # of CLIP, which the fixed ones of `vision` replace
_LAYER_NAME = re.compile(r"(?:encoder|decoder|layers)\.layers\.(\d+)\.(.+)\.(weight|bias)")
_PROJECTIONS = ("q_proj", "k_proj", "v_proj")


def clip_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of a `CLIPVisionModel`, as `VisionEncoder` has them. Unknown names stay."""
    ours = {_renamed(name, CLIP): tensor for name, tensor in joined(tensors).items() if name != POSITIONS}
    if "patch_embedding.weight" in ours:
        ours["patch_embedding.weight"] = ours["patch_embedding.weight"].flatten(1)
    return ours


def opt_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of an `OPTModel`, as `LanguageModel` has them. Unknown names stay."""
    return {_renamed(name, OPT): tensor for name, tensor in joined(tensors).items()}


def agent_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of an agent of formats 1 and 2, as `AgentModel` has them. Unknown names stay."""
    ours = {
        "vision_encoder.positions": tensors[f"vision.clip.{POSITIONS}"][1:],
        **_within("vision_encoder.", clip_tensors(_part("vision.clip.", tensors))),
        **_within("language_model.", opt_tensors(_part("language.", tensors))),
    }
    for name, tensor in joined(_part("decoder.", tensors)).items():
        ours[f"mae_decoder.{_renamed(name, {})}"] = tensor
    for name, tensor in tensors.items():
        if name.startswith("vision.") and not name.startswith("vision.clip."):
            ours[f"vision_encoder.{name.removeprefix('vision.')}"] = tensor
        elif not name.startswith(("vision.", "language.", "decoder.")):
            ours[name] = tensor
    return ours


def joined(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same, the projections to queries, keys and values of each attention as one."""
    together, out = dict(tensors), ".self_attn.queries_keys_values."
    for name in tensors:
        before, found, after = name.partition(".self_attn.q_proj.")
        names = [f"{before}.self_attn.{projection}.{after}" for projection in _PROJECTIONS]
        if found and all(each in together for each in names):
            together[f"{before}{out}{after}"] = torch.cat([together.pop(each) for each in names])
    return together


def _part(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _within(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _renamed(name: str, table: Mapping[str, str]) -> str:
    layer = _LAYER_NAME.fullmatch(name)
    if layer:
        number, part, kind = layer.groups()
        return f"transformer.blocks.{number}.{LAYER.get(part, part)}.{kind}"
    for theirs, ours in table.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
