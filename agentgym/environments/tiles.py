"""MiniGrid's pictures, put together from tiles: the partial view and the whole grid.

A tile is a function of what is in its cell, whether it is seen and whether the agent is there; drawing the view
from a table gives MiniGrid's own picture, without computing the view a second time.
"""

from functools import cache

import numpy as np
from minigrid.core.constants import IDX_TO_OBJECT, OBJECT_TO_IDX
from minigrid.core.grid import Grid
from minigrid.core.world_object import WorldObj
from numpy.typing import NDArray

_COLORS, _STATES = 8, 4
_WEIGHTS = np.array([_COLORS * _STATES, _STATES, 1])  # of type, colour and state in a tile's code


def draw_partial_view(symbolic: NDArray[np.uint8], tile_size: int) -> NDArray[np.uint8]:
    """MiniGrid's RGB partial view, uint8[height, width, 3], from its symbolic one, uint8[columns, rows, 3]."""
    columns, rows = symbolic.shape[:2]
    codes = symbolic @ _WEIGHTS
    tiles, drawn = _tile_table(tile_size)
    codes[columns // 2, rows - 1] += len(tiles) // 2  # the agent looks up from the middle of the last row
    missing = codes[~drawn[codes]]
    for code in set(missing.tolist()):
        tiles[code] = _draw_tile(code, len(tiles) // 2, tile_size)
        drawn[code] = True
    return _paste(tiles.take(codes.T, axis=0))


def draw_whole_grid(
    grid: Grid, tile_size: int, *, agent: tuple[int, int], direction: int, lit: bytes
) -> NDArray[np.uint8]:
    """MiniGrid's RGB picture of the grid, uint8[height, width, 3]; the agent is at (column, row).

    `lit` says of each cell, row by row, whether it is highlighted. Tiles come from MiniGrid's own cache.
    """
    directions: list[int | None] = [None] * len(grid.grid)
    directions[agent[1] * grid.width + agent[0]] = direction
    tiles = [
        Grid.render_tile(cell, facing, bool(light), tile_size)
        for cell, facing, light in zip(grid.grid, directions, lit, strict=True)
    ]
    whole = np.concatenate(tiles, dtype=np.uint8, casting="unsafe")  # they are floats, which MiniGrid cuts off so too
    return _paste(whole.reshape(grid.height, grid.width, tile_size, tile_size, 3))


def _paste(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One picture of tiles uint8[rows, columns, tile_size, tile_size, 3]."""
    rows, columns, tile_size = tiles.shape[:3]
    return tiles.transpose(0, 2, 1, 3, 4).reshape(rows * tile_size, columns * tile_size, 3)


@cache
def _tile_table(tile_size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Tiles by code and which of them are drawn; the second half of the codes has the agent on the tile."""
    count = 2 * len(IDX_TO_OBJECT) * _COLORS * _STATES
    return np.zeros((count, tile_size, tile_size, 3), np.uint8), np.zeros(count, bool)


def _draw_tile(code: int, half: int, tile_size: int) -> NDArray[np.uint8]:
    agent_here, code = code >= half, code % half
    kind, color, state = code // (_COLORS * _STATES), code // _STATES % _COLORS, code % _STATES
    seen = kind != OBJECT_TO_IDX["unseen"]
    cell = WorldObj.decode(kind, color, state)
    return np.asarray(Grid.render_tile(cell, agent_dir=3 if agent_here else None, highlight=seen, tile_size=tile_size))
