"""Memory that is freed is kept for what comes next."""

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from agentgym.training.allocator import keep_freed_memory


def faults_of(work):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_a_large_block_touches_new_pages_once():
    if not keep_freed_memory():
        pytest.skip("the C library is not glibc")

    def allocate():
        for _ in range(20):
            torch.ones(4_000_000)

    allocate()
    assert faults_of(allocate) < 4_000, "mapped afresh, each block would touch 3,900 pages"


HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
LARGE_PAGES = """
import torch
from agentgym.training.allocator import keep_freed_memory
keep_freed_memory()
block = torch.ones(50_000_000)
print(open("/proc/self/smaps").read())
"""


@pytest.mark.skipif(not HUGE.is_file() or "[never]" in HUGE.read_text(), reason="the kernel has no huge pages")
def test_memory_of_training_may_have_huge_pages():
    """As the kernel says of the heap; how many it has at the moment is its own matter."""
    if not keep_freed_memory():
        pytest.skip("the C library is not glibc")
    shown = subprocess.run([sys.executable, "-c", LARGE_PAGES], capture_output=True, text=True, check=True).stdout
    advised = [
        part for part in re.split(r"\n(?=[0-9a-f]+-)", shown) if re.search(r"^VmFlags:.*\bhg\b", part, re.MULTILINE)
    ]
    sizes = [int(re.search(r"^Rss: +(\d+) kB", part, re.MULTILINE)[1]) for part in advised]
    assert sum(sizes) > 190_000, "of 200 MB"
