"""A planner on MiniGrid's true grid: `world` is what is there, `search` finds ways, `missions` what a level asks."""

from agentgym.experts.planner.expert import MiniGridPlanner

__all__ = ["MiniGridPlanner"]
