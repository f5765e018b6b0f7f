"""Why an agent did what it did: the probabilities of all actions at each step of an episode, and where it looked.

"Where" is the vision encoder's attention over the patches of the latest frame, as far as it contributed to the chosen
action: attention weighted by gradients (Chefer et al. 2021, arXiv 2103.15679). The attention weights by themselves are
the same whatever is chosen, and the language model's do not separate patches where `patch_merge` makes one token of
many.

    s_L = (f ⊙ ∇_f log p)⁺ summed over the width, for the features f of the patches after layer L, the last
    s_(l-1) = s_l + s_l · mean over heads of (A_l ⊙ ∇_A_l log p)⁺
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from agentgym.model.agent import AgentModel
from agentgym.model.grounding import InstructionContext
from agentgym.model.sequence import SlidingWindow
from agentgym.model.tokenizer import tokenize
from agentgym.model.transformer import ObservedAttention
from agentgym.spaces.domains import Domain

METHOD = "attention weighted by gradients (Chefer et al. 2021)"
BATCH = 32


@dataclass(frozen=True)
class Explanation:
    """Rows of `probabilities` sum to 1; a map of `patches` does too, or is all zero where nothing mattered.

    Patches of a black margin (`FrameSize`) are left out, and what they had is missing from the sum.
    """

    probabilities: Float32[NDArray[np.float32], "steps actions"]
    patches: Float32[NDArray[np.float32], "steps side side"]


def explain(
    model: AgentModel,
    tokenizer: PreTrainedTokenizerFast,
    instruction: str,
    frames: UInt8[NDArray[np.uint8], "steps height width 3"],
    actions: Int64[NDArray[np.int64], "steps"],
    domain: Domain | None = None,
) -> Explanation:
    """The probabilities and attributions in an episode, each step in the window that it was acted on.

    `actions` count from 0. The domain is the agent's first where none is named. Raises UserError for actions that are
    not Discrete.
    """
    domain = domain or model.config.all_domains()[0]
    domain.space.discrete_root("an explanation")
    model.eval()
    choices, words, pixels, chosen = (
        torch.as_tensor(each).to(model.device)
        for each in (
            domain.space.within(model.config.action_tokens or ()).allowed(),
            tokenize(tokenizer, instruction),
            frames,
            actions,
        )
    )
    pixels = model.frame_size.fit(pixels[None])[0]
    with torch.no_grad():
        visual = torch.cat([model.encode(part, words=_words(model, words, len(part))) for part in pixels.split(BATCH)])
    acted = _Acted(words, pixels, visual, chosen, choices, domain.window)
    parts = [
        _explain_steps(model, acted, torch.from_numpy(steps).to(model.device))
        for steps in np.array_split(np.arange(len(frames)), -(-len(frames) // BATCH))
    ]
    side, size = model.vision_encoder.side, model.frame_size
    shown = -(-side * max(size.without_margin(*frames.shape[1:3])) // size.side)  # the margin is not
    patches = torch.cat([patches for _, patches in parts]).unflatten(1, (side, side))
    return Explanation(
        probabilities=torch.cat([probabilities for probabilities, _ in parts]).cpu().numpy(),
        patches=patches[:, :shown, :shown].cpu().numpy(),
    )


class _Acted(NamedTuple):
    """An episode as it was acted: `chosen` are places in `choices`, the tokens of the actions."""

    words: Tensor
    pixels: Tensor
    visual: Tensor
    chosen: Tensor
    choices: Tensor
    window: int


def _words(model: AgentModel, words: Tensor, frames: int) -> InstructionContext | None:
    """One instruction, for all frames."""
    return model.words(words[None], torch.ones_like(words[None]), words.new_zeros(frames))


def _explain_steps(model: AgentModel, acted: _Acted, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities [rows, actions] and patch maps [rows, patches] of those steps, one row of the batch each."""
    words, pixels, visual, chosen, choices, window = acted
    rows, tokens = len(steps), choices[chosen]
    encoder, observed = model.vision_encoder, ObservedAttention()
    features = encoder(encoder.patchify(pixels[steps]), words=_words(model, words, rows), context=observed)
    features.requires_grad_()  # where all weights are frozen
    latest = model.project(features)
    seen = visual.new_zeros(rows, window, *visual.shape[1:])
    actions = chosen.new_zeros(rows, window, 1)
    places = torch.zeros_like(steps)
    starts = SlidingWindow(window).starts(int(steps[-1]) + 1).tolist()
    for row, step in enumerate(steps.tolist()):
        start = starts[step]
        places[row] = step - start
        seen[row, : step - start] = visual[start:step]
        actions[row, : step - start, 0] = tokens[start:step]
    seen = seen.index_put((torch.arange(rows, device=steps.device), places), latest)
    instruction = words.expand(rows, -1)
    layout, hidden = model.read(instruction, torch.ones_like(instruction), seen, actions)
    at = layout.predicts_actions(hidden)[torch.arange(rows, device=steps.device), places, 0]
    logs = model.logits(at)[:, model.config.num_text_tokens + choices].log_softmax(-1)
    taken = logs[torch.arange(rows, device=steps.device), chosen[steps]].sum()
    share = spoke_for(taken, features, observed.weights)[:, 1:]
    return logs.exp().detach(), share / share.sum(1, keepdim=True).clamp(min=1e-12)


def spoke_for(
    taken: Float[Tensor, ""],
    features: Float[Tensor, "rows patches width"],
    attention: Sequence[Float[Tensor, "rows heads tokens tokens"]],
) -> Float[Tensor, "rows tokens"]:
    """How much each token of the encoder, the start token and the patches, contributed to the action (see above)."""
    gradient, *by_layer = torch.autograd.grad(taken, [features, *attention])
    share = F.pad(
        (features * gradient).sum(-1).clamp(min=0), (1, 0)
    ).detach()  # 0 for the start token, which is not projected
    for weights, slope in reversed(list(zip(attention, by_layer, strict=True))):
        passed = (weights * slope).clamp(min=0).mean(1).detach()
        share = share + (share[:, None] @ passed)[:, 0]
    return share
