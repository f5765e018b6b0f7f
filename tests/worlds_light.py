"""The smallest worlds that need no torch: episodes whose frames count, for processes that must start quickly."""

import numpy as np
import pytest

from agentgym import trust
from agentgym.data.episode import Episode
from agentgym.data.store import Header
from agentgym.errors import UserError
from agentgym.spaces import SpaceCodec


def counted_sample(seed: int = 0, steps: int = 5, **changes) -> Episode:
    """An episode whose frames show ten times the seed plus the step; actions and rewards count too."""
    frames = (10 * seed + np.arange(steps + 1)).astype(np.uint8)
    values = {
        "instruction": f"count to {steps}",
        "frames": np.tile(frames[:, None, None, None], (1, 8, 8, 3)),
        "actions": np.arange(steps) % 3,
        "rewards": np.arange(steps) / 7,
        "terminated": True,
        "truncated": False,
        "success": True,
        "seed": seed,
        "task": "Count-v0",
        "expert": "counter",
        "versions": {"count": "1"},
    }
    return Episode(**{**values, **changes})


def counted_header(**changes) -> Header:
    """The header of a dataset of counted samples."""
    values = {
        "space": SpaceCodec.discrete(("one", "two", "three")),
        "frame_shape": (8, 8, 3),
        "recipe": {"name": "count"},
    }
    return Header(**{**values, **changes})


def may_import(module: str) -> bool:
    """What a worker is asked; raises UserError when it may not."""
    trust.check_module(module, "a worker")
    return True


def refusal(function, *arguments, **keywords) -> str:
    """The one line with which a call is refused."""
    with pytest.raises(UserError) as caught:
        function(*arguments, **keywords)
    text = str(caught.value)
    assert "\n" not in text
    assert text
    return text
