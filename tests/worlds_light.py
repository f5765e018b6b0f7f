"""For tests that are on their way to the main branch: the names of before."""

from counted import counted_episode as counted_sample
from counted import counted_header
from refusals import refusal

__all__ = ["counted_header", "counted_sample", "refusal"]
