"""make(task) -> a Gymnasium environment that shows {"frame", "instruction"} and sets info["is_success"].

One adapter for each family of environments; here MiniGrid and BabyAI. Every episode is a function of one seed, given to
`reset` or drawn there, and named in `info["seed"]`, so that a recording can be replayed. This module knows no model, no
policy and no file.
"""

import contextlib
import io
import warnings
from functools import cache
from importlib.metadata import version
from typing import Any

import gymnasium
import minigrid  # noqa: F401  (registers its environments with Gymnasium)
import numpy as np
from gymnasium.envs.registration import EnvSpec
from minigrid.core.constants import IDX_TO_OBJECT, OBJECT_TO_IDX
from minigrid.core.grid import Grid
from minigrid.core.world_object import WorldObj
from minigrid.minigrid_env import MiniGridEnv
from numpy.typing import NDArray

from agentgym.errors import UserError, did_you_mean
from agentgym.recipes import FrameRecipe, SuiteRecipe

INSTRUCTION_BYTES = 256  # the longest BabyAI missions stay below; longer ones are refused, never cut
MAX_SEED = 2**31 - 1

Observation = dict[str, NDArray[np.uint8]]


def make(task: str, *, frame: FrameRecipe | None = None) -> "MiniGridTask":
    """The environment of a task id, for example `BabyAI-GoToRedBall-v0`. Raises UserError for an unknown id."""
    known = task_ids()
    if task not in known:
        hint = did_you_mean(task, known) or "; any BabyAI-* or MiniGrid-* id of the installed minigrid is known"
        raise UserError(f"unknown environment id '{task}'{hint}")
    return MiniGridTask(task, frame or FrameRecipe())


def check_suite(suite: SuiteRecipe) -> None:
    """Raises UserError naming the suite, the key and the value of the first unknown environment id."""
    for index, task in enumerate(suite.tasks):
        if task.id not in task_ids():
            hint = did_you_mean(task.id, task_ids()) or "; any BabyAI-* or MiniGrid-* id is known"
            raise UserError(f"suite {suite.name}: key 'tasks.{index}.id': unknown environment id '{task.id}'{hint}")


@cache
def task_ids() -> tuple[str, ...]:
    """All ids that `make` takes, sorted."""
    known = (name for name in gymnasium.registry if name.startswith(("BabyAI-", "MiniGrid-")))
    return tuple(sorted(name for name in known if "-WFC-" not in name))  # minigrid's wheel lacks their patterns


def versions() -> dict[str, str]:
    """The versions of the packages that decide what an episode looks like."""
    return {name: version(name) for name in ("agentgym", "gymnasium", "minigrid", "numpy")}


def encode_instruction(text: str, length: int = INSTRUCTION_BYTES) -> NDArray[np.uint8]:
    """The text as zero-padded UTF-8, uint8[length]. Raises ValueError when it does not fit."""
    raw = text.encode("utf-8")
    if len(raw) > length:
        raise ValueError(f"an instruction has at most {length} bytes in UTF-8, this one {len(raw)}: {text!r}")
    padded = np.zeros(length, dtype=np.uint8)
    padded[: len(raw)] = np.frombuffer(raw, dtype=np.uint8)
    return padded


def decode_instruction(padded: NDArray[np.uint8]) -> str:
    """The text of a zero-padded UTF-8 array."""
    return bytes(padded).rstrip(b"\0").decode("utf-8")


