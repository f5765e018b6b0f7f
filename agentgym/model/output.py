"""What the model gives to the losses."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from agentgym.model.masked_autoencoder import Reconstruction


@dataclass(frozen=True)
class AgentOutput:
    """What the losses need: logits over the whole vocabulary, and the reconstruction where it was asked for."""

    language_logits: Float[Tensor, "instructions tokens vocabulary"]  # at w_1 ... w_{L-1}, for w_2 ... w_L
    action_logits: Float[Tensor, "batch time action vocabulary"]
    reconstruction: Reconstruction | None
