"""AgentConfig: the sizes of the model's parts, the text vocabulary, and the actions and tasks that the agent knows."""

from transformers import CLIPVisionConfig, OPTConfig, PreTrainedConfig

from agentgym.model.older_formats import CHECKPOINT_FORMAT
from agentgym.spaces.domains import Domain


class AgentConfig(PreTrainedConfig):
    """The sizes of the parts, the text vocabulary, and the actions and tasks that the agent knows."""

    model_type = "agentgym"
    sub_configs_defaults = {"vision_config": CLIPVisionConfig, "language_config": OPTConfig}  # noqa: RUF012

    vision_config: dict | CLIPVisionConfig | None = None
    language_config: dict | OPTConfig | None = None
    frame_side: int | None = None  # what frames are resized to at first; None: they are as the encoder takes them
    complete_frames: bool = False  # they shrink by whole factors and get a black margin
    temporal_attention: bool = False  # the encoder reads the window as a clip, else frame by frame
    convolutional_stem: bool = False  # convolutions embed the patches, else CLIP's one projection
    instruction_attention: bool = False  # it reads each frame for the instruction, else for none
    patch_merge: int = 1  # neighbouring patches merged into one visual token: a square of this side
    decoder_width: int = 64
    decoder_layers: int = 1
    decoder_heads: int = 2
    num_text_tokens: int = 1
    action_tokens: list[str] | None = None  # of all domains, in the order of their rows in the language model's table
    domains: list[dict] | None = None  # what the agent was trained on, as `agentgym.spaces.domains` writes it
    window: int = 8  # M, the most steps that the agent sees in any domain
    checkpoint_format: int = CHECKPOINT_FORMAT

    def all_domains(self) -> tuple[Domain, ...]:
        """What the agent was trained on; the first is what its recipe's own dataset is of."""
        return tuple(Domain.from_json(values) for values in self.domains or ())
