"""The plain way to write the paper's model: transformers' modules put together as their documentation shows.

Every patch of a frame is a token, padded steps are computed like real ones, and a policy reads its whole window at
every step. What `tests/benchmarks/training.py` compares with.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, OPTModel
from transformers.models.clip.modeling_clip import CLIPEncoder

from agentgym.model.sequence import SlidingWindow
from agentgym.model.tokenizer import pad_left, tokenize
from agentgym.policies.observations import read_observation

CLIP_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
CLIP_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])
VISIBLE = 0.25  # of the patches that the masked autoencoder sees


class Plain(nn.Module):
    """CLIP's vision encoder, a linear layer, OPT, and a decoder of pixels, at the sizes of an AgentConfig."""

    def __init__(self, config):
        super().__init__()
        vision, language = config.vision_config, config.language_config
        self.text = config.num_text_tokens
        self.patch = vision.patch_size
        self.patches = (vision.image_size // vision.patch_size) ** 2
        self.vision = CLIPVisionModel(vision)
        self.projector = nn.Linear(vision.hidden_size, language.word_embed_proj_dim)
        self.language = OPTModel(language)
        width = config.decoder_width
        sizes = CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=config.decoder_layers,
            num_attention_heads=config.decoder_heads,
        )
        sizes._attn_implementation = "sdpa"
        self.to_decoder, self.decoder = nn.Linear(vision.hidden_size, width), CLIPEncoder(sizes)
        self.mask_token, self.places = nn.Parameter(torch.zeros(width)), nn.Embedding(self.patches, width)
        self.to_pixels = nn.Linear(width, 3 * self.patch**2)

    def action_logits(self, frames, instruction, instruction_mask, actions):
        """[batch, time, actions], and [batch, tokens, vocabulary] at the instruction."""
        rows, time = frames.shape[:2]
        visual = self.projector(self.vision(pixel_values=self.pixels(frames)).last_hidden_state[:, 1:])
        embed = self.language.get_input_embeddings()
        steps = torch.cat([visual.unflatten(0, (rows, time)), embed(actions + self.text)], dim=2)
        sequence = torch.cat([embed(instruction), steps.flatten(1, 2)], dim=1)
        mask = torch.ones(sequence.shape[:2], dtype=torch.long)
        mask[:, : instruction.shape[1]] = instruction_mask
        hidden = self.language(inputs_embeds=sequence, attention_mask=mask, use_cache=False).last_hidden_state
        logits = F.linear(hidden, embed.weight)
        at = instruction.shape[1] + torch.arange(time) * (self.patches + 1) + self.patches - 1
        return logits[:, at], logits[:, : instruction.shape[1] - 1]

    def pixels(self, frames):
        """CLIP's input, [batch * time, 3, side, side]."""
        return ((frames.flatten(0, 1) / 255 - CLIP_MEAN) / CLIP_STD).permute(0, 3, 1, 2)

    def forward(self, batch):
        """The three losses, weighted as in the shipped recipes."""
        instruction, mask = batch.instruction[batch.instruction_of], batch.instruction_mask[batch.instruction_of]
        logits, words = self.action_logits(batch.frames, instruction, mask, batch.actions)
        real = batch.step_mask & ~batch.context_mask
        action = F.cross_entropy(logits[real].float(), (batch.targets[..., 0] + self.text)[real])
        said = mask[:, :-1].bool()
        language = F.cross_entropy(words[said].float(), instruction[:, 1:][said])
        return action + language + 0.02 * self.reconstruction(self.pixels(batch.frames))

    def reconstruction(self, pixels):
        """The mean squared error of the masked patches."""
        side, size = int(self.patches**0.5), self.patch
        cut = pixels.unflatten(3, (side, size)).unflatten(2, (side, size)).permute(0, 2, 4, 1, 3, 5).flatten(3)
        cut = cut.flatten(1, 2)
        visible = torch.rand(cut.shape[:2]).argsort(1)[:, : round(VISIBLE * self.patches)]
        features = self.vision.embeddings(pixels)
        chosen = features[:, 1:].gather(1, visible[..., None].expand(-1, -1, features.shape[2]))
        inputs = self.vision.pre_layrnorm(torch.cat([features[:, :1], chosen], 1))
        seen = self.to_decoder(self.vision.encoder(inputs_embeds=inputs).last_hidden_state[:, 1:])
        tokens = self.mask_token.to(seen.dtype).expand(len(seen), self.patches, -1)
        tokens = tokens.scatter(1, visible[..., None].expand_as(seen), seen) + self.places.weight
        predicted = self.to_pixels(self.decoder(inputs_embeds=tokens).last_hidden_state)
        masked = torch.ones(cut.shape[:2], dtype=torch.bool).scatter(1, visible, False)
        return (predicted.float() - cut).square().mean(-1)[masked].mean()


class PlainPolicy:
    """Acts with the likeliest action; all frames of the window are encoded and read again at every step."""

    def __init__(self, model, tokenizer, domain, window):
        self._model, self._tokenizer, self._domain, self._window = model.eval(), tokenizer, domain, window

    @torch.inference_mode()
    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        latest, texts, _ = read_observation(observation, self._domain.frame_shape)
        histories = state or [([], []) for _ in latest]
        if episode_start is not None:
            histories = [([], []) if over else each for each, over in zip(histories, episode_start, strict=True)]
        chosen = np.zeros(len(latest), np.int64)
        following = []
        for row, (frames, actions) in enumerate(histories):
            if len(frames) == self._window:
                start = self._window - SlidingWindow(self._window).kept
                frames, actions = frames[start:], actions[start:]
            frames = [*frames, latest[row]]
            instruction, mask = pad_left([tokenize(self._tokenizer, texts[row])])
            executed = torch.tensor([*actions, 0]).view(1, -1, 1)
            logits, _ = self._model.action_logits(
                torch.from_numpy(np.stack(frames))[None],
                torch.from_numpy(instruction),
                torch.from_numpy(mask),
                executed,
            )
            chosen[row] = int(logits[0, -1, self._model.text :].argmax())
            following.append((frames, [*actions, chosen[row]]))
        return self._domain.space.decode_series(chosen[:, None]), following
