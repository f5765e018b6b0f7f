"""The visual encoder.

The encoder is CLIP's, whose learned positions are replaced by fixed two-dimensional sine-cosine ones (He et al. 2022,
arXiv 2111.06377), so that it can run on all patches to act and on only the visible ones for the masked autoencoder.
Frames come in as uint8 and are normalised here, with CLIP's own constants.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from transformers import CLIPVisionConfig

from agentgym.model.grounding import InstructionAttention, InstructionContext
from agentgym.model.stem import ConvolutionalStem
from agentgym.model.temporal import TemporalAttention
from agentgym.model.transformer import Context, FullAttention, Transformer, TransformerSizes

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # Radford et al. 2021, the preprocessing of the published weights
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class VisionEncoder(nn.Module):
    """Frames to patch features."""

    positions: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        config: CLIPVisionConfig,
        *,
        clip_frames: int | None = None,
        word_width: int | None = None,
        convolutional_stem: bool = False,
    ) -> None:
        """With `clip_frames` it takes clips of up to that many frames, else single frames.

        With `word_width` it reads frames for an instruction, whose embedded words have that width. With a
        `convolutional_stem` patches are embedded by convolutions over the frame (see `agentgym.model.stem`), else by
        CLIP's one projection.
        """
        super().__init__()
        self.config = config
        self.patch_size = int(config.patch_size)
        self.side = int(config.image_size) // self.patch_size
        self.num_patches = self.side**2
        sizes = TransformerSizes.of_clip(config)
        self.stem = ConvolutionalStem(self.side, self.patch_size, sizes.width) if convolutional_stem else None
        pixels = 3 * self.patch_size**2
        self.patch_embedding = nn.Linear(sizes.width if convolutional_stem else pixels, sizes.width, bias=False)
        self.start = nn.Parameter(torch.zeros(sizes.width))  # the token before the patches, CLIP's class embedding
        self.register_buffer("positions", torch.zeros(self.num_patches, sizes.width))
        self.first_norm = nn.LayerNorm(sizes.width, eps=sizes.epsilon)
        self.transformer = Transformer(sizes)
        self.last_norm = nn.LayerNorm(sizes.width, eps=sizes.epsilon)  # of what acts; the autoencoder goes without
        layers = range(sizes.layers)
        self.temporal: nn.ModuleList | None = None
        if clip_frames is not None:
            self.temporal = nn.ModuleList(TemporalAttention(sizes.width, sizes.heads, clip_frames) for _ in layers)
        self.grounding: nn.ModuleList | None = None
        if word_width is not None:
            self.grounding = nn.ModuleList(InstructionAttention(sizes.width, sizes.heads, word_width) for _ in layers)
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(CLIP_STD).view(3, 1, 1))
        self._initialize()

    def patchify(self, frames: UInt8[Tensor, "frames height width 3"]) -> Float[Tensor, "frames patches pixels"]:
        """Normalised patches, row by row; a patch's pixels in the order (channel, y, x) of CLIP's convolution.

        Frames that end within the last patch of a row are completed with black, at the right and below; those of
        another size are resized (bilinear, smoothed where they shrink).
        """
        image, side, size = self.side * self.patch_size, self.side, self.patch_size
        pixels, missing = frames, image - int(frames.shape[2])
        if frames.shape[1] == frames.shape[2] and 0 < missing < size:
            pixels = F.pad(frames, (0, 0, 0, missing, 0, missing))
        elif frames.shape[1:3] != (image, image):
            pixels = resize(frames.movedim(3, 1).to(self.mean.dtype), image, image).movedim(1, 3)
        grid = pixels.reshape(-1, side, size, side, size, 3).permute(0, 1, 3, 5, 2, 4)
        patches = grid.reshape(-1, side * side, 3, size * size).to(self.mean.dtype)
        normalisation = _normalisation if torch.compiler.is_compiling() else _kept_normalisation
        scale, shift = normalisation(patches.device, patches.dtype)
        return torch.addcmul(shift, patches, scale).flatten(2)

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
        context: Context | None = None,
    ) -> Float[Tensor, "frames visible width"]:
        """The hidden states at the patches, all of them or only the visible ones, before the last norm.

        With attention over time the frames are clips of `time` frames, one after another, whose visible patches are
        the same; without it every frame is read separately. Without `words` frames are read without an instruction.
        """
        hidden, context = self.embed(patches, visible), context or FullAttention()
        for layer, block in enumerate(self.transformer.blocks):
            if self.grounding is not None and words is not None:
                hidden = self.grounding[layer](hidden, words)
            hidden = block(hidden, context, layer)
            if self.temporal is not None:
                hidden = self.temporal[layer](hidden, time)
        return hidden[:, 1:]

    def embed(
        self, patches: Float[Tensor, "frames patches pixels"], visible: Int[Tensor, "frames visible"] | None = None
    ) -> Float[Tensor, "frames tokens width"]:
        """What the blocks take: the start token, then the patches, all of them or only the visible ones."""
        hidden = patches if self.stem is None else self.stem(patches, visible)
        hidden = self.patch_embedding(hidden) + self.positions
        if visible is not None:
            hidden = take(hidden, visible)
        start = self.start.to(hidden.dtype).expand(len(hidden), 1, -1)
        embedded: Tensor = self.first_norm(torch.cat([start, hidden], dim=1))
        return embedded

    @torch.no_grad()
    def _initialize(self) -> None:
        """Blocks as CLIP's are drawn; fixed positions, and a patch embedding drawn as a linear layer's (He et al.)."""
        self.positions.copy_(sine_cosine_positions(self.side, self.positions.shape[1]))
        nn.init.xavier_uniform_(self.patch_embedding.weight)
        nn.init.normal_(self.start, std=0.02)
        initialize_as_clip(self.transformer)


def _normalisation(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What pixels of 0 to 255 are multiplied with and what is added, [3, 1] each: CLIP's normalisation."""
    mean, std = torch.tensor(CLIP_MEAN), torch.tensor(CLIP_STD)
    return (1 / (255 * std))[:, None].to(device, dtype), (-mean / std)[:, None].to(device, dtype)


