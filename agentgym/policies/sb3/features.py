"""The features of Stable-Baselines3's policies: the agent's hidden state at the latest frame of each window."""

from collections.abc import Callable
from typing import Any

import gymnasium
import torch
from gymnasium.spaces import Dict
from jaxtyping import Float, Int, UInt8
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from agentgym.environments import decode_instruction
from agentgym.errors import UserError
from agentgym.model.grounding import InstructionContext
from agentgym.model.tokenizer import Instructions, pad_left
from agentgym.model.weights import WeightsMark
from agentgym.policies.sb3.restoring import load_or_rebuild

REMEMBERED_BYTES = 64_000_000  # of frames that were encoded


class AgentFeatures(BaseFeaturesExtractor):
    """The language model's hidden state at the latest frame of each window, float[rows, width].

    Raises UserError when the observations are not windows of the agent's length and frames.
    """

    def __init__(
        self, observation_space: Dict, checkpoint: str, action_space: gymnasium.Space[Any], task: str | None = None
    ) -> None:
        agent, tokenizer = load_or_rebuild(observation_space, checkpoint, action_space, task)
        agent.check_reads_images("a Stable-Baselines3 policy")
        super().__init__(observation_space, features_dim=agent.language_model.outer_width)
        expected = (agent.config.window, *agent.config.all_domains()[0].frame_shape, 3)
        frames = observation_space.spaces.get("frames") if isinstance(observation_space, Dict) else None
        if frames is None or frames.shape != expected:
            found = "no 'frames'" if frames is None else f"frames {list(frames.shape or ())}"
            raise UserError(
                f"the observation has {found}; {checkpoint} takes {list(expected)}: "
                f"wrap the environment in HistoryObservation(env, window={expected[0]})"
            )
        self.agent = agent
        self.tokenizer = tokenizer
        encoder = [agent.vision_encoder, agent.projector]
        if agent.vision_encoder.grounding is not None:
            encoder.append(agent.language_model.embeddings)
        self._encoder = [parameter for module in encoder for parameter in module.parameters()]
        self._mark = WeightsMark(*encoder)
        self._encoded = VisualTokenCache()
        self._instructions = Instructions(tokenizer)

    def forward(self, observations: dict[str, Tensor]) -> Float[Tensor, "rows width"]:
        """From the observations of `HistoryObservation`, in the float32 that Stable-Baselines3 makes of them."""
        mask = observations["mask"].bool()
        steps = mask.sum(1)
        mask = mask[:, : int(steps.max())]
        real = mask.flatten().nonzero().squeeze(1)
        frames = _whole(observations, "frames", torch.uint8)[:, : mask.shape[1]].flatten(0, 1)[real]
        raw = _whole(observations, "instruction", torch.uint8)
        padded = pad_left([self._instructions(decode_instruction(row)) for row in raw.cpu().numpy()])
        instruction, instruction_mask = (torch.from_numpy(each).to(mask.device) for each in padded)
        frames = self.agent.frame_size.fit(frames[:, None])[:, 0]
        of_frame = real // mask.shape[1]
        words = self.agent.words(instruction, instruction_mask, of_frame)
        encoded = self._encode(frames, words, raw[of_frame])
        visual = encoded.new_zeros(mask.numel(), *encoded.shape[1:]).index_copy(0, real, encoded)
        layout, hidden = self.agent.read(
            instruction,
            instruction_mask,
            visual.unflatten(0, mask.shape),
            _whole(observations, "actions", torch.long)[:, : mask.shape[1], None],
        )
        return layout.predicts_actions(hidden)[torch.arange(len(mask), device=mask.device), steps - 1, 0]

    def _encode(
        self,
        frames: UInt8[Tensor, "frames height width 3"],
        words: InstructionContext | None,
        raw: UInt8[Tensor, "frames bytes"],
    ) -> Float[Tensor, "frames visual width"]:
        """Visual tokens, each different frame encoded once; known ones are remembered until the encoder learns.

        Where frames are read for `words`, of which `raw` are the bytes, frames with other words are others.
        """
        shown = frames.flatten(1) if words is None else torch.cat([frames.flatten(1), raw], dim=1)

        def encode(places: Int[Tensor, "chosen"]) -> Tensor:
            return self.agent.encode(frames[places], words=None if words is None else words.at(places))

        if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in self._encoder):
            first, which = _distinct(shown)
            return encode(first)[which]
        return self._encoded.of(shown, encode, self._mark.now())


def _whole(observations: dict[str, Tensor], name: str, dtype: torch.dtype) -> Tensor:
    """That observation in whole numbers, as it was before Stable-Baselines3 made floats of it.

    Raises UserError where a wrapper made something else of it, which its space need not say.
    """
    values = observations[name]
    whole = values.to(dtype)
    if not torch.equal(whole.to(values.dtype), values):
        low, high = float(values.min()), float(values.max())
        raise UserError(
            f"the observation's '{name}' is from {low:.3g} to {high:.3g}, not the whole numbers of HistoryObservation: "
            "leave it out of the wrapper that changes it (of VecNormalize's norm_obs_keys)"
        )
    return whole


class VisualTokenCache:
    """Visual tokens of frames that were seen, by the frames' bytes: windows overlap, and views come again."""

    def __init__(self) -> None:
        self._tokens: dict[bytes, Tensor] = {}
        self._mark: tuple[Any, ...] = ()

    def of(
        self, shown: UInt8[Tensor, "frames bytes"], encode: Callable[[Tensor], Tensor], mark: tuple[Any, ...]
    ) -> Float[Tensor, "frames visual width"]:
        """The visual tokens; `encode` computes those that are new to the encoder's weights of this `mark`."""
        if mark != self._mark or len(self._tokens) * self._bytes_each() > REMEMBERED_BYTES:
            self._tokens, self._mark = {}, mark
        keys = [row.tobytes() for row in shown.cpu().numpy()]
        new = {key: place for place, key in enumerate(keys) if key not in self._tokens}
        if new:
            encoded = encode(torch.tensor(list(new.values()), device=shown.device)).detach()
            self._tokens.update(zip(new, encoded.unbind(), strict=True))
        return torch.stack([self._tokens[key] for key in keys])

    def _bytes_each(self) -> int:
        return next((tokens.nbytes for tokens in self._tokens.values()), 0)


def _distinct(
    rows: UInt8[Tensor, "rows bytes"],
) -> tuple[Int[Tensor, "different"], Int[Tensor, "rows"]]:
    """The first place of each distinct row, and which of them each row is."""
    places: dict[bytes, int] = {}
    which = [places.setdefault(row.tobytes(), len(places)) for row in rows.cpu().numpy()]
    first = {place: number for number, place in reversed(list(enumerate(which)))}
    chosen = torch.tensor([first[place] for place in range(len(places))], device=rows.device)
    return chosen, torch.tensor(which, device=rows.device)
