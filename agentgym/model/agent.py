"""AgentModel: vision encoder, projector, language model and the decoder of the masked autoencoder.

    Â_t = F_φ(W, ℓ(E_θ(V_1)), A_1, ..., A_{t-1}, ℓ(E_θ(V_t)))                          (arXiv 2402.05929, section 3)

    E_θ vision_encoder    ℓ projector    F_φ language_model    D_θ mae_decoder

The order of the sequence is drawn in `agentgym.model.sequence`. A checkpoint is a folder with config.json,
model.safetensors and tokenizer files. This module knows neither text nor environments: tokens, frames and actions come
in as tensors.
"""

import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, CLIPVisionConfig, OPTConfig, PreTrainedModel

from agentgym.errors import UserError
from agentgym.model.config import AgentConfig
from agentgym.model.grounding import InstructionContext
from agentgym.model.labels import LabelBranches
from agentgym.model.language import LanguageModel
from agentgym.model.masked_autoencoder import MAEDecoder, Reconstruction, of_first_chosen, split_patches
from agentgym.model.older_formats import CHECKPOINT_FORMAT, read_older
from agentgym.model.output import AgentOutput
from agentgym.model.sequence import Layout, is_whole, pack, unpack
from agentgym.model.shared_instructions import SharedInstructions, predicting
from agentgym.model.vision import FrameSize, VisionEncoder


