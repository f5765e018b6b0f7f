"""Pretrained parts: a published CLIP becomes the vision encoder and a published OPT the language model.

So does the paper (arXiv 2402.05929, section 4).

It owns the formats in which these models are published: a local folder or a Hub id, safetensors or .bin, whole or in
shards, in float16 or float32, with the names of transformers 4 or 5. It is strict: a tensor that is missing, left over
or of another shape is an error that names it. Only these differ from the files (`set_aside` lists them):

* CLIP's learned positions, which the sine-cosine ones of `vision` replace;
* CLIP's text tower and projections, which an agent does not have;
* OPT's output head, tied to its embedding table (it must equal the table);
* the rows of the action tokens, which are new: the mean of the text rows plus the noise of a fresh table, so that no
  action is likelier than another and text stays as likely as it was (Hewitt 2021).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, HTTPError
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    OPTConfig,
    OPTModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from agentgym.errors import UserError, first_line
from agentgym.files import LARGEST_SETTINGS, read_json
from agentgym.model.agent import AgentModel
from agentgym.model.grounding import InstructionAttention
from agentgym.model.presets import make_config
from agentgym.model.published_names import POSITIONS, clip_tensors, opt_tensors
from agentgym.model.tokenizer import read_pretrained_tokenizer
from agentgym.spaces import CompositeSpace, SpaceCodec
from agentgym.spaces.domains import Domain

EMBEDDING = "decoder.embed_tokens.weight"
HEAD = "lm_head.weight"
TEXT_TOWER = ("text_model.", "text_projection.", "visual_projection.", "logit_scale")
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt")


@dataclass(frozen=True)
class PretrainedWeights:
    """A published model: its folder, its sizes, and its tensors under the names that transformers gives them."""

    source: str
    folder: Path
    config: CLIPVisionConfig | OPTConfig
    tensors: dict[str, Tensor]  # float32
    set_aside: tuple[str, ...]  # tensors of the files that are expected not to enter


NO_ACTIONS = SpaceCodec(CompositeSpace(None, ()), ())


@dataclass(frozen=True)
class PretrainedParts:
    """What an AgentModel starts from; a part that is None is drawn as the preset has it."""

    vision: PretrainedWeights | None
    language: PretrainedWeights | None

    @property
    def configs(self) -> tuple[CLIPVisionConfig | None, OPTConfig | None]:
        """The sizes of both."""
        vision, language = (part and part.config for part in (self.vision, self.language))
        assert vision is None or isinstance(vision, CLIPVisionConfig)
        assert language is None or isinstance(language, OPTConfig)
        return vision, language

    def tokenizer(self, action_tokens: Sequence[str]) -> PreTrainedTokenizerFast | None:
        """The language part's own tokenizer, grown by the action tokens; None without that part."""
        if self.language is None:
            return None
        size = self.language.config.vocab_size
        return read_pretrained_tokenizer(self.language.folder, action_tokens, vocabulary=size)

    def copy_into(self, model: AgentModel) -> None:
        """Puts the tensors in their places. Raises UserError naming one that is missing, left over or misshapen."""
        if self.vision is not None:
            _check(self.vision, CLIPVisionModel, without=POSITIONS)
            _copy(clip_tensors(self.vision.tensors), model.vision_encoder)
            for attention in model.vision_encoder.grounding or ():
                assert isinstance(attention, InstructionAttention)
                attention.zero_init()
        if self.language is not None:
            _check(self.language, OPTModel)
            language = opt_tensors(self.language.tensors)
            text, table = language.pop("embeddings.weight"), model.language_model.embeddings.weight
            _copy(language, model.language_model)
            with torch.no_grad():
                table[: len(text)] = text
                table[len(text) :] += text.mean(0)


def read_parts(vision: str | Path | None, language: str | Path | None) -> PretrainedParts:
    """The published models of folders or Hub ids. Raises UserError when one is not there or not of its kind."""
    return PretrainedParts(
        None if vision is None else _read_vision(str(vision)),
        None if language is None else _read_language(str(language)),
    )


def from_pretrained_parts(
    *,
    vision: str | Path,
    language: str | Path,
    codec: SpaceCodec | None = None,
    window: int = 8,
    preset: str = "paper",
    frame_side: int | None = None,
    instruction_tokens: int = 64,
    patch_merge: int | None = None,
    temporal_attention: bool = False,
    instruction_attention: bool = False,
    tasks: Sequence[str] = (),
) -> AgentModel:
    """An agent of published parts; the preset gives the rest, which starts from scratch.

    That is the projector, the MAE decoder and the merge of patches. Without a codec it has no actions
    and is only the language model. Raises UserError like `read_parts`.
    """
    parts = read_parts(vision, language)
    seen, spoken = parts.configs
    assert seen is not None
    assert spoken is not None
    side = frame_side or int(seen.image_size)
    config = make_config(
        preset,
        num_text_tokens=spoken.vocab_size,
        instruction_tokens=instruction_tokens,
        domains=[Domain(codec or NO_ACTIONS, (side, side), window, tuple(tasks))],
        frame_side=side,
        patch_merge=patch_merge,
        temporal_attention=temporal_attention,
        instruction_attention=instruction_attention,
        parts=parts.configs,
    )
    model = AgentModel(config)
    parts.copy_into(model)
    return model


