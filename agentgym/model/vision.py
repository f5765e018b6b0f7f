"""The visual encoder E_θ and the decoder D_θ of the masked autoencoder.

E_θ is `transformers.CLIPVisionModel` whose learned positions are replaced by fixed two-dimensional sine-cosine ones
(He et al. 2022, arXiv 2111.06377), so that it can run on all patches to act and on the visible ones alone for the
masked autoencoder. Frames come in as uint8 and are normalised here, with CLIP's own constants.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.models.clip.modeling_clip import CLIPEncoder

from agentgym.model.grounding import InstructionAttention, InstructionContext
from agentgym.model.temporal import TemporalAttention

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # Radford et al. 2021, the preprocessing of the published weights
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class VisualEncoder(nn.Module):
    """Frames to patch features."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, config: CLIPVisionConfig, *, clip_frames: int | None = None, word_width: int | None = None
    ) -> None:
        """With `clip_frames` it takes clips of up to that many frames, else single frames.

        With `word_width` it reads frames for an instruction, whose embedded words have that width.
        """
        super().__init__()
        self.patch_size = int(config.patch_size)
        self.side = int(config.image_size) // self.patch_size
        self.num_patches = self.side**2
        self.clip = CLIPVisionModel(config)
        positions = self.clip.embeddings.position_embedding
        positions.weight.requires_grad_(False)
        width, heads = int(config.hidden_size), int(config.num_attention_heads)
        layers = range(int(config.num_hidden_layers))
        self.temporal: nn.ModuleList | None = None
        if clip_frames is not None:
            self.temporal = nn.ModuleList(TemporalAttention(width, heads, clip_frames) for _ in layers)
        self.grounding: nn.ModuleList | None = None
        if word_width is not None:
            self.grounding = nn.ModuleList(InstructionAttention(width, heads, word_width) for _ in layers)
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(CLIP_STD).view(3, 1, 1))

    def patchify(self, frames: UInt8[Tensor, "frames height width 3"]) -> Float[Tensor, "frames patches pixels"]:
        """Normalised patches, row by row; a patch's pixels in the order (channel, y, x) of CLIP's convolution.

        Frames of another size are resized first (bilinear, smoothed where they shrink).
        """
        image = self.side * self.patch_size
        pixels = frames.permute(0, 3, 1, 2).float() / 255
        if pixels.shape[2:] != (image, image):
            pixels = F.interpolate(pixels, (image, image), mode="bilinear", antialias=True)
        return self.cut((pixels - self.mean) / self.std)

    def cut(self, pixels: Float[Tensor, "frames 3 side side"]) -> Float[Tensor, "frames patches pixels"]:
        """Normalised frames of the encoder's size as patches."""
        size = self.patch_size
        grid = pixels.unflatten(3, (self.side, size)).unflatten(2, (self.side, size))
        return grid.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def unpatchify(self, patches: Float[Tensor, "frames patches pixels"]) -> UInt8[Tensor, "frames height width 3"]:
        """The inverse of `patchify`, rounded to whole pixel values; the frames have the encoder's size."""
        size = self.patch_size
        grid = patches.unflatten(2, (3, size, size)).unflatten(1, (self.side, self.side))
        pixels = grid.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
        scaled = (pixels.float() * self.std + self.mean) * 255
        return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)

    def forward(
        self,
        patches: Float[Tensor, "frames patches pixels"],
        visible: Int[Tensor, "frames visible"] | None = None,
        *,
        time: int = 1,
        words: InstructionContext | None = None,
    ) -> Float[Tensor, "frames visible width"]:
        """CLIP's last hidden state at the patches, all of them or the visible ones alone.

        With attention over time the frames are clips of `time` frames, one behind the other, whose visible patches are
        the same; without it every frame is read alone. Without `words` frames are read for nothing in particular.
        """
        hidden = self.embed(patches, visible)
        if self.temporal is None and words is None:
            return self.clip.encoder(inputs_embeds=hidden).last_hidden_state[:, 1:]
        for number, spatial in enumerate(self.clip.encoder.layers):
            hidden = self.look_back(number, spatial(self.look_up(number, hidden, words), None), time)
        return hidden[:, 1:]

    def look_up(
        self, number: int, hidden: Float[Tensor, "frames tokens width"], words: InstructionContext | None
    ) -> Tensor:
        """[frames, tokens, width]: with what that layer finds in the words, where there are any."""
        if words is None:
            return hidden
        assert self.grounding is not None, "an encoder that reads frames for no instruction"
        found: Tensor = self.grounding[number](hidden, words)
        return found

    def look_back(self, number: int, hidden: Float[Tensor, "frames tokens width"], time: int) -> Tensor:
        """[frames, tokens, width]: with what that layer finds in the frames before, where frames are clips."""
        if self.temporal is None:
            return hidden
        found: Tensor = self.temporal[number](hidden, time)
        return found

    def embed(
        self, patches: Float[Tensor, "frames patches pixels"], visible: Int[Tensor, "frames visible"] | None = None
    ) -> Float[Tensor, "frames tokens width"]:
        """What CLIP's layers take: the start token, then the patches, all of them or the visible ones alone."""
        embeddings = self.clip.embeddings
        positions = embeddings.position_embedding.weight
        hidden = F.linear(patches, embeddings.patch_embedding.weight.flatten(1)) + positions[1:]
        if visible is not None:
            hidden = take(hidden, visible)
        start = (embeddings.class_embedding + positions[0]).to(hidden.dtype).expand(len(hidden), 1, -1)
        embedded: Tensor = self.clip.pre_layrnorm(torch.cat([start, hidden], dim=1))
        return embedded

    @torch.no_grad()
    def initialize(self) -> None:
        """Fixed positions, and a patch embedding drawn as a linear layer's (as in He et al. 2022)."""
        embeddings = self.clip.embeddings
        positions = embeddings.position_embedding.weight
        positions[0] = 0
        positions[1:] = sine_cosine_positions(self.side, positions.shape[1])
        nn.init.xavier_uniform_(embeddings.patch_embedding.weight.view(embeddings.embed_dim, -1))
        nn.init.normal_(embeddings.class_embedding, std=0.02)
        for attention in (*(self.temporal or ()), *(self.grounding or ())):
            assert isinstance(attention, TemporalAttention | InstructionAttention)
            attention.initialize()


