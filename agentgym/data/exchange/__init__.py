"""Datasets to and from other formats: Minari, LeRobot, and folders that the Hugging Face Hub takes.

What a format does not share with ours is returned as lines for people, never dropped silently.
"""

from agentgym.data.exchange.hub import dataset_card, export_hub
from agentgym.data.exchange.lerobot import import_lerobot
from agentgym.data.exchange.lerobot_export import export_lerobot
from agentgym.data.exchange.minari import import_minari
from agentgym.data.exchange.minari_export import export_minari

__all__ = ["dataset_card", "export_hub", "export_lerobot", "export_minari", "import_lerobot", "import_minari"]