@lru_cache(maxsize=8)
def _kept_normalisation(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The same, made once, and not as inference's own tensors: training may use them later."""
    with torch.inference_mode(mode=False):
        return _normalisation(device, dtype)


@torch.no_grad()
def initialize_as_clip(transformer: Transformer) -> None:
    """Weights drawn as Radford et al. 2021 draw them; biases 0."""
    width, depth = transformer.sizes.width, (2 * transformer.sizes.layers) ** -0.5
    for block in transformer.blocks:
        for linear, std in (
            (block.queries_keys_values, width**-0.5 * depth),
            (block.attention_out, width**-0.5),
            (block.widen, (2 * width) ** -0.5),
            (block.narrow, width**-0.5 * depth),
        ):
            assert isinstance(linear, nn.Linear)
            nn.init.normal_(linear.weight, std=std)
            nn.init.zeros_(linear.bias)


def take(tokens: Float[Tensor, "frames tokens width"], index: Int[Tensor, "frames chosen"]) -> Tensor:
    """The chosen tokens of each row, [frames, chosen, width]."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[2]))


def sine_cosine_positions(side: int, width: int) -> Float[Tensor, "patches width"]:
    """Fixed positions of a square grid: a quarter of the width each for sin x, cos x, sin y, cos y.

    float32. Raises ValueError unless 4 divides the width. They are MAE's (arXiv 2111.06377, appendix A.1).
    """
    quarter = width // 4
    if width % 4:
        raise ValueError(f"sine-cosine positions need a width that 4 divides, not {width}")
    with torch.device("cpu"):  # float64 is not known to every device
        frequency = 10_000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
        y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        angle_x, angle_y = x.flatten()[:, None] * frequency, y.flatten()[:, None] * frequency
        return torch.cat([angle_x.sin(), angle_x.cos(), angle_y.sin(), angle_y.cos()], dim=1).float()


@dataclass(frozen=True)
class FrameSize:
    """The square that frames are brought to, in training and acting alike: bilinear, smoothed where they shrink.

    Where it `completes`, frames keep their shape and their grid: they shrink by the least whole factor that makes them
    fit, or not at all, and are completed with black at the right and below.
    """

    side: int
    completes: bool = False

    def without_margin(self, height: int, width: int) -> tuple[int, int]:
        """The height and width that frames of that height and width have in the square, without the black margin."""
        if not self.completes:
            return self.side, self.side
        factor = -(-max(height, width) // self.side)
        return max(1, height // factor), max(1, width // factor)

    def fit(self, frames: UInt8[Tensor, "batch time height width 3"]) -> UInt8[Tensor, "batch time side side 3"]:
        """Frames of that size."""
        height, width = (int(length) for length in frames.shape[2:4])
        if (height, width) == (self.side, self.side):
            return frames
        wanted = self.without_margin(height, width)
        if wanted != (height, width):
            resized = resize(frames.permute(0, 1, 4, 2, 3).float(), *wanted)
            frames = resized.round().clamp(0, 255).to(torch.uint8).permute(0, 1, 3, 4, 2)
        if wanted != (self.side, self.side):
            frames = F.pad(frames, (0, 0, 0, self.side - wanted[1], 0, self.side - wanted[0]))
        return frames


def resize(
    pixels: Float[Tensor, "*axes before before2"], height: int, width: int
) -> Float[Tensor, "*axes height width"]:
    """Pixels of that height and width, by two matrices: so it is the same on every device and in every runtime."""
    if pixels.shape[-2:] == (height, width):
        return pixels
    rows, columns = (
        _resizing(int(length), wanted, pixels.device, pixels.dtype)
        for length, wanted in zip(pixels.shape[-2:], (height, width), strict=True)
    )
    # Both are on the left, where int8 quantisation leaves matrices as they are; the exporter knows no `mT`.
    return (columns @ (rows @ pixels).transpose(-2, -1)).transpose(-2, -1)


@lru_cache(maxsize=16)
def _resizing(length: int, side: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "side length"]:
    """What maps a line of `length` pixels to one of `side`: bilinear, smoothed where it shrinks."""
    with torch.device("cpu"), torch.inference_mode(mode=False):
        basis = torch.eye(length)[None, None]
        matrix = F.interpolate(basis, (side, length), mode="bilinear", antialias=True)[0, 0]
        return matrix.to(device, dtype)
