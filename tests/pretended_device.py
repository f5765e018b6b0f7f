"""A pretended accelerator, "gpu:0", to run the main job on where there is none: `install()` before torch is used.

Its tensors hold tensors of the CPU and compute by them, so that numbers are real; what it adds are CUDA's rules:
tensors of both devices do not mix (but for numbers without axes and indices), a tensor must be copied to the host
before NumPy sees it, a generator of the CPU does not draw on it, and, as on Apple's MPS, there is no float64.
"""

import torch
import torch.utils.backend_registration as registration
from accelerate import Accelerator, PartialState
from torch.utils._python_dispatch import TorchDispatchMode

NAME = "gpu"
COPIES = {"aten::copy_", "aten::_to_copy", "aten::_copy_from", "aten::copy"}
INDEXING = {"aten::index", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_", "aten::_unsafe_index"}
NUMBERS = {"aten::_local_scalar_dense", "aten::equal", "aten::is_same_size"}


def device():
    return torch.device(NAME, 0)


class DeviceTensor(torch.Tensor):
    """A tensor of the device, around one of the CPU."""

    @staticmethod
    def __new__(cls, held, requires_grad=False):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=device(),
            requires_grad=requires_grad,
        )

    def __init__(self, held, requires_grad=False):
        self.held = held

    def __repr__(self):
        return f"DeviceTensor({self.held})"

    def tolist(self):
        return self.held.detach().tolist()

    def data_ptr(self):
        return self.held.data_ptr()

    def untyped_storage(self):  # by which one tensor is told from another when a checkpoint is written
        return self.held.untyped_storage()

    def __reduce_ex__(self, protocol):
        return self.held.detach().__reduce_ex__(protocol)

    def numpy(self, *arguments, **keywords):
        raise TypeError("can't convert gpu:0 device type tensor to numpy. Use Tensor.cpu() first")

    def __array__(self, *arguments, **keywords):
        return self.numpy()

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), keywords=None):
        return _run(function, arguments, keywords or {})


class Mode(TorchDispatchMode):
    """Sees what is made on the device by name."""

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        if not types and not _is_device(keywords.get("device")):
            return function(*arguments, **keywords)
        return _run(function, arguments, keywords)


def _is_device(where):
    return where is not None and torch.device(where).type == NAME


def _mapped(function, value):
    """The value with what is in its lists, tuples and dictionaries replaced; several times quicker than PyTorch's."""
    if isinstance(value, list | tuple):
        return type(value)([_mapped(function, each) for each in value])
    if isinstance(value, dict):
        return {key: _mapped(function, each) for key, each in value.items()}
    return function(value)


def _tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _to_host(value):
    if isinstance(value, DeviceTensor):
        return value.held
    return torch.device("cpu") if isinstance(value, torch.device) and value.type == NAME else value


def _check(name, arguments, keywords):
    """Raises what CUDA would raise; says whether a tensor of the device is among the arguments."""
    tensors = list(_tensors((arguments, tuple(keywords.values()))))
    ours = [each for each in tensors if isinstance(each, DeviceTensor)]
    others = [each for each in tensors if not isinstance(each, DeviceTensor) and each.dim() > 0]
    if ours and others and name not in COPIES:
        values = arguments[2] if len(arguments) > 2 else None
        foreign = isinstance(values, torch.Tensor) and not isinstance(values, DeviceTensor) and values.dim() > 0
        if name not in INDEXING or not isinstance(arguments[0], DeviceTensor) or foreign:
            raise RuntimeError(f"Expected all tensors to be on the same device, but found {NAME}:0 and cpu [{name}]")
    generator = keywords.get("generator")
    if ours and generator is not None and generator.device.type == "cpu":
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu' [{name}]")
    return ours


def _run(function, arguments, keywords):
    name = function._schema.name
    ours = _check(name, arguments, keywords)
    where = keywords.get("device")
    here = _is_device(where) if where is not None else bool(ours)
    held, told = _mapped(_to_host, arguments), _mapped(_to_host, keywords)
    with torch._C._DisableTorchDispatch():
        result = function(*held, **told)
    if name == "aten::copy_" or (
        name.endswith("_") and not name.endswith("__") and isinstance(arguments[0], DeviceTensor)
    ):
        return arguments[0]
    if name in NUMBERS or not here:
        return result
    known = {id(each.held): each for each in ours}

    def wrapped(value):
        if not isinstance(value, torch.Tensor):
            return value
        if value.dtype == torch.float64:
            raise TypeError("the device has no float64")
        return known[id(value)] if function._schema.is_mutable and id(value) in known else DeviceTensor(value)

    return _mapped(wrapped, result)


def _placed(make):
    def made(*arguments, device=None, **keywords):
        tensor = arguments[0] if isinstance(arguments[0], DeviceTensor) else make(*arguments, **keywords)
        return tensor if device is None else tensor.to(device)

    return made


def install():
    """The device is there from now on, in this process."""
    registration._setup_privateuseone_for_python_backend(NAME)
    torch.tensor, torch.as_tensor = _placed(torch.tensor), _placed(torch.as_tensor)
    torch.accelerator.current_accelerator = lambda check_available=False: device()
    Accelerator.device = PartialState.default_device = property(lambda self: device())
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch.inference_mode = lambda mode=True: torch.no_grad()  # such tensors know no inference mode
    Mode().__enter__()
