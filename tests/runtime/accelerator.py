"""A device that computes on the CPU but behaves as an accelerator: it has no float64, and lacks the operators that MPS lacks.

Its tensors report the device ``lazy``, for which PyTorch has rules but, in its usual builds, no kernels. Inside
:class:`Accelerator`, every operator on them runs on the CPU tensors that they hold, after the checks.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

DEVICE = torch.device("lazy")
LACKING = ("_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward", "_adaptive_avg_pool2d")
"""Operators that MPS has not for every size, or not in every release."""
_WIDE = (torch.float64, torch.complex128)
_MOVING = ("_to_copy", "copy_")
_INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put")
"""Operators that accept indices on the CPU."""


class Elsewhere(torch.Tensor):
    """A tensor on the accelerator."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "Elsewhere":
        found: Elsewhere = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        found.held = held
        return found

    def __init__(self, held: torch.Tensor) -> None: ...

    def __repr__(self) -> str:
        return f"Elsewhere({self.held!r})"

    __torch_function__ = torch._C._disabled_torch_function_impl  # results keep the type that they have

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        return ran(function, args, kwargs or {})


class Literals(TorchFunctionMode):
    """Copy numbers between Python and the accelerator with an operator; PyTorch does it below the operators."""

    def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        if function is torch.tensor and kwargs.get("device") == DEVICE:
            return torch.tensor(*args, **{**kwargs, "device": "cpu"}).to(DEVICE)
        if function is torch.Tensor.new_tensor and isinstance(args[0], Elsewhere):
            return torch.tensor(args[1], **{"dtype": args[0].dtype, **kwargs}).to(DEVICE)
        if function is torch.Tensor.__getitem__ and isinstance(args[0], Elsewhere):
            at = args[1] if isinstance(args[1], tuple) else (args[1],)
            return args[0].__getitem__(tuple(torch.tensor(each) if isinstance(each, list) else each for each in at))
        if function is torch.Tensor.tolist and isinstance(args[0], Elsewhere):
            return args[0].cpu().tolist()
        return function(*args, **kwargs)


class Accelerator(TorchDispatchMode):
    """Make ``lazy`` an accelerator, and fail where something happens that an accelerator cannot do.

    Attributes:
        count: number of operators that ran on the accelerator.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, torch.Tensor)]
        if kwargs.get("device") != DEVICE and not any(isinstance(each, Elsewhere) for each in tensors):
            return function(*args, **kwargs)
        self.count += 1
        return ran(function, args, kwargs)


def ran(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Check an operator, and run it on the CPU; its results are on the accelerator unless it moves them away."""
    name = function.overloadpacket.__name__
    tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, torch.Tensor)]
    _check_devices(name, tensors)
    _check_operator(name, function, tensors)
    device = kwargs.get("device")
    generator = kwargs.get("generator")
    assert generator is None or generator.device == DEVICE, f"{name}: a generator of {generator.device} on the accelerator"
    leaves = device is not None and torch.device(device) != DEVICE
    assert not leaves or name == "_to_copy" or not tensors, f"{name} makes a tensor on {device} out of one elsewhere"
    kwargs_of_cpu = {**kwargs, **({"device": torch.device("cpu")} if device is not None else {})}
    found = function(
        *tree_map_only(Elsewhere, lambda each: each.held, args),
        **tree_map_only(Elsewhere, lambda each: each.held, kwargs_of_cpu),
    )
    if leaves:
        return found
    if name == "copy_" and not isinstance(args[0], Elsewhere):
        return args[0]
    found = tree_map_only(torch.Tensor, Elsewhere, found)
    for each in tree_flatten(found)[0]:
        assert not isinstance(each, torch.Tensor) or each.dtype not in _WIDE, f"{name}: float64 on the accelerator"
    return return_and_correct_aliasing(function, args, kwargs, found)


def _check_devices(name: str, tensors: list[torch.Tensor]) -> None:
    """PyTorch refuses operands on two devices, except for numbers, indices and copies."""
    others = [each for each in tensors if not isinstance(each, Elsewhere) and each.ndim]
    if name in _INDEXING:
        others = [each for each in others if each.is_floating_point()]
    assert name in _MOVING or len(others) in (0, len(tensors)), f"{name}: operands on the accelerator and on the CPU"


def _check_operator(name: str, function: Any, tensors: list[torch.Tensor]) -> None:
    if name not in _MOVING:
        assert not any(each.dtype in _WIDE for each in tensors if isinstance(each, Elsewhere)), f"{name}: float64"
    assert name not in LACKING, f"{name} is not on every device"
    assert "linalg_" not in name or name == "linalg_vector_norm", f"{name} on the accelerator"
    lacking = operators_that_mps_lacks()
    assert function.name().removeprefix("aten::") not in lacking, f"{name} is not on MPS"


@lru_cache(maxsize=1)
def operators_that_mps_lacks() -> frozenset[str]:
    """Return the operators, with overloads, that PyTorch's own list has for the CPU or CUDA but not for MPS."""
    listed = Path(torch.__file__).parent.parent / "torchgen/packaged/ATen/native/native_functions.yaml"
    entries = re.split(r"^- func: ", listed.read_text("utf-8"), flags=re.MULTILINE)[1:]
    kernels = {entry.split("(")[0]: entry for entry in entries}

    def has_mps(entry: str) -> bool:
        dispatch = re.search(r"^  dispatch:\n((?:    .*\n)+)", entry, re.MULTILINE)
        delegate = re.search(r"^  structured_delegate: (\S+)", entry, re.MULTILINE)
        if delegate:
            return has_mps(kernels[delegate[1]])
        return not dispatch or "MPS" in dispatch[1] or "Composite" in dispatch[1]

    return frozenset(name for name, entry in kernels.items() if not has_mps(entry))
