"""The paper's model, and how its checkpoints are made, read and adapted.

    agent, config                         AgentModel: vision encoder, projector, language model, MAE decoder
    loading, older_formats                checkpoint folders, those of formats 1 and 2 too
    vision, temporal, grounding           the visual encoder, over time, and attending to the instruction
    masked_autoencoder                    what it hides and how the pixels are decoded
    language, transformer, kv_cache       the language model; layers with the causal mask; the cache of acting
    sequence, tokenizer                   the order of tokens (drawn there); text and action tokens
    presets, pretrained, adapting, single_domain   sizes; published CLIP and OPT; other actions; a single domain

It is tensors in and tensors out: no environment, no dataset, no Gymnasium.
"""

from typing import TYPE_CHECKING

from agentgym import lazy

if TYPE_CHECKING:
    from agentgym.model.agent import AgentModel
    from agentgym.model.loading import load_agent

__all__ = ["AgentModel", "load_agent"]

__getattr__ = lazy.offer(
    __name__,
    {
        "AgentModel": "agentgym.model.agent",
        "load_agent": "agentgym.model.loading",
    },
)
