"""Memory that one update has freed is used by the next, instead of going back to the system in between.

glibc maps every large block afresh and unmaps it when it is freed, so that each update of a small model touches
thousands of new pages, which the kernel clears one by one: a tenth of the time of `tiny` on a CPU.
"""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
LARGEST = 2**30


def keep_freed_memory() -> bool:
    """Whether the C library was set to keep freed memory; only glibc can be."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(M_TRIM_THRESHOLD, 2 * LARGEST - 1))
