"""The input of a policy, checked once: frames and instructions of one environment or several, and episode starts."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from agentgym.errors import UserError


def read_observation(
    observation: Mapping[str, NDArray[np.uint8]], shape: tuple[int, int]
) -> tuple[NDArray[np.uint8], tuple[str, ...], bool]:
    """Frames uint8[N, *shape, 3], N instructions as text, and whether the observation was a single one.

    Raises UserError when the observation lacks one of the two, or has another dtype or shape.
    """
    if not isinstance(observation, Mapping):
        raise UserError(
            f"the observation is a {type(observation).__name__}; expected {{'frame', 'instruction'}}: "
            "the first of what the environment's reset and step give"
        )
    missing = {"frame", "instruction"} - set(observation)
    if missing:
        raise UserError(
            f"the observation has no '{min(missing)}'; expected {{'frame', 'instruction'}}, as of agentgym.make"
        )
    frames, padded = np.asarray(observation["frame"]), np.asarray(observation["instruction"])
    single = frames.ndim == 3
    if single:
        frames, padded = frames[None], padded[None]
    if frames.ndim == 4 and frames.shape[1:] == (3, *shape):
        frames = frames.transpose(0, 2, 3, 1)
    if not len(frames):
        raise UserError("the observation is of no environment; expected one or more")
    if frames.dtype != np.uint8 or frames.shape[1:] != (*shape, 3):
        raise UserError(
            f"the frame is {frames.dtype}{list(frames.shape[1:])}; the agent was trained on uint8{[*shape, 3]}"
        )
    if padded.dtype != np.uint8 or padded.ndim != 2 or len(padded) != len(frames):
        raise UserError(
            f"the instruction is {padded.dtype}{list(padded.shape)}; "
            f"expected uint8[{len(frames)}, L], zero-padded UTF-8, one row for each frame"
        )
    try:
        texts = tuple(row.tobytes().rstrip(b"\0").decode("utf-8") for row in padded)
    except UnicodeDecodeError as error:
        raise UserError(f"the instruction is not UTF-8 ({error}); expected zero-padded UTF-8") from None
    return np.ascontiguousarray(frames), texts, single


def read_starts(episode_start: NDArray[np.bool_] | None, rows: int) -> NDArray[np.bool_]:
    """A copy of `episode_start`, bool[rows], which Stable-Baselines3 changes in place; all false for None.

    Raises UserError for another number of rows.
    """
    if episode_start is None:
        return np.zeros(rows, bool)
    starts = np.array(episode_start, dtype=bool).reshape(-1)
    if len(starts) != rows:
        raise UserError(f"episode_start is of {len(starts)} environments, the observation of {rows}")
    return starts
