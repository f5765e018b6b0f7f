"""What large frames cost in blocks, compared with zstd's own level 11: `python tests/benchmarks/compression.py`.

Frames of random play at the screen's size, in turns within one run; the least of ROUNDS, bytes a frame and µs a frame.
"""

import time
from functools import partial

import numpy as np
import zstandard

from agentgym.data.store.blocks import FRAMES_PER_BLOCK, encode_blocks
from agentgym.environments import make

GAMES = ("Breakout", "Pong", "MsPacman", "Seaquest")
FRAMES, ROUNDS = 400, 3


def main() -> None:
    """Prints a line a game."""
    level = zstandard.ZstdCompressor(level=11)
    for game in GAMES:
        frames = play(game)
        blocks = [frames[first : first + FRAMES_PER_BLOCK].data for first in range(0, FRAMES, FRAMES_PER_BLOCK)]
        ways = {"as written": partial(encode_blocks, frames), "level 11": partial(compress, level, blocks)}
        found = {name: [timed(way) for _ in range(ROUNDS)] for name, way in ways.items()}
        said = (
            f"{name} {min(f[0] for f in taken):,.0f} bytes in {min(f[1] for f in taken):,.0f} µs"
            for name, taken in found.items()
        )
        print(f"{game}: {', '.join(said)}", flush=True)


def compress(codec: zstandard.ZstdCompressor, blocks: list[memoryview]) -> list[bytes]:
    """Each block by itself."""
    return [codec.compress(block) for block in blocks]


def timed(way) -> tuple[float, float]:
    """Bytes and CPU microseconds a frame."""
    start = time.process_time()
    blocks = way()
    return sum(map(len, blocks)) / FRAMES, (time.process_time() - start) / FRAMES * 1e6


def play(game: str) -> np.ndarray:
    """Screens of random episodes of at most 200 steps, one after another."""
    env, drawn, frames, seed = make(f"ALE/{game}-v5"), np.random.default_rng(0), [], 0
    while len(frames) < FRAMES:
        frames.append(env.reset(seed=seed)[0]["frame"])
        for _ in range(200):
            observation, _, terminated, truncated, _ = env.step(drawn.integers(env.action_space.n))
            frames.append(observation["frame"])
            if terminated or truncated:
                break
        seed += 1
    return np.stack(frames[:FRAMES])


if __name__ == "__main__":
    main()
