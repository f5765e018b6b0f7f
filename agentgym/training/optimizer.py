"""How the weights move: precision, the learning rate over a run, which parameters decay and which stand still."""

import math
from collections import defaultdict
from typing import Any

import torch

from agentgym.recipes import PartRates, TrainingRecipe


def uses_bfloat16(precision: str) -> bool:
    """Whether matrix products run in bfloat16: "auto" takes it where the hardware has it (else it is slow)."""
    if precision != "auto":
        return precision == "bfloat16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))


def learning_rate(update: int, recipe: TrainingRecipe) -> float:
    """Linear warm-up over `warmup_updates`, then a cosine down to `final_learning_rate` at the last update."""
    if update <= recipe.warmup_updates:
        return recipe.learning_rate * update / recipe.warmup_updates
    share = (update - recipe.warmup_updates) / max(1, recipe.updates - recipe.warmup_updates)
    low = recipe.final_learning_rate
    return low + (recipe.learning_rate - low) * 0.5 * (1 + math.cos(math.pi * share))


def parameter_groups(
    model: torch.nn.Module, weight_decay: float, rates: PartRates | None = None
) -> list[dict[str, Any]]:
    """Matrices decay; vectors and embedding tables do not; what is frozen is left out.

    Parts whose rate is 0 are frozen here; a group's `rate` multiplies the learning rate.
    """
    factors = (rates or PartRates()).model_dump()
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        rate = factors[name.split(".")[0]]
        if rate == 0:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            groups[rate, parameter.ndim >= 2 and id(parameter) not in embeddings].append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if decays else 0.0, "rate": rate}
        for (rate, decays), parameters in sorted(groups.items(), key=lambda item: item[0], reverse=True)
    ]
