"""What other formats keep of an episode."""

import numpy as np

SHARED = ("instruction", "terminated", "truncated", "success", "seed", "task")


def shares(one, other):
    arrays = all(np.array_equal(getattr(one, n), getattr(other, n)) for n in ("frames", "actions", "rewards"))
    return arrays and all(getattr(one, name) == getattr(other, name) for name in SHARED)
