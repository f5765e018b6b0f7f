"""Where a model computes by default: the GPU where there is one."""

import torch


def default_device() -> torch.device:
    """CUDA or Apple's MPS where PyTorch finds one, else the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return torch.device("cpu") if found is None else found


def describe_device(device: torch.device) -> str:
    """How a result names the device that made it, such as "cuda (NVIDIA H200)"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type
