"""Adam, which is all that painting needs of an optimizer: PyTorch's own loads a compiler for a second and a half first."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_EPSILON = 1e-8


class Adam:
    """Adam with the interface, the state and, to the last digits, the steps of ``torch.optim.Adam``.

    Args:
        planes: what is optimised, in place.
        lr: the step length.
        betas: decay of the running means of the gradient and of its square.

    Source:
        Kingma and Ba, Adam: A Method for Stochastic Optimization, arXiv:1412.6980, algorithm 1.
    """

    def __init__(self, planes: Sequence[Tensor], lr: float, betas: tuple[float, float]) -> None:
        self.planes, self.betas = list(planes), betas
        self.param_groups: list[dict[str, Any]] = [{"lr": lr}]
        self.state: dict[Tensor, dict[str, Any]] = {}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for plane in self.planes:
            plane.grad = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        """Call what computes the loss and its gradients, and move each plane once; return the loss."""
        loss = closure()
        (first_decay, second_decay), rate = self.betas, self.param_groups[0]["lr"]
        for plane in self.planes:
            if plane.grad is None:
                continue
            zeros = torch.zeros_like
            state = self.state.setdefault(plane, {"step": 0, "exp_avg": zeros(plane), "exp_avg_sq": zeros(plane)})
            state["step"] += 1
            mean = state["exp_avg"].lerp_(plane.grad, 1 - first_decay)
            square = state["exp_avg_sq"].mul_(second_decay).addcmul_(plane.grad, plane.grad, value=1 - second_decay)
            deviation = square.sqrt().div_((1 - second_decay ** state["step"]) ** 0.5).add_(_EPSILON)
            plane.addcdiv_(mean, deviation, value=-rate / (1 - first_decay ** state["step"]))
        return loss
