"""A planner on MiniGrid's true grid: `world` what is there, `search` the ways, `missions` what a level asks, `planning`."""

from agentgym.experts.planner.expert import MiniGridPlanner

__all__ = ["MiniGridPlanner"]
