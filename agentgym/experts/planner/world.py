"""World: MiniGrid's true grid as one frozen value, and what an action makes of it.

Cells are numbered row by row; a pose is 4 * cell + direction, so that a search needs only integers. Plans are made by
acting in such values, which is why a plan can be compared with what really happens, step by step.
"""

from dataclasses import dataclass, replace
from typing import Any

from minigrid.core.actions import Actions
from minigrid.minigrid_env import MiniGridEnv

LEFT, RIGHT, FORWARD = int(Actions.left), int(Actions.right), int(Actions.forward)
PICKUP, DROP, TOGGLE, DONE = int(Actions.pickup), int(Actions.drop), int(Actions.toggle), int(Actions.done)


@dataclass(frozen=True, slots=True)
class Thing:
    """What is in a cell or is carried. `state` is "open", "closed" or "locked", for doors only."""

    kind: str
    color: str
    state: str = ""
    contains: "Thing | None" = None

    @property
    def can_be_carried(self) -> bool:
        """Whether the agent can pick it up."""
        return self.kind in ("key", "ball", "box")

    @property
    def can_be_entered(self) -> bool:
        """Whether the agent can move onto it; into lava it can, once."""
        return self.kind in ("goal", "floor", "lava") or self.state == "open"

    def opens(self, door: "Thing") -> bool:
        """Whether this is the key to that door."""
        return self.kind == "key" and self.color == door.color


WALL = Thing("wall", "grey")


@dataclass(frozen=True, slots=True)
class World:
    """The grid, the agent in it and what it carries."""

    width: int
    cells: tuple[Thing | None, ...]
    pose: int
    carrying: Thing | None = None

    @staticmethod
    def of(minigrid: MiniGridEnv) -> "World":
        """The present state of an environment."""
        width = minigrid.grid.width
        cell = int(minigrid.agent_pos[0]) + int(minigrid.agent_pos[1]) * width
        cells = tuple(map(_thing, minigrid.grid.grid))
        return World(width, cells, 4 * cell + int(minigrid.agent_dir), _thing(minigrid.carrying))

    @property
    def front(self) -> int:
        """The cell before the agent."""
        return cell_before(self.pose, self.width)

    def where(self, kind: str, color: str | None = None) -> list[int]:
        """The cells with such a thing."""
        return [cell for cell, t in enumerate(self.cells) if t and t.kind == kind and color in (None, t.color)]

    def at(self, pose: int) -> "World":
        """The same world with the agent elsewhere."""
        return replace(self, pose=pose)

    def after(self, action: int) -> "World":
        """The world one action later, as far as the agent changes it."""
        front = self.front
        thing = self.cells[front]
        if action in (LEFT, RIGHT):
            return replace(self, pose=turned(self.pose, 1 if action == RIGHT else 3))
        if action == FORWARD and (thing is None or thing.can_be_entered):
            return replace(self, pose=4 * front + self.pose % 4)
        if action == PICKUP and thing and thing.can_be_carried and not self.carrying:
            return replace(self._with(front, None), carrying=thing)
        if action == DROP and thing is None and self.carrying:
            return replace(self._with(front, self.carrying), carrying=None)
        if action == TOGGLE and thing and thing.kind == "box":
            return self._with(front, thing.contains)
        if action == TOGGLE and thing and thing.kind == "door":
            return self._with(front, replace(thing, state=self._toggled(thing)))
        return self

    def _toggled(self, door: Thing) -> str:
        if door.state == "locked" and not (self.carrying and self.carrying.opens(door)):
            return "locked"
        return "closed" if door.state == "open" else "open"

    def _with(self, cell: int, thing: Thing | None) -> "World":
        return replace(self, cells=(*self.cells[:cell], thing, *self.cells[cell + 1 :]))


def cell_before(pose: int, width: int) -> int:
    """The cell before an agent in that pose; directions are right, down, left, up."""
    return pose // 4 + (1, width, -1, -width)[pose % 4]


def turned(pose: int, quarters: int) -> int:
    """The pose after that many quarter turns to the right."""
    return pose - pose % 4 + (pose + quarters) % 4


def _thing(found: Any) -> Thing | None:
    if found is None:
        return None
    if found.type == "wall":
        return WALL
    if found.type == "door":
        return Thing("door", found.color, "open" if found.is_open else "locked" if found.is_locked else "closed")
    return Thing(found.type, found.color, contains=_thing(found.contains))
