"""Isolation from the caller's PyTorch settings: gradients, autocast, default dtype and device, float32 precision.

Public functions run in :func:`known_state` and restore the caller's settings when they return; generators also restore them
between two steps. After a fork, PyTorch is limited to one thread: its pool threads exist only in the parent, and the child
would wait for them forever.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")

_DEVICES = ("cpu", "cuda", "mps")


class _Here(threading.local):
    is_entered = False


class _Everywhere:
    """Process-wide PyTorch settings; they are applied while any thread is in the known state."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.is_used = self.is_child = False
        self.dtype = torch.float32
        self.precisions: list[tuple[Any, str]] = []

    def enter(self) -> None:
        with self.lock:
            self.count += 1
            if self.is_child and not self.is_used:
                torch.set_num_threads(1)
            self.is_used = True
            if torch.get_default_dtype() != torch.float32:
                self.dtype = torch.get_default_dtype()
                torch.set_default_dtype(torch.float32)  # noqa: TID251  (leave() restores it)
            for backend in _multiplying():
                if backend.fp32_precision not in ("ieee", "none"):
                    self.precisions.append((backend, backend.fp32_precision))
                    backend.fp32_precision = "ieee"

    def leave(self) -> None:
        with self.lock:
            self.count -= 1
            if self.count <= 0:
                self.restore()

    def restore(self) -> None:
        if self.dtype != torch.float32:
            torch.set_default_dtype(self.dtype)  # noqa: TID251  (restores the caller's)
        for backend, precision in self.precisions:
            backend.fp32_precision = precision
        self.count, self.dtype, self.precisions = 0, torch.float32, []


def _multiplying() -> list[Any]:
    """Return the backend settings for the precision of float32 products.

    With TF32, products keep only ten bits of the mantissa; with bfloat16, only seven.
    """
    found: list[Any] = [torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv]  # type: ignore[attr-defined]
    if torch.backends.cuda.is_built():
        found += [torch.backends.cuda.matmul, torch.backends.cudnn.conv]  # type: ignore[attr-defined]
    return found


_here, _everywhere = _Here(), _Everywhere()


@contextmanager
def known_state() -> Iterator[None]:
    """Apply the PyTorch settings that impasto needs, and restore the caller's on exit.

    Gradients are enabled, inference mode and autocast are off, new tensors are float32 on the CPU, and float32 products are not
    rounded to TF32 or bfloat16. The default dtype and the precision of products are process-wide: other threads see them while
    the context is active.
    """
    if _here.is_entered:
        yield
        return
    with ExitStack() as stack:
        _everywhere.enter()
        stack.callback(_everywhere.leave)
        _here.is_entered = True
        stack.callback(setattr, _here, "is_entered", False)
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            stack.enter_context(torch.enable_grad())
        for device in _DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


def in_known_state(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function in :func:`known_state`.

    A generator runs in the known state during each step. Between two steps, the consumer's own settings apply.
    """
    if isgeneratorfunction(function):
        return cast("Callable[P, T]", _stepwise(function))

    @wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> T:
        with known_state():
            return function(*args, **kwargs)

    return inside


def _stepwise(function: Callable[P, Iterator[Any]]) -> Callable[P, Iterator[Any]]:
    @wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
        steps = cast("Any", function(*args, **kwargs))
        try:
            while True:
                with known_state():
                    try:
                        step = next(steps)
                    except StopIteration:
                        return
                yield step
        finally:
            with known_state():
                steps.close()

    return inside


def plain(image: Tensor) -> Tensor:
    """Convert a picture to a float32 tensor that requires no gradient and is not an inference tensor.

    A tensor that already meets these conditions is returned unchanged.
    """
    image = image.detach() if image.requires_grad else image
    image = image.clone() if image.is_inference() else image
    return image if image.dtype == torch.float32 else image.float()


def _after_fork() -> None:
    _everywhere.is_child = True
    if _everywhere.is_used:  # if impasto was only imported, keep the threads until its first use in the child
        torch.set_num_threads(1)
    _everywhere.lock = threading.Lock()  # another thread may have held the old lock during the fork
    _everywhere.count = int(_here.is_entered)
    if not _here.is_entered:
        _everywhere.restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