class AgentModel(PreTrainedModel):
    """The interactive agent foundation model of arXiv 2402.05929 (section 3), as a `transformers` model.

    Frames are uint8 in 0 to 255; tokens are int64. docs/paper.md lists where it deviates from the paper. Raises
    UserError for a configuration of another checkpoint format.
    """

    config_class = AgentConfig
    config: AgentConfig
    base_model_prefix = "agent"
    _supports_sdpa = True
    supports_gradient_checkpointing = True
    _no_split_modules = ["Block"]  # noqa: RUF012  (what FSDP shards one by one)

    def __init__(self, config: AgentConfig) -> None:
        if config.checkpoint_format != CHECKPOINT_FORMAT:
            raise UserError(
                f"checkpoint format {config.checkpoint_format}: put the folder on this machine and load that"
            )
        super().__init__(config)
        vision, language = config.vision_config, config.language_config
        assert isinstance(vision, CLIPVisionConfig)
        assert isinstance(language, OPTConfig)
        self.vision_encoder = VisionEncoder(
            vision,
            clip_frames=config.window if config.temporal_attention else None,
            word_width=language.word_embed_proj_dim if config.instruction_attention else None,
            convolutional_stem=bool(config.convolutional_stem),
        )
        self.frame_side = int(config.frame_side or vision.image_size)
        self.frame_size = FrameSize(self.frame_side, bool(config.complete_frames))
        self.patch_merge = int(config.patch_merge)
        self.merged_side = math.ceil(self.vision_encoder.side / config.patch_merge)
        self.visual_tokens = self.merged_side**2
        self.projector = nn.Linear(vision.hidden_size * config.patch_merge**2, language.word_embed_proj_dim)
        nn.init.xavier_uniform_(self.projector.weight)
        nn.init.zeros_(self.projector.bias)
        self.language_model = LanguageModel(language)
        self.mae_decoder = MAEDecoder(
            vision.hidden_size,
            self.vision_encoder.num_patches,
            3 * self.vision_encoder.patch_size**2,
            width=config.decoder_width,
            layers=config.decoder_layers,
            heads=config.decoder_heads,
        )
        self.post_init()

    @classmethod
    def from_pretrained(cls, path: Any, *arguments: Any, **keywords: Any) -> Any:
        """The model of a checkpoint folder, as `transformers` loads it; older formats too.

        Raises what `transformers` raises; `agentgym.model.load_agent` checks the folder and raises UserError.
        """
        older = read_older(Path(path))
        if older is None:
            return super().from_pretrained(path, *arguments, **keywords)
        keywords["config"] = AgentConfig.from_dict(older.config)
        return super().from_pretrained(None, *arguments, state_dict=older.tensors(), **keywords)

    def _init_weights(self, module: nn.Module) -> None:
        """Does nothing: the modules initialise their weights when they are made."""

    def get_input_embeddings(self) -> nn.Embedding:
        """The table of words and actions, which the output head reads too."""
        return self.language_model.embeddings

    def resize_token_embeddings(self, *arguments: Any, **keywords: Any) -> Any:
        """Raises UserError: the rows are the tokenizer's words and then the actions, in an order of their own."""
        raise UserError(
            "resize_token_embeddings: the rows of an agent are its words and actions, and their number is not free; "
            "agentgym.model.adapting.with_domains adds actions, and model.init starts from another language model"
        )

    @property
    def width(self) -> int:
        """The width of the language model, which is the widest part."""
        return int(self.projector.out_features)

    def check_reads_images(self, what: str) -> None:
        """Raises UserError for a model whose encoder reads clips, which `what` cannot hold."""
        if self.vision_encoder.temporal is not None:
            raise UserError(f"{what} reads frames one by one; this agent was trained with model.temporal_attention")

    def words(
        self,
        instruction: Int[Tensor, "instructions tokens"],
        mask: Int[Tensor, "instructions tokens"],
        of_frame: Int[Tensor, "frames"],
    ) -> InstructionContext | None:
        """The instructions that the encoder attends to, `of_frame` being the index of each frame's; None without any.

        `mask` is 1 at real tokens.
        """
        if self.vision_encoder.grounding is None:
            return None
        return InstructionContext(self.language_model.embeddings(instruction), mask.bool(), of_frame)

    def encode(
        self, frames: UInt8[Tensor, "frames height width 3"], *, time: int = 1, words: InstructionContext | None = None
    ) -> Float[Tensor, "frames visual width"]:
        """The visual tokens of each frame: F_φ(E_θ(V_t)) in the paper.

        Frames are of the model's `frame_size`. Where the encoder reads clips, each `time` frames in a row are one.
        """
        return self.project(self.vision_encoder(self.vision_encoder.patchify(frames), time=time, words=words))

    def reconstruct(
        self,
        patches: Float[Tensor, "frames patches pixels"],
        noise: Float[Tensor, "frames patches"],
        mask_ratio: float,
        *,
        time: int = 1,
    ) -> Reconstruction:
        """The masked autoencoder (arXiv 2111.06377): the patches with the most noise are masked and reconstructed.

        `mask_ratio` is the share of them, in (0, 1). Of a clip of `time` frames the same ones are masked in all.
        """
        visible, masked = split_patches(noise[::time].repeat_interleave(time, 0), mask_ratio)
        predicted = self.mae_decoder(self.vision_encoder(patches, visible, time=time), visible)
        return Reconstruction(patches, predicted, masked)

    def embed(
        self,
        instruction: Int[Tensor, "batch tokens"],
        visual: Float[Tensor, "batch time visual width"],
        actions: Int[Tensor, "batch time action"],
        labels: Int[Tensor, "batch time label"] | None = None,
    ) -> tuple[Layout, Float[Tensor, "batch length width"]]:
        """The whole sequence before the language model: its layout and the embeddings.

        Tokens of `actions` and of the `labels` to be read count from the first action token; those of text, which come
        before it, are negative.
        """
        read = 0 if labels is None else labels.shape[2]
        layout = Layout(instruction.shape[1], visual.shape[2], actions.shape[2], visual.shape[1], read)
        embed, first = self.language_model.embeddings, self.config.num_text_tokens
        return layout, layout.join(
            embed(instruction),
            visual.to(embed.weight.dtype),
            embed(actions + first),
            None if labels is None else embed(labels + first),
        )

    def read(
        self,
        instruction: Int[Tensor, "batch tokens"],
        instruction_mask: Int[Tensor, "batch tokens"],
        visual: Float[Tensor, "batch time visual width"],
        actions: Int[Tensor, "batch time action"],
        action_mask: Bool[Tensor, "batch time action"] | None = None,
        labels: Int[Tensor, "batch time action"] | None = None,
        label_mask: Bool[Tensor, "batch time action"] | None = None,
        before: SharedInstructions | None = None,
    ) -> tuple[Layout, Float[Tensor, "batch length width"]]:
        """The language model over the whole sequence: its layout and the hidden states. `actions` are as in `embed`.

        `action_mask` says which of their places are not empty; None: all of them. Each row is read without its empty
        places, so that one causal mask fits all rows. `labels` of more than one token are read too (see
        `agentgym.model.labels`). What was read `before` is not in `instruction`.
        """
        if labels is not None and labels.shape[2] > 1:
            layout, embeddings = self.embed(instruction, visual, actions, labels[:, :, :-1])
            masks = (
                torch.ones_like(each).bool() if mask is None else mask
                for each, mask in ((actions, action_mask), (labels, label_mask))
            )
            present, of_labels = masks
            real = layout.real(instruction_mask, present, label_mask=of_labels[:, :, :-1])
            return layout, self._read_real(embeddings, real, before, LabelBranches(layout, real))
        layout, embeddings = self.embed(instruction, visual, actions)
        if action_mask is None and is_whole(instruction_mask):
            return layout, self.language_model(embeddings, before.continued(layout.length) if before else None)
        real = layout.real(instruction_mask, torch.ones_like(actions).bool() if action_mask is None else action_mask)
        return layout, self._read_real(embeddings, real, before)

    def _read_real(
        self, sequence: Tensor, real: Tensor, before: SharedInstructions | None, branches: LabelBranches | None = None
    ) -> Tensor:
        """The hidden states of sequences, read without their empty places."""
        packed = pack(sequence, real)
        context = before.continued(packed.shape[1], branches) if before else branches
        return unpack(self.language_model(packed, context), real)

    def logits(self, hidden: Float[Tensor, "*axes width"]) -> Float[Tensor, "*axes vocabulary"]:
        """The tied output head: text tokens first, then action tokens."""
        return self.language_model.logits(hidden)

    def action_logits(self, hidden: Float[Tensor, "*axes width"]) -> Float[Tensor, "*axes actions"]:
        """The logits of the action tokens only."""
        return self.language_model.logits(hidden, int(self.config.num_text_tokens))

    def forward(
        self,
        instruction: Int[Tensor, "instructions tokens"],
        instruction_mask: Int[Tensor, "instructions tokens"],
        frames: UInt8[Tensor, "batch time height width 3"],
        actions: Int[Tensor, "batch time action"],
        step_mask: Bool[Tensor, "batch time"],
        action_mask: Bool[Tensor, "batch time action"] | None = None,
        labels: Int[Tensor, "batch time action"] | None = None,
        label_mask: Bool[Tensor, "batch time action"] | None = None,
        mask_noise: Float[Tensor, "frames patches"] | None = None,
        masked_frames: Bool[Tensor, "batch time"] | None = None,
        mask_ratio: float = 0.75,
        instruction_of: Int[Tensor, "batch"] | None = None,
    ) -> AgentOutput:
        """Logits for a batch of windows; padded steps cost nothing in the encoder, unless it reads clips.

        `instruction_of` is the index of each window's instruction; None: window i has instruction i.
        Masks are true, or 1, at real places; `actions` and `labels` count from the first action token.
        The logits of actions are those of the `labels`, where there are some: of each of their tokens after the ones
        before it, and after the executed `actions` of the steps before.
        With `mask_noise`, one row for each of the `masked_frames` (None: all real ones), the masked autoencoder runs
        too.
        """
        real = step_mask.flatten().nonzero().squeeze(1)
        clips = self.vision_encoder.temporal is not None
        time = step_mask.shape[1] if clips else 1
        read = torch.arange(step_mask.numel(), device=real.device) if clips else real
        patches = self.vision_encoder.patchify(frames.flatten(0, 1)[read])
        rows = torch.arange(len(step_mask), device=real.device) if instruction_of is None else instruction_of
        words = self.words(instruction, instruction_mask, rows[read // step_mask.shape[1]])
        tokens = self.project(self.vision_encoder(patches, time=time, words=words))
        visual = tokens.new_zeros(step_mask.numel(), *tokens.shape[1:]).index_copy(0, read, tokens)
        seen = visual.unflatten(0, step_mask.shape)
        read_on = partial(
            self.read, visual=seen, actions=actions, action_mask=action_mask, labels=labels, label_mask=label_mask
        )
        tokens_after = seen.shape[1] * (seen.shape[2] + actions.shape[2])
        of_words, of_actions = predicting(
            self.language_model, read_on, instruction, instruction_mask.bool(), rows, tokens_after
        )
        reconstruction = None
        if mask_noise is not None:
            chosen = (step_mask if masked_frames is None else masked_frames).flatten()
            if clips:  # whole ones are read, masked as the first chosen frame of each, and what was chosen is kept
                noise = of_first_chosen(mask_noise, chosen, time)
                reconstruction = self.reconstruct(patches, noise, mask_ratio, time=time).of(chosen.nonzero().squeeze(1))
            else:
                reconstruction = self.reconstruct(patches[chosen[real]], mask_noise, mask_ratio)
        return AgentOutput(
            language_logits=self.logits(of_words), action_logits=self.logits(of_actions), reconstruction=reconstruction
        )

    def project(self, features: Float[Tensor, "frames patches width"]) -> Float[Tensor, "frames visual width"]:
        """The visual tokens of the encoder's features, which are normalised and projected here."""
        return self.projector(self.merge(self.vision_encoder.last_norm(features)))

    def merge(self, features: Float[Tensor, "frames patches width"]) -> Float[Tensor, "frames visual inputs"]:
        """What the projector takes: squares of `patch_merge` patches at a time (zeros beyond the edge)."""
        merge, side, merged = self.patch_merge, self.vision_encoder.side, self.merged_side
        if merge > 1:
            if merged * merge > side:
                beyond = merged * merge - side
                features = F.pad(features.unflatten(1, (side, side)), (0, 0, 0, beyond, 0, beyond))
            squares = features.reshape(len(features), merged, merge, merged, -1).transpose(2, 3)
            features = squares.reshape(len(features), merged**2, -1)
        return features


AutoConfig.register(AgentConfig.model_type, AgentConfig, exist_ok=True)  # so that transformers' own loaders know it
AutoModel.register(AgentConfig, AgentModel, exist_ok=True)
