"""plan(world, mission) -> the actions that do it, found by acting in the world as it would be.

To be somewhere, take the cheapest path; what is in the way is cleared first: a closed door is opened, a locked one
after its key was fetched (maybe out of a box, maybe from beyond another locked door), a thing is put where it is least
in the way.
"""

from collections.abc import Container

from agentgym.experts.planner.missions import Arrive, Mission, PickUp
from agentgym.experts.planner.search import NEVER, cheapest_way, facing, poses_by_cost
from agentgym.experts.planner.world import DROP, FORWARD, LEFT, PICKUP, RIGHT, TOGGLE, Thing, World, cell_before

OPENING, MOVING, FETCHING = 1, 10, 60  # about what a closed door, a thing and a locked door in the way cost, in actions
PLACES = 24  # to put something down, the nearest ones are compared
MAX_ACTIONS = 5000  # longer than any level lasts: a plan that runs in circles ends here


class NoPlanError(Exception):
    """The mission cannot be done, as far as the planner knows."""


def plan(world: World, mission: Mission) -> list[int]:
    """The actions that do all tasks of the mission. Raises NoPlanError."""
    planning = _Planning(world, mission)
    for task in mission.tasks:
        if isinstance(task, Arrive):
            planning.arrive(task.poses)
            if task.then is not None:
                planning.do(task.then)
        elif isinstance(task, PickUp):
            planning.pick_up(Thing(task.kind, task.color))
        else:
            planning.open(task.cell)
    return planning.actions


class _Planning:
    """The world as it will be after the actions so far, and the doors that must not be counted on meanwhile."""

    def __init__(self, world: World, mission: Mission) -> None:
        self.actions: list[int] = []
        self._world = world
        self._mission = mission
        self._awaiting_key: list[int] = []  # doors: to get a key, a way through its own door is none
        self._without_key: set[int] = set()

    def do(self, action: int) -> None:
        """Acts once."""
        if len(self.actions) == MAX_ACTIONS:
            raise NoPlanError(f"no end after {MAX_ACTIONS} actions")
        self._world = self._world.after(action)
        self.actions.append(action)

    def arrive(self, poses: Container[int]) -> None:
        """Is in one of the poses, whatever had to be cleared."""
        while self._world.pose not in poses:
            way = self._way(self._world, poses)
            if way is None:
                raise NoPlanError("there is no way")
            locked = self._first_in_the_way(way[1])
            if locked is not None and self._thing(locked).kind == "door":
                self._fetch_key(locked)
            else:
                self._follow(way[1], poses)

    def pick_up(self, wanted: Thing) -> None:
        """Has that thing in the hand, and nothing else was there."""
        while True:
            spots = [cell for cell, thing in enumerate(self._world.cells) if _is_or_holds(thing, wanted)]
            poses = {pose for cell in spots for pose in facing(cell, self._world.width)}
            self.arrive(poses)
            if not self._world.carrying:
                break
            self._put_aside(poses)
        if self._thing(self._world.front) != wanted:
            self.do(TOGGLE)
        self.do(PICKUP)

    def open(self, cell: int) -> None:
        """Opens the door in that cell."""
        if self._is_locked(cell):
            self._fetch_key(cell)
        self.arrive(facing(cell, self._world.width))
        self.do(TOGGLE)

    def _fetch_key(self, door: int) -> None:
        """Has the key to a door in the hand; when there is none, that door stays out of account."""
        before = self._world, len(self.actions)
        self._awaiting_key.append(door)
        try:
            self.pick_up(Thing("key", self._thing(door).color))
        except NoPlanError:
            self._world = before[0]
            del self.actions[before[1] :]
            self._without_key.add(door)
        self._awaiting_key.pop()

    def _follow(self, way: list[int], poses: Container[int]) -> None:
        """Goes as far as the way is free, and clears what ends it."""
        for pose in way:
            quarters = (pose - self._world.pose) % 4
            action = FORWARD if pose // 4 != self._world.pose // 4 else RIGHT if quarters == 1 else LEFT
            if action == FORWARD and not self._is_free(self._world.front):
                return self._clear(self._world.front, poses)
            self.do(action)
        return None

    def _clear(self, cell: int, poses: Container[int]) -> None:
        if self._thing(cell).kind == "door":
            self.do(TOGGLE)
        elif self._world.carrying:
            self._put_aside(poses)
        else:
            self.do(PICKUP)  # and carries it; it is put aside when the hand is needed

    def _put_aside(self, poses: Container[int]) -> None:
        """Puts down what is carried where going there, on to the poses and to the doors that wait costs least."""
        width = self._world.width
        prices = [price if price <= OPENING else NEVER for price in self._prices(self._world)]
        reachable = poses_by_cost(self._world.pose, prices, width, {})
        empty = [(cost, pose) for cost, pose in reachable if self._world.cells[cell_before(pose, width)] is None]
        ends = [poses, *(facing(door, width) for door in reversed(self._awaiting_key))]
        totals = [(cost + self._cost(self._world.at(pose).after(DROP), ends), pose) for cost, pose in empty[:PLACES]]
        least, best = min(totals, key=lambda total: total[0], default=(NEVER, 0))
        if least >= NEVER:
            raise NoPlanError("there is no place to put things down")
        while way := cheapest_way(self._world.pose, {best}, prices, width):
            if not way[1]:
                break
            self._follow(way[1], {best})
        self.do(DROP)

    def _cost(self, world: World, ends: list[Container[int]]) -> int:
        """What it costs to be in a pose of each of the ends, one after the other; at least NEVER where one cannot."""
        total = 0
        for poses in ends:
            cost, way = self._way(world, poses) or (NEVER, [])
            total += cost
            world = world.at(way[-1]) if way else world
        return total

    def _way(self, world: World, poses: Container[int]) -> tuple[int, list[int]] | None:
        return cheapest_way(world.pose, poses, self._prices(world), world.width)

    def _prices(self, world: World) -> list[int]:
        prices = [0 if thing is None else self._price(cell, thing, world) for cell, thing in enumerate(world.cells)]
        for cell in self._mission.avoid:
            prices[cell] = NEVER
        return prices

    def _price(self, cell: int, thing: Thing, world: World) -> int:
        if thing.can_be_carried:
            return MOVING if self._mission.hands else NEVER
        if thing.kind != "door":
            return 0 if thing.can_be_entered and thing.kind != "lava" else NEVER
        if thing.state != "locked":
            return 0 if thing.state == "open" else OPENING
        if world.carrying and world.carrying.opens(thing):
            return OPENING
        return NEVER if cell in {*self._awaiting_key, *self._without_key} else FETCHING

    def _first_in_the_way(self, way: list[int]) -> int | None:
        """The first cell on the way that takes more than a toggle to enter."""
        prices = self._prices(self._world)
        return next((pose // 4 for pose in way if prices[pose // 4] > OPENING), None)

    def _is_locked(self, cell: int) -> bool:
        door, carried = self._thing(cell), self._world.carrying
        return door.state == "locked" and not (carried and carried.opens(door))

    def _is_free(self, cell: int) -> bool:
        thing = self._world.cells[cell]
        return thing is None or thing.can_be_entered

    def _thing(self, cell: int) -> Thing:
        thing = self._world.cells[cell]
        assert thing is not None
        return thing


def _is_or_holds(thing: Thing | None, wanted: Thing) -> bool:
    return thing is not None and (thing == wanted or thing.contains == wanted)
