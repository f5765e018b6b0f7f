"""Experts for Atari games, which read the emulator: players of single games (`ram`), a planner for any (`planner`)."""

from agentgym.experts.atari.planner import RolloutIW
from agentgym.experts.atari.ram import AtariRam

__all__ = ["AtariRam", "RolloutIW"]
