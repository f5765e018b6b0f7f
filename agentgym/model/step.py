"""One step of acting as one graph: what is exported to run without PyTorch.

    (frame, instruction, history) -> (logits of the actions, new history)

For one environment and without padding, so that the graph has no mask but the causal one. It decides nothing: whoever
runs it moves the window (`model.sequence`), chooses the action and appends it, and gives empty keys and values where
the row is to be read from its beginning.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from agentgym.model.agent import AgentModel
from agentgym.model.blocks import Block


class ExportedStep(nn.Module):
    """An agent's step, on its own weights. There may be no step before, and nothing that was read."""

    resize: Tensor | None

    def __init__(self, agent: AgentModel) -> None:
        super().__init__()
        self.agent = agent
        self._decoder = agent.language.decoder
        with torch.no_grad():
            self._vision = [Block.of_clip(layer) for layer in agent.vision.clip.encoder.layers]
            self._language = [Block.of_opt(layer) for layer in self._decoder.layers]
        image, side = agent.vision.side * agent.vision.patch_size, agent.frame_side
        # Resizing is linear: as a matrix it is the same in every runtime. Rows and columns alike, frames being square.
        basis = torch.eye(side)[None, None]
        resize = F.interpolate(basis, (image, side), mode="bilinear", antialias=True)[0, 0]
        self.register_buffer("resize", None if image == side else resize)

    def forward(
        self,
        frame: UInt8[Tensor, "side side 3"],
        instruction: Int[Tensor, "words"],
        visual: Float[Tensor, "past visual width"],
        actions: Int[Tensor, "past action"],
        keys_values: Float[Tensor, "layers 2 heads read head"],
    ) -> tuple[Float[Tensor, "actions"], Float[Tensor, "steps visual width"], Float[Tensor, "layers 2 heads all head"]]:
        """Logits, and the history with this frame: its visual tokens, and keys and values of all tokens so far."""
        visual = torch.cat([visual, self._encode(frame, instruction)])
        padded = torch.cat([actions, actions.new_zeros(1, actions.shape[1])])
        _, embeddings = self.agent.embed(instruction[None], visual[None], padded[None])
        embeddings = embeddings[:, : -actions.shape[1]]  # the latest action is yet to be chosen
        hidden, keys_values = self._read_on(embeddings, keys_values)
        table = self.agent.language.get_input_embeddings().weight[self.agent.config.num_text_tokens :]
        return F.linear(hidden[0, -1], table), visual, keys_values

    def _encode(
        self, frame: UInt8[Tensor, "side side 3"], instruction: Int[Tensor, "words"]
    ) -> Float[Tensor, "1 visual width"]:
        """ℓ(E_θ(V)), as `AgentModel.encode` gives it."""
        vision = self.agent.vision
        pixels = frame.permute(2, 0, 1).float() / 255
        if self.resize is not None:
            pixels = self.resize @ pixels @ self.resize.T
        hidden = vision.embed(vision.cut(((pixels - vision.mean) / vision.std)[None]))
        mask, of_frame = torch.ones_like(instruction[None]), torch.zeros(1, dtype=torch.long)
        words = self.agent.words(instruction[None], mask, of_frame)
        for number, block in enumerate(self._vision):
            hidden = block.run(vision.look_up(number, hidden, words)[0], 1, attend)[None]
        return self.agent.project(hidden[:, 1:])

    def _read_on(
        self, embeddings: Float[Tensor, "1 all width"], keys_values: Float[Tensor, "layers 2 heads read head"]
    ) -> tuple[Float[Tensor, "1 new width"], Float[Tensor, "layers 2 heads all head"]]:
        """Hidden states of the tokens that were not read before; the keys and values of all."""
        decoder, places = self._decoder, torch.arange(embeddings.shape[1])
        new = places[keys_values.shape[3] :]
        unseen = places > new[:, None]
        hidden = embeddings[:, keys_values.shape[3] :]
        hidden = hidden if decoder.project_in is None else decoder.project_in(hidden)
        hidden = hidden + F.embedding(new + decoder.embed_positions.offset, decoder.embed_positions.weight)
        hidden, grown = hidden[0], []
        for block, (known_keys, known_values) in zip(self._language, keys_values.unbind(), strict=True):

            def attend_to_all(projected: Tensor, known: tuple[Tensor, Tensor] = (known_keys, known_values)) -> Tensor:
                queries, *new_ones = projected.unbind()
                keys, values = (torch.cat([a[None], b], dim=2) for a, b in zip(known, new_ones, strict=True))
                grown.append(torch.cat([keys, values]))
                return see(queries, keys, values, unseen)

            hidden = block.run(hidden, 1, attend_to_all)
        hidden = hidden[None]
        if decoder.final_layer_norm is not None:
            hidden = decoder.final_layer_norm(hidden)
        return hidden if decoder.project_out is None else decoder.project_out(hidden), torch.stack(grown)


def attend(projected: Tensor) -> Tensor:
    """Attention of queries to all keys and values, stacked."""
    queries, keys, values = projected.unbind()
    return see(queries, keys, values)


def see(queries: Tensor, keys: Tensor, values: Tensor, unseen: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention in operations that every runtime has."""
    scores = queries @ keys.transpose(2, 3) / queries.shape[3] ** 0.5
    if unseen is not None:
        scores = scores.masked_fill(unseen, -torch.inf)
    return scores.softmax(-1) @ values
