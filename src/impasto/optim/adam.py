"""Adam and multigrid Adam, written without ``torch.optim``, whose import takes 1.5 seconds because it loads a compiler."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_EPSILON = 1e-8
_GRIDS, _SHARE = (4, 16), 0.5
State = dict[str, Any]


class Adam:
    """Adam with the interface and state of ``torch.optim.Adam``; its steps are equal up to rounding.

    Args:
        planes: the tensors to optimize, in place.
        lr: the learning rate.
        betas: decay factors of the running means of the gradient and of its square.

    Source:
        Kingma and Ba, Adam: A Method for Stochastic Optimization, arXiv:1412.6980, algorithm 1.
    """

    def __init__(self, planes: Sequence[Tensor], lr: float, betas: tuple[float, float]) -> None:
        self.planes, self.betas = list(planes), betas
        self.param_groups: list[dict[str, Any]] = [{"lr": lr}]
        self.state: dict[Tensor, dict[str, Any]] = {}

    def zero_grad(self) -> None:
        """Reset the gradients."""
        for plane in self.planes:
            plane.grad = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        """Evaluate the closure (which computes the loss and its gradients), update each plane once, and return the loss."""
        loss = closure()
        for plane in self.planes:
            if plane.grad is not None:
                self._update(plane, plane.grad)
        return loss

    def _update(self, plane: Tensor, gradient: Tensor) -> None:
        state = self.state.setdefault(plane, fresh(plane))
        deviation = running(state, gradient, self.betas)
        plane.addcdiv_(state["exp_avg"], deviation, value=self._factor(state["step"]))

    def _factor(self, step: int) -> float:
        """Return the factor of a step: the negative learning rate, with the bias correction of the mean gradient."""
        factor: float = -self.param_groups[0]["lr"] / (1 - self.betas[0] ** step)
        return factor


class MultigridAdam(Adam):
    """Adam with Nesterov momentum on a picture represented as the sum of three grids: pixels, 4 × 4 and 16 × 16 blocks.

    In plain Adam, the step of a pixel depends only on its own gradient, so a broad area whose gradients differ from pixel to
    pixel does not change as a whole. On a coarse grid, these differences average out and the whole area changes. The coarse
    grids use half the learning rate.

    Source:
        Bramble, Pasciak and Xu 1990 for the preconditioner: the coefficients of nested grids are optimized instead of pixels.
        A Laplacian pyramid, as in Kolkin et al. 2019, is one form of this preconditioner. Dozat 2016, Incorporating Nesterov
        Momentum into Adam, for the momentum.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        """Evaluate the closure (which computes the loss and its gradients), update each plane once, and return the loss."""
        loss = closure()
        for plane in self.planes:
            if plane.grad is None:
                continue
            state = self.state.setdefault(plane, fresh(plane))
            grids: dict[int, State] = state.setdefault("grids", {})
            move = self._towards(state, plane.grad)
            for side in _GRIDS:
                gradient = F.avg_pool2d(plane.grad, side, ceil_mode=True)
                coarse = self._towards(grids.setdefault(side, fresh(gradient)), gradient)
                move += _SHARE * F.interpolate(coarse, size=plane.shape[-2:], mode="bilinear", align_corners=False)
            plane.sub_(move, alpha=self.param_groups[0]["lr"])
        return loss

    def _towards(self, state: State, gradient: Tensor) -> Tensor:
        decay = self.betas[0]
        deviation = running(state, gradient, self.betas)
        ahead = state["exp_avg"] * (decay / (1 - decay ** (state["step"] + 1)))
        found: Tensor = ahead.add_(gradient, alpha=(1 - decay) / (1 - decay ** state["step"])).div_(deviation)
        return found


def fresh(values: Tensor) -> State:
    """Return the initial state of Adam."""
    return {"step": 0, "exp_avg": torch.zeros_like(values), "exp_avg_sq": torch.zeros_like(values)}


def running(state: State, gradient: Tensor, betas: tuple[float, float]) -> Tensor:
    """Update the running means with a gradient; return the bias-corrected root of the mean square."""
    state["step"] += 1
    state["exp_avg"].lerp_(gradient, 1 - betas[0])
    square: Tensor = state["exp_avg_sq"].mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    return square.sqrt().div_((1 - betas[1] ** state["step"]) ** 0.5).add_(_EPSILON)