class MiniGridTask(gymnasium.Env[Observation, np.int64]):
    """Any MiniGrid or BabyAI environment, seen as a frame and an instruction.

    `minigrid` is the environment within, for experts that plan on the true grid; `symbolic` its latest partial view.
    """

    observation_space: gymnasium.spaces.Dict  # type: ignore[assignment]  # Gymnasium types it Space[dict[str, Any]]
    action_space: gymnasium.spaces.Discrete

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, task: str, frame: FrameRecipe, render_mode: str = "rgb_array") -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a few ids are registered twice or marked as outdated upstream
            inner = gymnasium.make(task, render_mode="rgb_array", disable_env_checker=True).unwrapped
        assert isinstance(inner, MiniGridEnv)
        self.minigrid = inner
        self.task = task
        self.frame_recipe = frame
        self.render_mode = render_mode
        self.spec = EnvSpec(
            f"agentgym/{task}", "agentgym.environments:MiniGridTask", kwargs={"task": task, "frame": frame}
        )
        self.action_names = tuple(action.name for action in inner.actions)
        self.action_space = gymnasium.spaces.Discrete(len(self.action_names))
        cells = (inner.height, inner.width) if frame.view == "full" else (inner.agent_view_size,) * 2
        self.frame_shape = (cells[0] * frame.tile_size, cells[1] * frame.tile_size, 3)
        self.observation_space = gymnasium.spaces.Dict(
            {
                "frame": gymnasium.spaces.Box(0, 255, self.frame_shape, np.uint8),
                "instruction": gymnasium.spaces.Box(0, 255, (INSTRUCTION_BYTES,), np.uint8),
            }
        )
        self.symbolic: NDArray[np.uint8] = np.zeros((*cells, 3), np.uint8)
        self._instruction = encode_instruction("")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """The first observation of the episode of that seed; without one, of a seed drawn from the last one given."""
        super().reset(seed=seed)
        episode_seed = int(self.np_random.integers(MAX_SEED)) if seed is None else seed
        with contextlib.redirect_stdout(io.StringIO()):  # `_gen_grid` prints what it rejects
            inner, _ = self.minigrid.reset(seed=episode_seed)
        self._instruction = encode_instruction(inner["mission"])
        return self._observe(inner), {"seed": episode_seed}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One step; at the end `info["is_success"]` says whether the mission was done (terminated with a reward)."""
        inner, reward, terminated, truncated, _ = self.minigrid.step(int(action))
        info = {"is_success": bool(terminated and reward > 0)} if terminated or truncated else {}
        return self._observe(inner), float(reward), bool(terminated), bool(truncated), info

    def render(self) -> NDArray[np.uint8]:
        """The whole grid from above, uint8[height, width, 3], what the agent sees highlighted."""
        return np.asarray(self.minigrid.get_frame(highlight=True, tile_size=32), dtype=np.uint8)

    def close(self) -> None:
        """Closes the environment within."""
        self.minigrid.close()

    def _observe(self, inner: dict[str, Any]) -> Observation:
        self.symbolic = inner["image"]
        tile_size = self.frame_recipe.tile_size
        if self.frame_recipe.view == "full":
            frame = np.asarray(self.minigrid.get_frame(self.minigrid.highlight, tile_size), dtype=np.uint8)
        else:
            frame = draw_partial_view(self.symbolic, tile_size)
        return {"frame": frame, "instruction": self._instruction.copy()}


# A tile is a function of what stands in its cell, whether it is seen and whether the agent stands there; drawing the
# view from a table of tiles gives MiniGrid's own picture, without computing the view a second time.
_COLORS, _STATES = 8, 4


def draw_partial_view(symbolic: NDArray[np.uint8], tile_size: int) -> NDArray[np.uint8]:
    """MiniGrid's RGB partial view, uint8[height, width, 3], from its symbolic one, uint8[columns, rows, 3]."""
    columns, rows = symbolic.shape[:2]
    codes = (symbolic[..., 0].astype(np.intp) * _COLORS + symbolic[..., 1]) * _STATES + symbolic[..., 2]
    tiles, drawn = _tile_table(tile_size)
    codes[columns // 2, rows - 1] += len(tiles) // 2  # the agent looks up from the middle of the last row
    missing = codes[~drawn[codes]]
    for code in np.unique(missing):
        tiles[code] = _draw_tile(int(code), len(tiles) // 2, tile_size)
        drawn[code] = True
    picture: NDArray[np.uint8] = (
        tiles[codes.T].transpose(0, 2, 1, 3, 4).reshape(rows * tile_size, columns * tile_size, 3)
    )
    return picture


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
