"""Adam, and Adam on several grids at once: PyTorch's own optimizers load a compiler for a second and a half first."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_EPSILON = 1e-8
_GRIDS, _SHARE = (4, 16), 0.5
State = dict[str, Any]


class Adam:
    """Adam with the interface, the state and, to the last digits, the steps of ``torch.optim.Adam``.

    Args:
        planes: what is optimized, in place.
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
        first_decay, rate = self.betas[0], self.param_groups[0]["lr"]
        for plane in self.planes:
            if plane.grad is None:
                continue
            state = self.state.setdefault(plane, fresh(plane))
            deviation = running(state, plane.grad, self.betas)
            plane.addcdiv_(state["exp_avg"], deviation, value=-rate / (1 - first_decay ** state["step"]))
        return loss


class MultigridAdam(Adam):
    """Adam, with Nesterov's momentum, on a picture that is the sum of three grids: its pixels, and squares of 4 and of 16.

    A pixel's step depends on its own gradient, so that a broad area whose pixels disagree in detail goes nowhere together; on a
    coarse grid, detail averages out and the area moves. Half the step length of a pixel is a square's.

    Source:
        Moving the coefficients of nested grids instead of pixels is the preconditioner of Bramble, Pasciak and Xu 1990; a
        Laplacian pyramid, as in Kolkin et al. 2019, is a form of it. Momentum: Dozat 2016, Incorporating Nesterov Momentum into
        Adam.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        """Call what computes the loss and its gradients, and move each plane once; return the loss."""
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
    """Return what Adam knows before its first step."""
    return {"step": 0, "exp_avg": torch.zeros_like(values), "exp_avg_sq": torch.zeros_like(values)}


def running(state: State, gradient: Tensor, betas: tuple[float, float]) -> Tensor:
    """Take a gradient into the running means; return the root of the mean square, its start corrected for."""
    state["step"] += 1
    state["exp_avg"].lerp_(gradient, 1 - betas[0])
    square: Tensor = state["exp_avg_sq"].mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    return square.sqrt().div_((1 - betas[1] ** state["step"]) ** 0.5).add_(_EPSILON)
