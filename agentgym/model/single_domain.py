"""An agent of several domains as one of a single domain, for what plays one: PPO, A2C and the exported policy.

The rows of the actions that the domain does not have are left out of the table; every other number stays as it was.
This module does not know how a domain is chosen.
"""

import torch
from transformers import PreTrainedTokenizerFast

from agentgym.model.adapting import TABLE
from agentgym.model.agent import AgentConfig, AgentModel
from agentgym.model.tokenizer import replace_actions
from agentgym.spaces.domains import Domain


@torch.no_grad()
def of_one_domain(
    model: AgentModel, tokenizer: PreTrainedTokenizerFast, domain: Domain
) -> tuple[AgentModel, PreTrainedTokenizerFast]:
    """The agent and its tokenizer with only that domain, one of its own; unchanged where they have no other."""
    if len(model.config.all_domains()) == 1:
        return model, tokenizer
    text, known, values = model.config.num_text_tokens, model.config.action_tokens or [], model.config.to_dict()
    tokens = list(domain.space.tokens)
    language = {**values["language_config"], "vocab_size": text + len(tokens)}
    changed = {"action_tokens": tokens, "domains": [domain.to_json()], "window": domain.window}
    narrowed = AgentModel(AgentConfig.from_dict({**values, **changed, "language_config": language}))
    state = model.state_dict()
    rows = [*range(text), *(text + known.index(token) for token in tokens)]
    narrowed.load_state_dict({**state, TABLE: state[TABLE][rows]})
    return narrowed.eval(), replace_actions(tokenizer, tokens, num_text_tokens=text)
