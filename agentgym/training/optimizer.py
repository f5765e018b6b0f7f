"""The optimizers: Muon and AdamW, precision, the learning rate over a run, weight decay and frozen parts.

Muon (Jordan et al. 2024) moves a weight matrix by its momentum with all singular values made about one, found by five
Newton-Schulz steps. Scaled by 0.2 sqrt(longer side) its update is as large as one of AdamW (Liu et al. 2025, arXiv
2502.16982), so both take the same learning rate. AdamW moves what is not a weight matrix of a layer: embeddings,
positions, norms, biases and the heads.
"""

import math
from collections import defaultdict
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from agentgym.recipes import PartRates, TrainingRecipe

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan's: steep at 0, so that five steps are enough
NEWTON_SCHULZ_STEPS = 5
SMALLEST_SIDE = 32  # of a matrix that Muon moves
STACKED = {"queries_keys_values": 3, "keys_values": 2}  # layers that are several matrices in one product
NO_MATRICES = ("patch_embedding", "to_pixels")  # linear layers that embed what comes in, or are heads
WIDE = 512  # from this width on a CPU is quicker in bfloat16
PARTS = {"vision_encoder": "vision", "projector": "projector", "language_model": "language", "mae_decoder": "decoder"}
"""The model's parts, and what a recipe calls them."""


class Muon(Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay; matrices of one shape are made orthogonal together.

    It computes what `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")` computes, which takes the matrices one by one.
    """

    def __init__(self, groups: list[dict[str, Any]], *, momentum: float = 0.95, bfloat16: bool = False) -> None:
        """Each group has `params`, `weight_decay` and, before a step, `lr`; `pieces` where rows stack matrices."""
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0, "momentum": momentum, "pieces": 1})
        self._dtype = torch.bfloat16 if bfloat16 else torch.float32

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Moves every matrix that has a gradient."""
        by_shape: dict[torch.Size, list[tuple[Tensor, Tensor, float]]] = defaultdict(list)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                direction = self._direction(parameter, group).flatten(1)
                for weight, each in zip(
                    parameter.flatten(1).chunk(group["pieces"]), direction.chunk(group["pieces"]), strict=True
                ):
                    by_shape[_wide(weight).shape].append((_wide(weight), _wide(each), group["lr"]))
        for (_, longer), matrices in by_shape.items():
            directions = torch.stack([direction.to(self._dtype) for _, direction, _ in matrices])
            for direction, (weight, _, rate) in zip(orthogonalize(directions), matrices, strict=True):
                weight.add_(direction, alpha=-rate * 0.2 * math.sqrt(longer))

    def _direction(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        """The gradient with Nesterov's momentum."""
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        mean = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        return gradient.lerp(mean, group["momentum"])


def _wide(matrix: Tensor) -> Tensor:
    """The matrix, or its transpose, with at least as many columns as rows."""
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT


def orthogonalize(matrices: Float[Tensor, "matrices rows columns"]) -> Float[Tensor, "matrices rows columns"]:
    """The same singular vectors, but singular values between 0.7 and 1.2; those that were almost 0 stay below.

    In float32 the polynomial of wide matrices (rows < columns) is that of their small Gram matrix, which costs a third
    to a half; bfloat16 is too coarse for its powers.
    """
    result = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    if matrices.dtype == torch.float32 and matrices.shape[1] < matrices.shape[2]:
        return _polynomial(result @ result.mT) @ result
    for _ in range(NEWTON_SCHULZ_STEPS):
        result = _quintic(result @ result.mT) @ result
    return result


def _polynomial(gram: Tensor) -> Tensor:
    """What all Newton-Schulz steps multiply matrices of that Gram matrix with."""
    product = _quintic(gram)
    factor = product
    for _ in range(NEWTON_SCHULZ_STEPS - 1):
        gram = factor @ gram @ factor
        factor = _quintic(gram)
        product = factor @ product
    return product


def _quintic(gram: Tensor) -> Tensor:
    """What one Newton-Schulz step multiplies with: a I + b G + c G G."""
    a, b, c = NEWTON_SCHULZ
    result = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    result.diagonal(dim1=1, dim2=2).add_(a)
    return result


def optimizers_of(model: nn.Module, recipe: TrainingRecipe, *, bfloat16: bool) -> list[Optimizer]:
    """The optimizers, in one order for one recipe: Muon where it is asked for, and AdamW for the rest.

    Muon's products are in bfloat16 where those of the model are. Parts whose rate is 0 are frozen here; a group's
    `rate` multiplies the learning rate.
    """
    pieces = matrices_in(model) if recipe.optimizer == "muon" else {}
    groups = parameter_groups(model, recipe.weight_decay, recipe.part_rates)
    split: dict[int, list[dict[str, Any]]] = {
        count: [
            {**group, "params": chosen}
            for group in groups
            if (chosen := [p for p in group["params"] if pieces.get(p, 0) == count])
        ]
        for count in sorted({0, *pieces.values()})
    }
    by_adamw = split.pop(0)
    by_muon = [{**group, "pieces": count} for count, each in split.items() for group in each]
    made: list[Optimizer] = []
    if by_muon:
        made.append(Muon(by_muon, bfloat16=bfloat16))
    if by_adamw:
        made.append(torch.optim.AdamW(by_adamw, lr=0.0, betas=recipe.betas, fused=True))
    return made


def matrices_in(model: nn.Module) -> dict[Tensor, int]:
    """How many matrices are stacked in each weight [outputs, inputs] of a linear layer; no embeddings, no heads.

    A convolution's weight is one matrix: its outputs, by its inputs at all places of the kernel.
    """
    return {
        module.weight: STACKED.get(name.rpartition(".")[2], 1)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
        and name.rpartition(".")[2] not in NO_MATRICES
        and min(module.weight.flatten(1).shape) >= SMALLEST_SIDE
    }


def uses_bfloat16(precision: str, width: int) -> bool:
    """Whether matrix products of a model of that width run in bfloat16: "auto" takes it where it is quicker.

    That is where the hardware has it (else it is slow), and on a CPU only for wide models: in narrow ones converting
    costs more than the products (tests/benchmarks/training.md).
    """
    if precision != "auto":
        return precision == "bfloat16"
    return has_bfloat16() and (torch.cuda.is_available() or width >= WIDE)


def convolves_in_bfloat16(precision: str) -> bool:
    """Whether a convolutional stem trains in bfloat16: "auto" takes it where the hardware has it, however narrow.

    There it was twice as quick (tests/benchmarks/stem.md).
    """
    return has_bfloat16() if precision == "auto" else precision == "bfloat16"


def has_bfloat16() -> bool:
    """Whether the GPU, or the CPU where there is none, multiplies matrices of bfloat16."""
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
        rate = factors[PARTS[name.split(".")[0]]]
        if rate == 0:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            groups[rate, parameter.ndim >= 2 and id(parameter) not in embeddings].append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if decays else 0.0, "rate": rate}
        for (rate, decays), parameters in sorted(groups.items(), key=lambda item: item[0], reverse=True)
    ]
