"""An update with and without huge pages, in turns: `python tests/benchmarks/huge_pages.py`.

Each turn is a process of its own, since what the C library was once given stays. Writes tests/benchmarks/huge_pages.md.
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from update_cost import RECIPES, measure

from agentgym.training import allocator

TURNS = 3


def update_milliseconds(name, huge):
    """Milliseconds of the processor that an update takes in this process."""
    if not huge:
        allocator._use_huge_pages = lambda libc: None
    allocator.keep_freed_memory()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return sum(measure(name, Path(folder) / name).values())


def main():
    found = {(name, huge): [] for name in RECIPES for huge in (False, True)}
    for _ in range(TURNS):
        for (name, huge), times in found.items():
            command = [sys.executable, __file__, name, str(int(huge))]
            shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            times.append(float(shown.split()[-1]))
    lines = [
        f"torch {torch.__version__}, one thread. Milliseconds of the processor an update: the median of {TURNS} "
        "processes (all of them).",
        "",
        "| recipe | small pages | huge pages | ratio |",
        "|---|---|---|---|",
    ]
    for name in RECIPES:
        small, huge = ((statistics.median(found[name, each]), sorted(found[name, each])) for each in (False, True))
        cells = [f"{median:.0f} ({', '.join(f'{time:.0f}' for time in times)})" for median, times in (small, huge)]
        lines.append(f"| `{name}` | {' | '.join(cells)} | {small[0] / huge[0]:.2f} |")
    text = "\n".join(lines) + "\n"
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(update_milliseconds(sys.argv[1], sys.argv[2] == "1"))
    else:
        main()
