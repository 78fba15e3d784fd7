"""PyTorch as impasto expects it, whatever the caller has set: gradients, autocast, default type and device, float32 as float32.

The public functions run in :func:`known_state` and leave the caller's settings as they found them, also between two steps of a
generator. After a fork, PyTorch computes with one thread: the threads of its pool stay behind in the parent, and the child
would wait for them for ever.
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
    """Settings that PyTorch keeps once for the process: they hold while any thread is in the known state."""

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
                torch.set_default_dtype(torch.float32)  # noqa: TID251  (put back by leave)
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
            torch.set_default_dtype(self.dtype)  # noqa: TID251  (as it was)
        for backend, precision in self.precisions:
            backend.fp32_precision = precision
        self.count, self.dtype, self.precisions = 0, torch.float32, []


def _multiplying() -> list[Any]:
    """Return what decides how float32 is multiplied: TF32 has ten bits of each number, bfloat16 seven."""
    found: list[Any] = [torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv]  # type: ignore[attr-defined]
    if torch.backends.cuda.is_built():
        found += [torch.backends.cuda.matmul, torch.backends.cudnn.conv]  # type: ignore[attr-defined]
    return found


_here, _everywhere = _Here(), _Everywhere()


@contextmanager
def known_state() -> Iterator[None]:
    """Set what impasto expects of PyTorch, and put the caller's settings back.

    Gradients can be computed, inference mode and autocast are off, new tensors are float32 on the CPU, and products of float32
    are not rounded to TF32 or bfloat16. Default type and precision of products are settings of the whole process: other
    threads see them for as long.
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
    """Run a function in the :func:`known_state`; of a generator each step, and what it yields to has its own settings back."""
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
    """Return a picture as the library computes with it: float32, without gradients, and no tensor of inference mode.

    A tensor that is so already is returned itself.
    """
    image = image.detach() if image.requires_grad else image
    image = image.clone() if image.is_inference() else image
    return image if image.dtype == torch.float32 else image.float()


def _after_fork() -> None:
    _everywhere.is_child = True
    if _everywhere.is_used:  # else when it is: a child that only has impasto imported keeps its threads
        torch.set_num_threads(1)
    _everywhere.lock = threading.Lock()  # another thread may have held it
    _everywhere.count = int(_here.is_entered)
    if not _here.is_entered:
        _everywhere.restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
