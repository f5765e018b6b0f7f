"""Typed recipes from TOML: suites of environments, datasets and experiments.

A recipe file is the one place where a thing is set. Loading resolves what it names (an experiment names a dataset, a
dataset names a suite) into one nested value, applies `key=value` overrides last, and checks everything at once. A wrong
recipe is a `UserError` that names the file, the key, the value and the remedy. This package knows no environment, no
model and no file format but TOML.
"""

from agentgym.recipes.base import Recipe, differences
from agentgym.recipes.datasets import BudgetRecipe, DaggerRecipe, DatasetRecipe, ExpertRecipe
from agentgym.recipes.experiments import (
    ColourJitter,
    EvaluationRecipe,
    ExperimentRecipe,
    InitRecipe,
    LossRecipe,
    ModelRecipe,
    PartRates,
    PartRecipe,
    TrainingRecipe,
    with_later_keys,
)
from agentgym.recipes.finetuning import CurveRecipe, FinetuningRecipe, PPORecipe
from agentgym.recipes.loading import (
    KINDS,
    Kind,
    check_resolved,
    describe,
    expert_file,
    load_dataset,
    load_experiment,
    load_expert,
    load_finetuning,
    load_rounds,
    load_suite,
    load_transfer,
    published_reference,
    read_resolved,
    shipped,
    shipped_expert,
    shipped_file,
)
from agentgym.recipes.problems import with_values
from agentgym.recipes.rounds import RoundsRecipe
from agentgym.recipes.suites import INSTRUCTION_BYTES, FrameRecipe, ReferenceRecipe, SuiteRecipe, TaskRecipe
from agentgym.recipes.transfer import TransferRecipe, TransferTask

__all__ = [
    "INSTRUCTION_BYTES",
    "KINDS",
    "BudgetRecipe",
    "ColourJitter",
    "CurveRecipe",
    "DaggerRecipe",
    "DatasetRecipe",
    "EvaluationRecipe",
    "ExperimentRecipe",
    "ExpertRecipe",
    "FinetuningRecipe",
    "FrameRecipe",
    "InitRecipe",
    "Kind",
    "LossRecipe",
    "ModelRecipe",
    "PPORecipe",
    "PartRates",
    "PartRecipe",
    "Recipe",
    "ReferenceRecipe",
    "RoundsRecipe",
    "SuiteRecipe",
    "TaskRecipe",
    "TrainingRecipe",
    "TransferRecipe",
    "TransferTask",
    "check_resolved",
    "describe",
    "differences",
    "expert_file",
    "load_dataset",
    "load_experiment",
    "load_expert",
    "load_finetuning",
    "load_rounds",
    "load_suite",
    "load_transfer",
    "published_reference",
    "read_resolved",
    "shipped",
    "shipped_expert",
    "shipped_file",
    "with_later_keys",
    "with_values",
]
