"""An agent of a few numbers, and inputs for it."""

import torch
from transformers import CLIPVisionConfig, OPTConfig

from agentgym.model.agent import AgentConfig, AgentModel
from agentgym.spaces import SpaceCodec
from agentgym.spaces.domains import Domain

TEXT, ACTIONS = 20, 3


VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


LANGUAGE = {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


CLOSE = {"rtol": 1e-5, "atol": 1e-5}


SPACE = SpaceCodec.discrete(("left", "right", "forward"))


def config_of(**changes):
    values = {
        "vision_config": CLIPVisionConfig(**VISION, image_size=12, patch_size=4).to_dict(),
        "language_config": OPTConfig(
            **LANGUAGE,
            word_embed_proj_dim=32,
            max_position_embeddings=64,
            vocab_size=TEXT + ACTIONS,
            dropout=0.0,
        ).to_dict(),
        "patch_merge": 2,
        "decoder_width": 8,
        "num_text_tokens": TEXT,
        "action_tokens": list(SPACE.tokens),
        "domains": [Domain(SPACE, (12, 12), 3, ("Count-v0",)).to_json()],
        "window": 3,
    }
    return AgentConfig(**{**values, **changes})


def model_of(**changes):
    torch.manual_seed(0)
    return AgentModel(config_of(**changes)).eval()


def inputs_of(batch=2, steps=3, words=4, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(high, *shape):
        return torch.randint(0, high, shape, generator=generator)

    return {
        "instruction": torch.cat([torch.full((batch, 1), 2), 4 + draw(TEXT - 4, batch, words)], dim=1),
        "instruction_mask": torch.ones(batch, words + 1, dtype=torch.long),
        "frames": draw(256, batch, steps, 12, 12, 3).to(torch.uint8),
        "actions": draw(ACTIONS, batch, steps, 1),
        "step_mask": torch.ones(batch, steps, dtype=torch.bool),
    }


def run(model, inputs, **more):
    with torch.no_grad():
        return model(**inputs, **more)


def row(inputs, index):
    return {name: value[index : index + 1] for name, value in inputs.items()}
