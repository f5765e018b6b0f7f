"""A trained agent given other actions: new rows in its embedding table, and every other weight as it was."""

import torch
from transformers import PreTrainedTokenizerFast

from agentgym.actions import ActionCodec
from agentgym.model.agent import AgentConfig, AgentModel
from agentgym.model.tokenizer import replace_actions

TABLE = "language.decoder.embed_tokens.weight"


@torch.no_grad()
def with_actions(
    model: AgentModel, tokenizer: PreTrainedTokenizerFast, codec: ActionCodec
) -> tuple[AgentModel, PreTrainedTokenizerFast]:
    """The agent and its tokenizer with the codec's actions.

    A name that it knows keeps its row, wherever it stands; a new name has a new row, drawn as a fresh model's; a name
    that the codec does not have is forgotten.
    """
    old = model.config
    if ActionCodec(tuple(old.action_names or ()), old.action_start) == codec:
        return model, tokenizer
    text, values = old.num_text_tokens, old.to_dict()
    language = {**values["language_config"], "vocab_size": text + codec.num_tokens}
    actions = {"action_names": list(codec.names), "action_start": codec.start, "action_length": codec.length}
    adapted = AgentModel(AgentConfig.from_dict({**values, **actions, "language_config": language}))
    state, rows = model.state_dict(), adapted.state_dict()[TABLE].clone()
    rows[:text] = state[TABLE][:text]
    for number, name in enumerate(old.action_names or ()):
        if name in codec.names:
            rows[text + codec.names.index(name)] = state[TABLE][text + number]
    adapted.load_state_dict({**state, TABLE: rows})
    return adapted.eval(), replace_actions(tokenizer, codec, num_text_tokens=text)
