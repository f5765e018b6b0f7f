"""Search over poses: the cheapest way to one of several, where entering a cell may cost more than the step.

An obstacle is not a wall but a cost, so that the cheapest way also says what is worth clearing. Cells that
can be entered are never on the grid's edge (MiniGrid walls its grids in). This module knows no things and no missions.
"""

from collections.abc import Container, Iterator, Sequence
from heapq import heappop, heappush

from agentgym.experts.planner.world import cell_before, turned

NEVER = 1_000_000  # the price of a cell that nobody enters


def cheapest_way(
    start: int, targets: Container[int], prices: Sequence[int], width: int
) -> tuple[int, list[int]] | None:
    """The cost of the cheapest way to a target and the poses on it, the start left out; None when there is no way.

    A step or a turn costs 1; entering cell c costs prices[c] more.
    """
    parents: dict[int, int] = {}
    for cost, pose in poses_by_cost(start, prices, width, parents):
        if pose in targets:
            way = []
            while pose != start:
                way.append(pose)
                pose = parents[pose]
            return cost, way[::-1]
    return None


def poses_by_cost(start: int, prices: Sequence[int], width: int, parents: dict[int, int]) -> Iterator[tuple[int, int]]:
    """Every pose that can be reached, (cost, pose), the cheapest first; `parents` is filled with where each comes from.

    Poses that cost the same come in the order in which they were found, so that the answer is always the same.
    """
    costs = {start: 0}
    done: set[int] = set()
    queue = [(0, 0, start)]
    while queue:
        cost, _, pose = heappop(queue)
        if pose in done:
            continue
        done.add(pose)
        yield cost, pose
        front = cell_before(pose, width)
        for following, price in ((4 * front + pose % 4, prices[front]), (turned(pose, 3), 0), (turned(pose, 1), 0)):
            total = cost + 1 + price
            if price < NEVER and total < costs.get(following, NEVER):
                costs[following], parents[following] = total, pose
                heappush(queue, (total, len(parents) + len(done), following))


def facing(cell: int, width: int) -> set[int]:
    """The poses from which that cell is the one in front."""
    return {4 * (2 * cell - cell_before(4 * cell + direction, width)) + direction for direction in range(4)}


def standing(cell: int) -> set[int]:
    """The poses on that cell."""
    return {4 * cell + direction for direction in range(4)}


def beside(cell: int, width: int) -> set[int]:
    """The poses on the four cells around that cell."""
    return {pose for direction in range(4) for pose in standing(cell_before(4 * cell + direction, width))}
