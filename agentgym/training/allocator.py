"""Memory of training: what one update has freed is used by the next, in pages as large as the processor has.

glibc maps every large block afresh and unmaps it when it is freed, so that each update of a small model touches
thousands of new pages, which the kernel clears one by one: a tenth of the time of `tiny` on a CPU. And an update reads
and writes more small pages than the processor keeps the addresses of (its TLB): in pages of 2 MiB it took two thirds of
the time (`tests/benchmarks/huge_pages.md`).
"""

import ctypes
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
MADV_HUGEPAGE = 14  # <sys/mman.h>
LARGEST = 2**30
HUGE = 2**21  # bytes of a huge page


def keep_freed_memory() -> bool:
    """Whether the C library was set to keep freed memory; only glibc can be."""
    libc = _libc()
    if libc is None:
        return False
    kept = bool(libc.mallopt(M_MMAP_THRESHOLD, LARGEST)) and bool(libc.mallopt(M_TRIM_THRESHOLD, 2 * LARGEST - 1))
    if kept:
        _use_huge_pages(libc)
    return kept


def _libc() -> Any:
    """The C library if it is glibc, else None."""
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt, libc.sbrk, libc.madvise  # noqa: B018
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
    return libc


def _use_huge_pages(libc: Any) -> None:
    """Asks for huge pages in the next gigabyte of the heap, which is taken and freed, and stays untouched until used.

    Where the kernel has none, or the memory is not to be had, nothing changes.
    """
    libc.sbrk.restype = libc.malloc.restype = ctypes.c_void_p
    start = libc.sbrk(ctypes.c_ssize_t(0))
    block = libc.malloc(ctypes.c_size_t(LARGEST - HUGE))  # of the heap: just less than what would be mapped
    if block is None:
        return
    end = libc.sbrk(ctypes.c_ssize_t(0))
    libc.free(ctypes.c_void_p(block))
    start, end = -(-start // HUGE) * HUGE, end // HUGE * HUGE
    if end > start:
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_HUGEPAGE)
