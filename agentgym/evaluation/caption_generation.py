"""A trained agent's captions of episodes, and how right they are compared with the answer that is right most often.

exact_match      captions that are the instruction, word by word
word_accuracy    words of the instruction that are at their place in the caption, of all places of either
majority         the same of one answer to all: the commonest instruction of the task in training
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from agentgym.model.agent import AgentModel
from agentgym.model.kv_cache import KVCache, Prefill
from agentgym.model.sequence import pack
from agentgym.policies.constrained_decoding import ConstrainedDecoder
from agentgym.spaces import NO_TOKEN
from agentgym.training.captions import CaptionSource
from agentgym.training.windows import Batch

BATCH = 64


def write_captions(model: AgentModel, tokenizer: PreTrainedTokenizerFast, source: CaptionSource) -> list[str]:
    """The likeliest words for each episode of the source."""
    decoder = ConstrainedDecoder(model.eval(), source.codec)
    captions = []
    for start in range(0, len(source), BATCH):
        batch = source.batch(np.arange(start, min(start + BATCH, len(source)))).to(model.device)
        with torch.inference_mode():
            written = _write(model, decoder, batch)
        for tokens in written:
            captions.append(tokenizer.decode(source.codec.decode(tokens[tokens != NO_TOKEN])).strip())
    return captions


def _write(model: AgentModel, decoder: ConstrainedDecoder, batch: Batch) -> NDArray[np.int64]:
    """The tokens of a batch's captions: everything is read but the answers, which are written."""
    time = batch.step_mask.shape[1]
    of_frame = torch.arange(batch.step_mask.numel(), device=model.device) // time
    instruction, mask = batch.instruction[batch.instruction_of], batch.instruction_mask[batch.instruction_of]
    words = model.words(instruction, mask, of_frame)
    visual = model.encode(batch.frames.flatten(0, 1), time=time, words=words).unflatten(0, batch.step_mask.shape)
    layout, padded = model.embed(instruction, visual, batch.actions.clamp(min=0))
    real = layout.real(mask, torch.zeros_like(batch.actions, dtype=torch.bool), batch.step_mask)
    lengths = real.sum(1).cpu().numpy()
    packed = pack(padded, real, int(lengths.max()))
    cache = KVCache.empty(model.language_model, len(packed), packed.shape[1] + decoder.longest)
    hidden = model.language_model(packed, Prefill(cache, np.arange(len(packed))))
    latest = hidden[torch.arange(len(hidden)), torch.from_numpy(lengths - 1).to(hidden.device)]
    return decoder.decode(latest, cache, lengths, lambda logits: logits.argmax(-1).cpu().numpy())


def score(true: Sequence[str], answers: Sequence[str]) -> dict[str, float]:
    """Exact match and word accuracy of answers."""
    right = places = 0
    for text, answer in zip(true, answers, strict=True):
        expected, said = text.split(), answer.split()
        right += sum(a == b for a, b in zip(expected, said, strict=False))
        places += max(len(expected), len(said))
    exact = sum(text == answer for text, answer in zip(true, answers, strict=True))
    return {"exact_match": exact / len(true), "word_accuracy": right / places}


def score_by_task(
    tasks: Sequence[str], true: Sequence[str], answers: Sequence[str], seen: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """The scores of each task's episodes, and the majority's; `seen` are tasks and instructions of training."""
    scored = []
    for task in sorted(set(tasks)):
        mine = [place for place, other in enumerate(tasks) if other == task]
        expected = [true[place] for place in mine]
        commonest = Counter(text for other, text in seen if other == task).most_common(1)
        majority = commonest[0][0] if commonest else ""
        scored.append(
            {
                "task": task,
                "episodes": len(mine),
                **score(expected, [answers[place] for place in mine]),
                "majority": {"answer": majority, **score(expected, [majority] * len(mine))},
            }
        )
    return scored
