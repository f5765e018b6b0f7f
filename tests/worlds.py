"""For tests that are on their way to the main branch: the names of before."""

from counted import counted_episode as counted_sample
from counted import counted_header
from counting_env import CountingEnv
from refusals import refusal
from tiny import (
    TASK,
    ScriptedSampler,
    dataset_recipe,
    experiment_recipe,
    logits_of,
    model_of,
    record,
    sources_of,
    tokenizer_of,
)

__all__ = [
    "TASK",
    "CountingEnv",
    "ScriptedSampler",
    "counted_header",
    "counted_sample",
    "dataset_recipe",
    "experiment_recipe",
    "logits_of",
    "model_of",
    "record",
    "refusal",
    "sources_of",
    "tokenizer_of",
]
