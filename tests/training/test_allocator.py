"""Memory that is freed is kept for what comes next."""

import resource

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