def _read_vision(source: str) -> PretrainedWeights:
    folder = find_folder(source)
    values = _read_config(folder, ("clip", "clip_vision_model"))
    config = CLIPVisionConfig.from_dict(values.get("vision_config", values))
    tensors: dict[str, Tensor] = {}
    aside = []
    for name, tensor in _read_tensors(folder).items():
        inner = name.removeprefix("vision_model.")
        if name.startswith(TEXT_TOWER) or name.endswith("position_ids") or inner == POSITIONS:
            aside.append(name)
        else:
            tensors[inner] = tensor
    return PretrainedWeights(source, folder, config, tensors, tuple(sorted(aside)))


def _read_language(source: str) -> PretrainedWeights:
    folder = find_folder(source)
    config = OPTConfig.from_dict(_read_config(folder, ("opt",)))
    tensors = {name.removeprefix("model."): tensor for name, tensor in _read_tensors(folder).items()}
    aside = []
    if "decoder.version" in tensors:  # a mark that early files carry
        del tensors["decoder.version"]
        aside.append("decoder.version")
    if EMBEDDING not in tensors:
        raise UserError(f"{folder}: tensor {EMBEDDING} is missing; the language part must be an OPT model")
    if HEAD in tensors:
        if not torch.equal(tensors.pop(HEAD), tensors[EMBEDDING]):
            raise UserError(f"{folder}: {HEAD} is not tied to {EMBEDDING}; the agent's output head is its table")
        aside.append(HEAD)
    return PretrainedWeights(source, folder, config, tensors, tuple(aside))


def find_folder(source: str) -> Path:
    """The folder of a local path or of a Hub id (downloaded once). Raises UserError saying what to put where."""
    if Path(source).is_dir():
        return Path(source)
    wanted = ["config.json", *TOKENIZER_FILES]
    try:
        for weights in (["model*.safetensors*"], ["pytorch_model*.bin*"]):
            folder = Path(snapshot_download(source, allow_patterns=[*wanted, *weights]))
            if any(folder.glob(weights[0])):
                break
    except HFValidationError:
        raise UserError(f"{source}: there is no such folder, and it is not a Hub id (owner/name)") from None
    except (OSError, HTTPError) as error:
        raise UserError(
            f"{source}: there is no such folder, and the Hugging Face Hub did not give it ({type(error).__name__}); "
            "put its config.json, weights (model.safetensors or pytorch_model.bin) and, for the language part, "
            "tokenizer.json or vocab.json and merges.txt into a folder and name that folder"
        ) from None
    return folder


def _read_config(folder: Path, kinds: tuple[str, ...]) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        raise UserError(f"{folder}: has no config.json; put the published one next to the weights")
    values: dict[str, Any] = read_json(file, dict, most=LARGEST_SETTINGS)
    if values.get("model_type") not in kinds:
        raise UserError(f"{file}: model_type is {values.get('model_type')!r}; expected {' or '.join(map(repr, kinds))}")
    return values


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder in float32, under the names of the file; safetensors before .bin."""
    tensors: dict[str, Tensor] = {}
    for file, read in _weight_files(folder):
        if not file.is_file():
            raise UserError(f"{file}: is missing; {folder} names it as a part of the weights")
        try:
            tensors |= read(file)
        except Exception as error:  # a damaged file raises whatever its reader raises
            raise UserError(f"{file}: the weights cannot be read: {first_line(error)}") from None
    return {name: t.to(torch.float32) if t.is_floating_point() else t for name, t in tensors.items()}


def _weight_files(folder: Path) -> list[tuple[Path, Callable[[Path], dict[str, Tensor]]]]:
    readers = (
        ("model.safetensors", safetensors.torch.load_file),
        ("pytorch_model.bin", lambda file: torch.load(file, map_location="cpu", weights_only=True)),
    )
    for name, read in readers:
        if (folder / name).is_file():
            return [(folder / name, read)]
        index = folder / f"{name}.index.json"
        if index.is_file():
            places = read_json(index, dict, most=LARGEST_SETTINGS).get("weight_map")
            if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
                raise UserError(f"{index}: has no 'weight_map' from tensors to files")
            for shard in sorted(set(places.values())):
                if Path(shard).name != shard:
                    raise UserError(f"{index}: names {shard!r}; expected files in its folder")
            return [(folder / shard, read) for shard in sorted(set(places.values()))]
    raise UserError(f"{folder}: has no weights; put model.safetensors or pytorch_model.bin there")


def _check(part: PretrainedWeights, kind: type[PreTrainedModel], without: str = "") -> None:
    """Raises UserError unless the part has the tensors that its configuration says, `without` one of them."""
    with torch.device("meta"):
        places = {name: tensor for name, tensor in kind(part.config).state_dict().items() if name != without}
    tensors = part.tensors
    for problem, names in (("missing", places.keys() - tensors.keys()), ("left over", tensors.keys() - places.keys())):
        if names:
            raise UserError(f"{part.source}: tensor {min(names)} is {problem} ({len(names)} in all)")
    for name, place in places.items():
        if tensors[name].shape != place.shape:
            found, expected = list(tensors[name].shape), list(place.shape)
            raise UserError(f"{part.source}: tensor {name} is {found}; its config.json says {expected}")


@torch.no_grad()
def _copy(tensors: Mapping[str, Tensor], target: nn.Module) -> None:
    """Copies tensors to the places of those names."""
    places = target.state_dict()
    for name, tensor in tensors.items():
        places[name].copy_(tensor)
