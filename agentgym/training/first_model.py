"""The model that a training starts with: from scratch, of published parts, or a trained agent."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

from agentgym.data.store import Header
from agentgym.errors import UserError
from agentgym.model.adapting import with_domains
from agentgym.model.agent import AgentModel
from agentgym.model.loading import load_agent
from agentgym.model.presets import make_config
from agentgym.model.pretrained import read_parts
from agentgym.model.sizes import BYTES, check_room, count_numbers
from agentgym.model.tokenizer import load_tokenizer, most_tokens, tokenize, train_tokenizer
from agentgym.policies.agent_policy import find_checkpoint
from agentgym.recipes import INSTRUCTION_BYTES, ExperimentRecipe
from agentgym.training.datasets import MixtureComponent, domains_of, own_header, tokens_of
from agentgym.training.sources import WindowConfig


def first_model(
    recipe: ExperimentRecipe, parts: Sequence[MixtureComponent]
) -> tuple[AgentModel, PreTrainedTokenizerFast]:
    """The model that training starts with, and its tokenizer: from scratch, of published parts, or a trained agent.

    Raises UserError when what it starts from does not fit the parts.
    """
    init, first = recipe.model.init, own_header(parts, recipe)
    if init and init.agent:
        return _adapted(init.agent, parts, first, recipe.model.frame_side)
    completes, shape = recipe.model.complete_frames, first.frame_shape[:2]
    side = recipe.model.frame_side or (max(shape) if completes else min(shape))
    published = read_parts(*((init.vision, init.language) if init else (None, None)))
    tokens = tokens_of(parts, first)
    texts = [text for part in parts for text in (*part.dataset.column("instruction"), *part.prompts)]
    tokenizer = published.tokenizer(tokens) or train_tokenizer(texts, tokens)
    num_text_tokens = len(tokenizer) - len(tokens)
    config = make_config(
        recipe.model.preset,
        num_text_tokens=num_text_tokens,
        instruction_tokens=most_tokens(INSTRUCTION_BYTES),
        domains=domains_of(parts, first, num_text_tokens),
        frame_side=side,
        complete_frames=completes,
        patch_merge=recipe.model.patch_merge,
        convolutional_stem=recipe.model.convolutional_stem,
        temporal_attention=recipe.model.temporal_attention,
        instruction_attention=recipe.model.instruction_attention,
        parts=published.configs,
    )
    check_room(
        4 * BYTES * count_numbers(config.to_dict()),  # weights, gradients, and what the optimizer remembers
        f"a model of {count_numbers(config.to_dict()):,} numbers",
        "choose a smaller model.preset, training.window or model.frame_side",
    )
    model = AgentModel(config)
    published.copy_into(model)
    return model, tokenizer


def window_config_of(model: AgentModel, tokenizer: PreTrainedTokenizerFast) -> WindowConfig:
    """How parts become windows of that model."""
    return WindowConfig(
        tokenize=lambda text: tokenize(tokenizer, text),
        tokens=tuple(model.config.action_tokens or ()),
        num_text_tokens=model.config.num_text_tokens,
        patches_per_frame=model.vision_encoder.num_patches,
        frame_size=model.frame_size,
    )


def _adapted(
    agent: str, parts: Sequence[MixtureComponent], first: Header, side: int | None
) -> tuple[AgentModel, PreTrainedTokenizerFast]:
    """A trained agent, adapted to those parts; what it could play it still can.

    Its frames keep their side. Raises UserError for a recipe of another side, or of windows that it cannot read.
    """
    folder = find_checkpoint(agent)
    model = load_agent(folder)
    domains = domains_of(parts, first, model.config.num_text_tokens)
    window = max(domain.window for domain in domains)
    longest, clips = model.config.window, model.config.temporal_attention
    if (side or model.frame_side) != model.frame_side or window > longest or (clips and window < longest):
        raise UserError(
            f"{agent}: sees {longest} frames of {model.frame_side} pixels; "
            f"this recipe has {window} of {side or model.frame_side}"
        )
    return with_domains(model, load_tokenizer(folder), domains)
