"""Domain: tasks that share a space of actions, a shape of frames and a window; what a checkpoint remembers of them.

An agent of many tasks has several domains and one vocabulary: action tokens of equal names are one token. Which domain
an environment belongs to is settled by its action space, names included. This module knows no model and no environment.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agentgym.spaces import SpaceCodec


@dataclass(frozen=True)
class Domain:
    """`window` is the most steps that the agent sees of an episode; `frame_shape` the height and width of frames."""

    space: SpaceCodec
    frame_shape: tuple[int, int]
    window: int
    tasks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "space": self.space.to_json()["root"],
            "frame_shape": list(self.frame_shape),
            "window": self.window,
            "tasks": list(self.tasks),
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Domain":
        """From plain values; its tokens are those of its own space. Raises ValueError, KeyError or TypeError."""
        height, width = values["frame_shape"]
        whole = all(type(each) is int and 0 < each < 2**31 for each in (height, width, values["window"]))
        if not whole or not all(isinstance(task, str) for task in values["tasks"]):
            raise ValueError("a domain has a frame shape, a window and tasks")
        return Domain(SpaceCodec.of_root(values["space"]), (height, width), values["window"], tuple(values["tasks"]))


def action_tokens(domains: Iterable[Domain]) -> tuple[str, ...]:
    """The tokens of all domains' spaces, each once, in the order in which they first come."""
    return tuple(dict.fromkeys(token for domain in domains for token in domain.space.tokens))
