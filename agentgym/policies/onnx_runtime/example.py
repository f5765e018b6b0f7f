"""Acts on the recorded episode in this folder, with only onnxruntime and numpy.

    python example.py [policy.onnx | policy-int8.onnx]

The last line says how many actions are those that PyTorch chose when the folder was made.
"""

import sys
from pathlib import Path

import numpy as np
from onnx_policy import OnnxPolicy

folder = Path(__file__).parent
policy = OnnxPolicy(folder / (sys.argv[1] if len(sys.argv) > 1 else "policy.onnx"), threads=1)
episode = np.load(folder / "example.npz")
instruction = str(episode["instruction"])
print(instruction)

history, same = None, 0
for frame, recorded in zip(episode["frames"], episode["actions"], strict=True):
    action, history = policy.act(frame, instruction, history)
    print(policy.action_names[action - policy.action_start])
    same += action == recorded
print(f"{same} of {len(episode['actions'])} actions are PyTorch's")
