"""Observations as recorded episodes had them."""

import numpy as np

from agentgym.environments import encode_instruction


def observation_of(samples, step):
    return {
        "frame": np.stack([sample.frames[step] for sample in samples]),
        "instruction": np.stack([encode_instruction(sample.instruction) for sample in samples]),
    }


def longest(demonstrations, count):
    return [demonstrations[int(i)] for i in np.argsort(-demonstrations.lengths)[:count]]
