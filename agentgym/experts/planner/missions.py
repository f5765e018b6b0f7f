"""What a level asks, as tasks in the true grid: read from the environment's own attributes, never from its text.

One function for each class of level, each small; `mission_of` chooses. What was done already is left out, so that a
mission can be read again in the middle of an episode.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minigrid import envs
from minigrid.minigrid_env import MiniGridEnv

from agentgym.experts.planner.search import beside, facing, standing
from agentgym.experts.planner.world import DONE, DROP, World

WEST = 2  # the direction of MiniGrid that looks to the left of the grid


@dataclass(frozen=True)
class Arrive:
    """Be in one of those poses; `then` one more action, where arriving is not enough."""

    poses: frozenset[int]
    then: int | None = None


@dataclass(frozen=True)
class PickUp:
    """Have such a thing in the hand."""

    kind: str
    color: str


@dataclass(frozen=True)
class Open:
    """Open the door in that cell."""

    cell: int


Task = Arrive | PickUp | Open


@dataclass(frozen=True)
class Mission:
    """Tasks in order; `hands` says whether things in the way may be moved, `avoid` where never to step.

    Where things move by themselves (`moving`), having no way now is a reason to wait. `look` are poses from which one
    sees what is to be remembered: who learns from the planner has to have seen it before it is acted on.
    """

    tasks: tuple[Task, ...]
    look: frozenset[int] = frozenset()
    hands: bool = True
    avoid: frozenset[int] = frozenset()
    moving: bool = False


def is_known(minigrid: MiniGridEnv) -> bool:
    """Whether there is a mission for that class of level."""
    return any(isinstance(minigrid, known) for known in _MISSIONS)


def mission_of(minigrid: MiniGridEnv, world: World) -> Mission:
    """What is still to be done in a level that is known."""
    return next(read for known, read in _MISSIONS.items() if isinstance(minigrid, known))(minigrid, world)


def _reach_the_goal(level: Any, world: World) -> Mission:
    poses = {pose for cell in world.where("goal") for pose in standing(cell)}
    return Mission((Arrive(frozenset(poses)),))


def _reach_the_goal_among_obstacles(level: Any, world: World) -> Mission:
    return Mission(_reach_the_goal(level, world).tasks, hands=False, moving=True)


def _go_to_the_match(level: Any, world: World) -> Mission:
    right, wrong = (cell_at(position, world) for position in (level.success_pos, level.failure_pos))
    corridor = len(world.cells) // world.width // 2
    look = {
        4 * cell_at((x, corridor), world) + WEST for x in (2, 3)
    }  # in the room with the thing to remember, towards it
    return Mission((Arrive(frozenset(standing(right))),), hands=False, avoid=frozenset({wrong}), look=frozenset(look))


def _pick_up_the_object(level: Any, world: World) -> Mission:
    return Mission((PickUp(level.obj.type, level.obj.color),))


def _fetch(level: Any, world: World) -> Mission:
    return Mission((PickUp(level.targetType, level.targetColor),), hands=False)


def _go_beside(level: Any, world: World) -> Mission:
    poses = beside(cell_at(level.target_pos, world), world.width)
    return Mission((Arrive(frozenset(poses), DONE),), hands=False, avoid=frozenset(world.where("door")))


def _unlock(level: Any, world: World) -> Mission:
    return Mission((Open(cell_at(level.door.cur_pos, world)),))


def _red_then_blue(level: Any, world: World) -> Mission:
    doors = [cell for color in ("red", "blue") for cell in world.where("door", color)]
    return Mission(tuple(Open(cell) for cell in doors if not world.cells[cell].can_be_entered))  # type: ignore[union-attr]


def _put_near(level: Any, world: World) -> Mission:
    target = cell_at(level.target_pos, world)
    around = (target + across + down for across in (-1, 0, 1) for down in (-world.width, 0, world.width))
    poses = {pose for cell in around if world.cells[cell] is None for pose in facing(cell, world.width)}
    drop = Arrive(frozenset(poses), DROP)
    if world.carrying:
        return Mission((drop,), hands=False)
    return Mission((PickUp(level.move_type, level.moveColor), drop), hands=False)


def cell_at(position: Any, world: World) -> int:
    """The number of the cell at a position (x, y)."""
    return int(position[0]) + int(position[1]) * world.width


_MISSIONS: dict[type[MiniGridEnv], Callable[[Any, World], Mission]] = {
    **dict.fromkeys((envs.EmptyEnv, envs.CrossingEnv, envs.DistShiftEnv, envs.LavaGapEnv), _reach_the_goal),
    **dict.fromkeys((envs.FourRoomsEnv, envs.DoorKeyEnv, envs.MultiRoomEnv, envs.LockedRoomEnv), _reach_the_goal),
    **dict.fromkeys((envs.UnlockPickupEnv, envs.BlockedUnlockPickupEnv, envs.KeyCorridorEnv), _pick_up_the_object),
    **dict.fromkeys((envs.ObstructedMazeEnv,), _pick_up_the_object),
    **dict.fromkeys((envs.GoToDoorEnv, envs.GoToObjectEnv), _go_beside),
    envs.DynamicObstaclesEnv: _reach_the_goal_among_obstacles,
    envs.FetchEnv: _fetch,
    envs.MemoryEnv: _go_to_the_match,
    envs.PutNearEnv: _put_near,
    envs.RedBlueDoorEnv: _red_then_blue,
    envs.UnlockEnv: _unlock,
}