class MaskedAutoencoder(nn.Module):
    """D_θ: from the encoder's features of the visible patches to the pixels of all."""

    positions: Tensor

    def __init__(
        self, encoder_width: int, num_patches: int, pixels: int, *, width: int, layers: int, heads: int
    ) -> None:
        super().__init__()
        self.side = math.isqrt(num_patches)
        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.register_buffer("positions", torch.zeros(num_patches, width))
        config = CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            hidden_act="gelu",
        )
        config._attn_implementation = "sdpa"
        self.layers = CLIPEncoder(config)
        self.norm = nn.LayerNorm(width)
        self.to_pixels = nn.Linear(width, pixels)

    def forward(
        self, visible_features: Float[Tensor, "frames visible width"], visible: Int[Tensor, "frames visible"]
    ) -> Float[Tensor, "frames patches pixels"]:
        """The reconstruction of every patch."""
        embedded = self.embed(visible_features)
        tokens = self.mask_token.to(embedded.dtype).expand(len(visible), len(self.positions), -1)
        tokens = tokens.scatter(1, visible[..., None].expand_as(embedded), embedded) + self.positions
        return self.to_pixels(self.norm(self.layers(inputs_embeds=tokens).last_hidden_state))

    @torch.no_grad()
    def initialize(self) -> None:
        """Fixed positions; linear layers as in He et al. 2022."""
        self.positions.copy_(sine_cosine_positions(self.side, self.positions.shape[1]))
        nn.init.normal_(self.mask_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)


def split_patches(
    noise: Float[Tensor, "frames patches"], mask_ratio: float
) -> tuple[Int[Tensor, "frames visible"], Bool[Tensor, "frames patches"]]:
    """M: the visible patches of each frame, those with the least noise, and which patches are masked.

    Rounded so that at least one patch is visible and at least one masked.
    """
    patches = noise.shape[1]
    kept = min(max(1, round(patches * (1 - mask_ratio))), patches - 1)
    visible = noise.argsort(dim=1)[:, :kept]
    masked = torch.ones_like(noise, dtype=torch.bool).scatter(1, visible, False)
    return visible, masked


def take(tokens: Float[Tensor, "frames tokens width"], index: Int[Tensor, "frames chosen"]) -> Tensor:
    """The chosen tokens of each row, [frames, chosen, width]."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[2]))


def sine_cosine_positions(side: int, width: int) -> Float[Tensor, "patches width"]:
    """Fixed positions of a square grid: a quarter of the width each for sin x, cos x, sin y, cos y."""
    quarter = width // 4
    if width % 4:
        raise ValueError(f"sine-cosine positions need a width that 4 divides, not {width}")
    frequency = 10_000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angle_x, angle_y = x.flatten()[:, None] * frequency, y.flatten()[:, None] * frequency
    return torch.cat([angle_x.sin(), angle_x.cos(), angle_y.sin(), angle_y.cos()], dim=1).float()


def resize_frames(
    frames: UInt8[Tensor, "batch time height width 3"], side: int
) -> UInt8[Tensor, "batch time side side 3"]:
    """Frames of that side, as training and acting both see them (bilinear, smoothed where they shrink)."""
    if frames.shape[2:4] == (side, side):
        return frames
    pixels = frames.flatten(0, 1).permute(0, 3, 1, 2).float()
    resized = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).unflatten(0, frames.shape[:2])
