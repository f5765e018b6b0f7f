"""The convolutional stem in float32 and bfloat16 and CLIP's one projection, forward and backward, in turns.

`python tests/benchmarks/stem.py`. Writes tests/benchmarks/stem.md.
"""

import statistics
import time
from pathlib import Path

import torch

from agentgym.model.stem import ConvolutionalStem
from agentgym.training.allocator import keep_freed_memory
from agentgym.training.optimizer import has_bfloat16

TURNS, WIDTH, PATCH = 5, 64, 8
BATCHES = {"64 windows of 8 frames of 40x40": (512, 5), "32 of 14, 56x56": (448, 7), "32 of 4, 80x80": (128, 10)}


def milliseconds(embed, patches):
    """Of the processor, for one forward and backward."""
    started = time.process_time()
    embed(patches).sum().backward()
    return 1000 * (time.process_time() - started)


def main():
    torch.set_num_threads(1)
    keep_freed_memory()
    lines = [
        f"torch {torch.__version__}, one thread, bfloat16 in hardware: {'yes' if has_bfloat16() else 'no'}. "
        f"Milliseconds of the processor: the median of {TURNS} turns.",
        "",
        "| batch | projection | stem, float32 | stem, bfloat16 | float32 / bfloat16 |",
        "|---|---|---|---|---|",
    ]
    for name, (frames, side) in BATCHES.items():
        patches = torch.randn(frames, side**2, 3 * PATCH**2)
        wide, narrow = ConvolutionalStem(side, PATCH, WIDTH), ConvolutionalStem(side, PATCH, WIDTH)
        narrow.trains_in_bfloat16 = True
        ways = torch.nn.Linear(3 * PATCH**2, WIDTH, bias=False), wide, narrow
        turns = [[milliseconds(way, patches) for way in ways] for _ in range(TURNS + 1)][1:]
        medians = [statistics.median(times) for times in zip(*turns, strict=True)]
        lines.append(f"| {name} | {' | '.join(f'{each:.0f}' for each in medians)} | {medians[1] / medians[2]:.1f} |")
    text = "\n".join(lines) + "\n"
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
