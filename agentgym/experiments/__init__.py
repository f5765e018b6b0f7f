"""Experiments as functions of folders: a recipe comes in, a run folder comes out, and what is done is not done again.

    imitation                             training on recorded datasets, with a few rollouts now and then
    dagger                                rounds of recording with the last agent
    ppo                                   reinforcement learning from a trained agent
    transfer                              what a pretrained agent is worth on another task
    onnx_export                           a run as a folder that acts with only onnxruntime and numpy

It draws nothing and prints nothing: `report` has the pages, `cli` the output.
"""

from typing import TYPE_CHECKING

from agentgym import lazy

if TYPE_CHECKING:
    from agentgym.experiments.imitation import train

__all__ = ["train"]

__getattr__ = lazy.offer(
    __name__,
    {
        "train": "agentgym.experiments.imitation",
    },
)
