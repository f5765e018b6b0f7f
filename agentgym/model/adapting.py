"""A trained agent given more domains: new rows in its embedding table, and every other weight as it was."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import PreTrainedTokenizerFast

from agentgym.model.agent import AgentConfig, AgentModel
from agentgym.model.tokenizer import replace_actions
from agentgym.spaces.domains import Domain, action_tokens

TABLE = "language_model.embeddings.weight"


@torch.no_grad()
def with_domains(
    model: AgentModel, tokenizer: PreTrainedTokenizerFast, domains: Sequence[Domain]
) -> tuple[AgentModel, PreTrainedTokenizerFast]:
    """The agent and its tokenizer with those domains, the first of them first; those it knew stay its own.

    Every row of its table stays where it is. A token that it does not know has a new row after them, drawn as a fresh
    model's.
    """
    old = list(model.config.action_tokens or ())
    tokens = [*old, *(token for token in action_tokens(domains) if token not in old)]
    changed = {"action_tokens": tokens, "domains": [domain.to_json() for domain in _with_known(model, domains)]}
    if tokens == old:
        for name, value in changed.items():
            setattr(model.config, name, value)
        return model, tokenizer
    text, values = model.config.num_text_tokens, model.config.to_dict()
    language = {**values["language_config"], "vocab_size": text + len(tokens)}
    adapted = AgentModel(AgentConfig.from_dict({**values, **changed, "language_config": language}))
    state, rows = model.state_dict(), adapted.state_dict()[TABLE].clone()
    rows[: text + len(old)] = state[TABLE]
    adapted.load_state_dict({**state, TABLE: rows})
    return adapted.eval(), replace_actions(tokenizer, tokens, num_text_tokens=text)


def _with_known(model: AgentModel, domains: Sequence[Domain]) -> list[Domain]:
    """The domains with the tasks that the agent knew in them, and after them those that only the agent has.

    A domain that it knew is one of these where actions and frames are the same; its window is then the new one.
    """
    known = model.config.all_domains()
    joined = []
    for domain in domains:
        tasks = (task for other in (*known, domain) if _alike(other, domain) for task in other.tasks)
        joined.append(replace(domain, tasks=tuple(dict.fromkeys(tasks))))
    return [*joined, *(each for each in known if not any(_alike(each, domain) for domain in domains))]


def _alike(one: Domain, other: Domain) -> bool:
    return (one.space.root, one.frame_shape) == (other.space.root, other.frame_shape)
