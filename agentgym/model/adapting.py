"""A trained agent given other domains: new rows in its embedding table, and every other weight as it was."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerFast

from agentgym.domains import Domain, action_tokens
from agentgym.model.agent import AgentConfig, AgentModel
from agentgym.model.tokenizer import replace_actions

TABLE = "language.decoder.embed_tokens.weight"


@torch.no_grad()
def with_domains(
    model: AgentModel, tokenizer: PreTrainedTokenizerFast, domains: Sequence[Domain]
) -> tuple[AgentModel, PreTrainedTokenizerFast]:
    """The agent and its tokenizer with the tokens of those domains.

    A token that it knows keeps its row, wherever it stands; a new one has a new row, drawn as a fresh model's; one that
    none of the domains has is forgotten.
    """
    old, tokens = list(model.config.action_tokens or ()), list(action_tokens(domains))
    told = {"action_tokens": tokens, "domains": [domain.to_json() for domain in domains]}
    if tokens == old:
        for name, value in told.items():
            setattr(model.config, name, value)
        return model, tokenizer
    text, values = model.config.num_text_tokens, model.config.to_dict()
    language = {**values["language_config"], "vocab_size": text + len(tokens)}
    adapted = AgentModel(AgentConfig.from_dict({**values, **told, "language_config": language}))
    state, rows = model.state_dict(), adapted.state_dict()[TABLE].clone()
    rows[:text] = state[TABLE][:text]
    for number, token in enumerate(old):
        if token in tokens:
            rows[text + tokens.index(token)] = state[TABLE][text + number]
    adapted.load_state_dict({**state, TABLE: rows})
    return adapted.eval(), replace_actions(tokenizer, tokens, num_text_tokens=text)
