"""Observations as recorded episodes had them."""

import numpy as np

from agentgym.environments import encode_instruction


def observation_of(episodes, step):
    return {
        "frame": np.stack([episode.frames[step] for episode in episodes]),
        "instruction": np.stack([encode_instruction(episode.instruction) for episode in episodes]),
    }


def longest(demonstrations, count):
    return [demonstrations[int(i)] for i in np.argsort(-demonstrations.lengths)[:count]]
