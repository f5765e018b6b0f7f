"""One step of acting as one graph: what is exported to run without PyTorch.

    (frame, instruction, history) -> (logits of the actions, new history)

For one environment, with the model's own modules. It decides nothing: its caller moves the window
(`agentgym.model.sequence`), chooses the action and appends it, and gives empty keys and values where the row is to be
read from its beginning.
"""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from agentgym.model.agent import AgentModel
from agentgym.model.kv_cache import ExportedCache


class ExportedStep(nn.Module):
    """An agent's step. There may be no step before, and nothing that was read."""

    def __init__(self, agent: AgentModel) -> None:
        super().__init__()
        self.agent = agent

    def forward(
        self,
        frame: UInt8[Tensor, "height width 3"],
        instruction: Int[Tensor, "words"],
        visual: Float[Tensor, "past visual width"],
        actions: Int[Tensor, "past action"],
        keys_values: Float[Tensor, "layers 2 heads read head"],
    ) -> tuple[Float[Tensor, "actions"], Float[Tensor, "steps visual width"], Float[Tensor, "layers 2 heads all head"]]:
        """Logits, and the history with this frame: its visual tokens, and keys and values of all tokens so far."""
        agent, words = self.agent, instruction[None]
        seen = agent.frame_size.fit(frame[None, None])[0]
        named = agent.words(words, torch.ones_like(words), torch.zeros(1, dtype=torch.long))
        visual = torch.cat([visual, agent.encode(seen, words=named)])
        padded = torch.cat([actions, actions.new_zeros(1, actions.shape[1])])
        _, embedded = agent.embed(words, visual[None], padded[None])
        embedded = embedded[:, : -actions.shape[1]]  # the latest action is yet to be chosen
        context = ExportedCache(keys_values, torch.arange(embedded.shape[1]))
        hidden = agent.language_model(embedded[:, keys_values.shape[3] :], context)
        return agent.action_logits(hidden[0, -1]), visual, torch.stack(context.layers)
