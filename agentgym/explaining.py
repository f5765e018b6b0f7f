"""Why an agent did what it did: the probabilities of all actions at each step of an episode, and where it looked.

"Where" is gradient x input (Shrikumar et al. 2017, arXiv 1704.02685): how much the log-probability of the chosen action
changes, to first order, when a patch of the latest frame turns black. E_θ's and F_φ's own attention would not do: where
`patch_merge` gives one visual token a frame, no attention weight tells the patches of a frame apart.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from agentgym.domains import Domain
from agentgym.layout import kept_steps
from agentgym.model.agent import AgentModel
from agentgym.model.grounding import Words
from agentgym.model.tokenizer import tokenize

METHOD = "gradient × input (Shrikumar et al. 2017)"
BATCH = 32


@dataclass(frozen=True)
class Explanation:
    """Rows of `probabilities` sum to 1; a map of `patches` does too, or is all zero where nothing mattered."""

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
    """What the agent made of an episode, each step by the window that it acted on. `actions` are places from 0.

    The domain is the agent's first where none is named. Raises UserError for actions that are not Discrete.
    """
    domain = domain or model.config.all_domains()[0]
    domain.space.discrete_root("an explanation")
    choices = torch.tensor(domain.space.within(model.config.action_tokens or ()).allowed())
    model.eval()
    words = torch.tensor(tokenize(tokenizer, instruction))
    pixels, chosen = torch.from_numpy(frames), torch.from_numpy(actions)
    with torch.no_grad():
        visual = torch.cat([model.encode(part, words=_words(model, words, len(part))) for part in pixels.split(BATCH)])
    acted = _Acted(words, pixels, visual, chosen, choices, domain.window)
    parts = [
        _explain_steps(model, acted, torch.tensor(steps))
        for steps in np.array_split(np.arange(len(frames)), -(-len(frames) // BATCH))
    ]
    side = model.vision.side
    return Explanation(
        probabilities=torch.cat([probabilities for probabilities, _ in parts]).numpy(),
        patches=torch.cat([patches for _, patches in parts]).unflatten(1, (side, side)).numpy(),
    )


def window_starts(steps: int, window: int) -> Iterator[int]:
    """For each step of an episode the first step of the window that it is acted on (see `agentgym.layout`)."""
    start = 0
    for step in range(steps):
        if step - start == window:
            start = step - kept_steps(window)
        yield start


class _Acted(NamedTuple):
    """An episode as it was acted: `chosen` are places in `choices`, the tokens of the actions."""

    words: Tensor
    pixels: Tensor
    visual: Tensor
    chosen: Tensor
    choices: Tensor
    window: int


def _words(model: AgentModel, words: Tensor, frames: int) -> Words | None:
    """One instruction, for all frames."""
    return model.words(words[None], torch.ones_like(words[None]), torch.zeros(frames, dtype=torch.long))


def _explain_steps(model: AgentModel, acted: _Acted, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities [rows, actions] and patch maps [rows, patches] of those steps, one row of the batch each."""
    words, pixels, visual, chosen, choices, window = acted
    rows, tokens = len(steps), choices[chosen]
    patches = model.vision.patchify(pixels[steps]).requires_grad_()
    latest = model.project(model.vision(patches, words=_words(model, words, rows)))
    seen = visual.new_zeros(rows, window, *visual.shape[1:])
    actions = chosen.new_zeros(rows, window, 1)
    places = torch.zeros_like(steps)
    starts = list(window_starts(int(steps[-1]) + 1, window))
    for row, step in enumerate(steps.tolist()):
        start = starts[step]
        places[row] = step - start
        seen[row, : step - start] = visual[start:step]
        actions[row, : step - start, 0] = tokens[start:step]
    seen = seen.index_put((torch.arange(rows), places), latest)
    instruction = words.expand(rows, -1)
    layout, hidden = model.read(instruction, torch.ones_like(instruction), seen, actions)
    at = layout.predicts_actions(hidden)[torch.arange(rows), places, 0]
    logs = model.logits(at)[:, model.config.num_text_tokens + choices].log_softmax(-1)
    taken = logs[torch.arange(rows), chosen[steps]].sum()
    (gradient,) = torch.autograd.grad(taken, patches)
    black = model.vision.patchify(torch.zeros_like(pixels[:1]))
    weight = (gradient * (patches.detach() - black)).sum(-1).abs()
    return logs.exp().detach(), weight / weight.sum(1, keepdim=True).clamp(min=1e-12)
