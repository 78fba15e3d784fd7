"""The engine: descend an objective, and yield every step.

``for step in pyramid(...)`` is the whole interface. To cancel is to stop iterating; progress bars, previews, early stopping and
the studio's stream are consumers of steps.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.images import resize
from impasto.losses.features import PIXELS, Objective
from impasto.optim.adam import Adam, MultigridAdam
from impasto.optim.parametrization import to_image, to_planes
from impasto.options import Canvas, Decay, Optimizer
from impasto.tensors import Features, Image

Size = tuple[int, int]
Planes = list[Tensor]
Encode = Callable[[Image, frozenset[str]], Features]
"""What turns a picture into the features of some layers, in the arithmetic of the run."""

_PATIENCE = 10
_EXPLOSION = 100.0
_FIRST_MOVE = 0.01
"""Root mean square of the scaled gradient at the first step; L-BFGS moves the planes by so much at first."""
_LARGEST_SCALE = 2.0**20
"""Gradients below 1e-8 are rounding, which must not be enlarged to a direction."""
_LINE_SEARCH = 25
"""Evaluations that L-BFGS may use to find the length of one step."""
_FALL = 0.01
_ENOUGH_STEPS = 10
_NEAR_OPTIMUM = 0.1


@dataclass(frozen=True)
class OptimizerSettings:
    """How to descend: the optimizer and its numbers, out of the options of a recipe."""

    optimizer: Optimizer = "multigrid-adam"
    learning_rate: float = 0.02
    betas: tuple[float, float] = (0.9, 0.99)
    history: int = 20
    averaging: float = 0.9
    decay: Decay = "last"
    min_improvement: float = 0.0
    canvas: Canvas = "soft-chroma"


@dataclass(frozen=True)
class Step:
    """What one step of painting left.

    Attributes:
        number: of this step, counted from 1 over all sizes.
        total: steps planned over all sizes.
        scale: index of the size being painted, from 0.
        size: (height, width) being painted.
        losses: the weighted value of each term of the objective, by name.
        image: the picture as it would be if painting stopped here, (1, 3, height, width), sRGB in [0, 1].
        seconds: since painting began.
        seconds_left: as estimated from the speed so far.
        note: something the user should know happened in this step, else empty.
        failure: of the last step alone: why the result is no painting, in one sentence; empty where the objective fell.
    """

    number: int
    total: int
    scale: int
    size: Size
    losses: Mapping[str, float]
    image: Image
    seconds: float = 0.0
    seconds_left: float = math.inf
    note: str = ""
    failure: str = ""

    @property
    def loss(self) -> float:
        """The objective: the sum of the weighted losses."""
        return sum(self.losses.values())


@dataclass
class Momentum:
    """What the optimizer knows at the end of a size and passes on to the next.

    Attributes:
        states: its state for each plane.
        scale: what the gradients in that state were multiplied by, see :class:`Evaluation`.
    """

    states: list[dict[str, Any]] = field(default_factory=list)
    scale: float = 1.0


def pyramid(  # noqa: PLR0913  (what it takes is what it does, and two have a good default)
    objective_at: Callable[[Size], Objective],
    image: Image,
    sizes: Sequence[tuple[Size, int]],
    *,
    encode: Encode,
    optimizer_settings: OptimizerSettings,
    seconds: float = 0.0,
    enlarge: Callable[[Image, Size], Image] = resize,
) -> Iterator[Step]:
    """Paint coarse to fine: each size starts from the picture, and from the optimizer's momentum, of the one before.

    Args:
        objective_at: makes the objective for a size (height, width); called once for each size.
        image: where painting starts, (1, 3, height, width), on the device to paint on; resized to the first size.
        sizes: each (height, width) in turn with its number of steps.
        encode: turns pictures into features.
        optimizer_settings: the optimizer and its numbers.
        seconds: fewer steps are taken at every size, but one at the least, so that it takes about this long; 0: as many as
            asked for.
        enlarge: brings the picture of one size to the next.

    Yields:
        A :class:`Step` after each step. The last has a ``failure`` if the objective fell at no size; sizes that took fewer
        than ten steps, or were cut short by ``seconds``, are not judged.
    """
    plan = Plan(sizes, seconds)
    momentum = Momentum()
    failures: list[str] = []
    for scale, (size, _) in enumerate(sizes):
        falls = optimizer_settings.decay == "each" or scale == len(sizes) - 1
        here = optimizer_settings if falls else replace(optimizer_settings, decay="never")
        objective = objective_at(size)
        image = enlarge(image, size) if scale else resize(image, size)
        count = plan.steps_at(scale)
        for step in optimize(objective, image, count, encode=encode, optimizer_settings=here, momentum=momentum):
            image = step.image
            is_judged = step.failure or step.number == count
            if is_judged and step.number >= _ENOUGH_STEPS:
                failures.append(step.failure)
            is_last = is_judged and scale == len(sizes) - 1
            failure = failures[-1] if is_last and failures and all(failures) else ""
            yield replace(plan.placed(step, scale, count), failure=failure)
            if plan.is_over():
                break
        plan.close(scale)


class Plan:
    """Counts steps over all sizes, and tells the time: a step costs in proportion to its pixels."""

    def __init__(self, sizes: Sequence[tuple[Size, int]], seconds: float) -> None:
        self.sizes, self.seconds = sizes, seconds
        self.planned = [count for _, count in sizes]
        self.began = time.perf_counter()
        self.done = 0
        self.marked = self.began
        self.work_timed = 0.0
        self.seconds_timed = 0.0

    def work(self, scale: int) -> float:
        """Return the cost of a step at a size: its pixels, and a constant for what does not depend on them."""
        (height, width), _ = self.sizes[scale]
        return height * width + 4000.0

    def steps_at(self, scale: int) -> int:
        """Decide how many steps a size gets, in the time that is left."""
        left = sum(self.planned[later] * self.work(later) for later in range(scale, len(self.sizes)))
        elapsed = time.perf_counter() - self.began
        if self.seconds and self.seconds_timed:
            share = max(0.0, self.seconds - elapsed) / (self.rate * left)
            for later in range(scale, len(self.sizes)):
                self.planned[later] = max(1, min(self.planned[later], int(self.planned[later] * min(1.0, share))))
        self.marked = time.perf_counter()
        return self.planned[scale]

    @property
    def rate(self) -> float:
        """The seconds that a unit of work takes; what is done once for a size does not count."""
        return self.seconds_timed / self.work_timed if self.work_timed else math.inf

    def placed(self, step: Step, scale: int, count: int) -> Step:
        """Give a step of one size its place in the whole run, and the time left."""
        self.done += 1
        now = time.perf_counter()
        if self.done == 2:  # the very first step is slow: forget it as soon as there is another
            self.work_timed = self.seconds_timed = 0.0
        self.work_timed += self.work(scale)
        self.seconds_timed += now - self.marked
        self.marked = now
        left = (count - step.number) * self.work(scale)
        left += sum(self.planned[later] * self.work(later) for later in range(scale + 1, len(self.sizes)))
        return replace(
            step,
            number=self.done,
            total=self.done + count - step.number + sum(self.planned[scale + 1 :]),
            scale=scale,
            seconds=now - self.began,
            seconds_left=self.rate * left if left else 0.0,
        )

    def is_over(self) -> bool:
        """Say whether the time is used up."""
        return bool(self.seconds) and time.perf_counter() - self.began >= self.seconds

    def close(self, scale: int) -> None:
        """Note that a size has ended, perhaps early."""
        self.planned[scale] = 0


def optimize(
    objective: Objective,
    image: Image,
    steps: int,
    *,
    encode: Encode,
    optimizer_settings: OptimizerSettings,
    momentum: Momentum | None = None,
) -> Iterator[Step]:
    """Descend an objective at one size, a step at a time.

    A loss that is not finite, or a hundred times the first, puts the picture back to the last whose loss was good, and halves
    the step. Optimizers see the objective scaled, see :class:`Evaluation`; the losses of a step are not.

    Args:
        objective: the weighted sum of losses; picks its own layers.
        image: the start, (1, 3, height, width) in [0, 1], on the device to paint on.
        steps: how many steps to take.
        encode: turns pictures into features.
        optimizer_settings: the optimizer and its numbers.
        momentum: taken over from another size, and left behind for the next.

    Yields:
        A :class:`Step` after each step. The last has a ``failure`` if the objective did not fall, see :func:`failure_of`.
    """
    momentum = momentum or Momentum()
    planes = [plane.contiguous().requires_grad_() for plane in to_planes(image, optimizer_settings.canvas)]
    evaluation = Evaluation(objective, planes, encode, optimizer_settings.canvas)
    optimizer = make_optimizer(planes, optimizer_settings)
    average = Average(planes, optimizer_settings.averaging)
    guard = Guard(planes)
    history: list[float] = []
    rate = optimizer_settings.learning_rate
    for number in range(1, steps + 1):
        length = rate * (1.0 if optimizer_settings.decay == "never" else falling(number, steps))
        before = [plane.detach().clone() for plane in planes]
        losses = take_step(evaluation, optimizer, length, momentum if number == 1 else None)
        note = ""
        if guard.is_bad(losses, planes):
            guard.restore(planes)
            average = Average(planes, optimizer_settings.averaging)
            rate /= 2
            optimizer, evaluation.scale = make_optimizer(planes, replace(optimizer_settings, learning_rate=rate)), 0.0
            note = f"the loss was not finite or exploded; went back to the last good picture and halved the step to {rate:g}"
        else:
            guard.keep(before, losses)
            average.update(planes)
            history.append(sum(losses.values()))
            if isinstance(optimizer, torch.optim.LBFGS) and all(map(torch.equal, before, planes)):
                optimizer, evaluation.scale = (
                    make_optimizer(planes, optimizer_settings),
                    0.0,
                )  # its memory led nowhere: forget it
        picture = to_image(average.planes, optimizer_settings.canvas).clamp(0, 1)
        has_settled = bool(optimizer_settings.min_improvement) and improves_less_than(
            optimizer_settings.min_improvement, history
        )
        failure = failure_of(history, number, picture, evaluation.at) if number == steps or has_settled else ""
        size = (image.shape[-2], image.shape[-1])
        yield Step(number, steps, 0, size, losses, picture, note=note, failure=failure)
        if has_settled:
            break
    if isinstance(optimizer, Adam):
        momentum.states = [dict(optimizer.state[plane]) for plane in planes if plane in optimizer.state]
        momentum.scale = evaluation.scale


class Evaluation:
    """The objective as an optimizer sees it: times a constant, by which its first gradient has a fixed size.

    Published objectives reach from 1e-3 to 1e12. Beyond some of that range L-BFGS takes a first step that is too short for
    float32 or forgets what it sees, and Adam's epsilon slows it down. The constant is a power of two, so that it rounds
    nothing; the ratios of the losses stay as they are.

    Attributes:
        scale: the constant; 0 until the next evaluation finds it.
        losses: the weighted losses of the first evaluation since :meth:`begin`, by name, not scaled.
    """

    def __init__(self, objective: Objective, planes: Planes, encode: Encode, canvas: Canvas) -> None:
        self.objective, self.planes, self.encode, self.canvas = objective, planes, encode, canvas
        self.scale = 0.0
        self.losses: dict[str, float] = {}
        self._known: Tensor | None = None

    def begin(self) -> None:
        """Evaluate the planes as they are; the next call returns what was found."""
        self.losses, self._known = {}, None
        self._known = self()

    def __call__(self) -> Tensor:
        """Return the scaled objective, and leave its scaled gradient at the planes."""
        if self._known is not None:
            known, self._known = self._known, None
            return known
        for plane in self.planes:
            plane.grad = None
        with torch.enable_grad():
            total, losses = self._value(to_image(self.planes, self.canvas))
            total.backward()
        self.losses = self.losses or {name: float(value) for name, value in losses.items()}
        self.scale = self.scale or scale_for(self.gradients)
        for gradient in self.gradients:
            gradient.mul_(self.scale)
        return total.detach() * self.scale

    @property
    def gradients(self) -> list[Tensor]:
        """The gradients of the planes."""
        return [plane.grad for plane in self.planes if plane.grad is not None]

    def at(self, picture: Image) -> float:
        """Return the objective of another picture, not scaled."""
        with torch.no_grad():
            return float(self._value(picture)[0])

    def _value(self, picture: Image) -> tuple[Tensor, dict[str, Tensor]]:
        return self.objective({**self.encode(picture, self.objective.layers - {PIXELS}), PIXELS: picture})


def scale_for(gradients: Sequence[Tensor]) -> float:
    """Return the power of two that brings the root mean square of some gradients to about a hundredth.

    Example:
        >>> scale_for([torch.full((2, 2), 0.02)]), scale_for([torch.zeros(2)])
        (0.5, 1.0)
    """
    count = sum(gradient.numel() for gradient in gradients)
    size = math.sqrt(sum(float(gradient.cpu().double().square().sum()) for gradient in gradients) / max(count, 1))
    if not size or not math.isfinite(size):
        return 1.0
    return float(min(_LARGEST_SCALE, 2.0 ** round(math.log2(_FIRST_MOVE / size))))


def failure_of(history: Sequence[float], steps: int, picture: Image, objective_of: Callable[[Image], float]) -> str:
    """Say that an objective did not fall by a hundredth; empty where it did, or where nothing was to be expected.

    Nothing is expected of fewer than ten steps, and of a start that was nearly optimal: whose objective was less than a tenth
    of that of plain gray.

    Args:
        history: the objective before each step whose loss was good.
        steps: how many were taken.
        picture: what they led to.
        objective_of: evaluates the objective of a picture.
    """
    if steps < _ENOUGH_STEPS:
        return ""
    if not history:
        return f"the objective was not finite in any of {steps} steps; try a lower learning rate or other weights"
    first, last = history[0], history[-1]
    if first - last >= _FALL * abs(first):
        return ""
    last = min(last, objective_of(picture))  # an averaged picture is better than the last of those averaged
    if first - last >= _FALL * abs(first) or 0 <= first < _NEAR_OPTIMUM * objective_of(torch.full_like(picture, 0.5)):
        return ""
    return (
        f"the objective did not fall: {first:.4g} at the start and {last:.4g} after {steps} steps; "
        "try another optimizer, learning rate or starting picture"
    )


def take_step(
    evaluation: Evaluation, optimizer: Adam | torch.optim.Optimizer, rate: float, momentum: Momentum | None = None
) -> dict[str, float]:
    """Move the planes once; return the weighted losses by name as they were before the move."""
    evaluation.begin()
    if momentum:
        restore_momentum(optimizer, evaluation.planes, momentum, evaluation.scale)
    if isinstance(optimizer, torch.optim.LBFGS) and not optimizer.state:
        # PyTorch divides the first step by the sum of the gradient, which leaves less than rounding of a large picture.
        rate *= max(1.0, sum(float(gradient.abs().sum()) for gradient in evaluation.gradients))
    set_rate(optimizer, rate)
    optimizer.step(evaluation)  # type: ignore[arg-type]  # its stub wants a float, its code takes the tensor
    if evaluation.canvas == "pixels" and isinstance(optimizer, Adam):
        with torch.no_grad():
            evaluation.planes[0].clamp_(0, 1)
    return evaluation.losses


def make_optimizer(planes: Planes, optimizer_settings: OptimizerSettings) -> Adam | torch.optim.Optimizer:
    """Make the optimizer that a optimizer_settings names."""
    if optimizer_settings.optimizer in ("adam", "multigrid-adam"):
        kind = Adam if optimizer_settings.optimizer == "adam" else MultigridAdam
        return kind(planes, lr=optimizer_settings.learning_rate, betas=optimizer_settings.betas)
    if optimizer_settings.optimizer == "rmsprop":
        return torch.optim.RMSprop(planes, lr=optimizer_settings.learning_rate)
    return torch.optim.LBFGS(
        planes,
        lr=optimizer_settings.learning_rate,
        max_iter=1,
        max_eval=1 + _LINE_SEARCH,  # by default 1, which leaves the line search none: it then stays where the first guess fails
        history_size=optimizer_settings.history,
        line_search_fn="strong_wolfe",
        tolerance_grad=0,
        tolerance_change=0,
    )


def set_rate(optimizer: Adam | torch.optim.Optimizer, rate: float) -> None:
    """Set the step length."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def falling(number: int, steps: int) -> float:
    """Let the step length rise over the first few steps, stay, and fall to a sixth over the second half."""
    done, rising = number / steps, min(5, max(1, steps // 4))
    return min(1.0, number / rising) * (1.0 if done < 0.5 else 1.0 - 0.85 * (done - 0.5) / 0.5)


def improves_less_than(share: float, history: list[float]) -> bool:
    """Say whether the loss fell by less than a share of itself over the last ten steps."""
    if len(history) <= _PATIENCE:
        return False
    before, now = history[-1 - _PATIENCE], history[-1]
    return before - now < share * abs(before)


class Average:
    """The running average of the planes, its start corrected for: noise of single steps cancels out in it."""

    def __init__(self, planes: Planes, decay: float) -> None:
        self.planes = [plane.detach().clone() for plane in planes]
        self.decay, self.count = decay, 0

    def update(self, planes: Planes) -> None:
        """Take one more picture into the average."""
        self.count += 1
        decay = min(self.decay, self.count / (self.count + 9)) if self.count > 1 else 0.0
        with torch.no_grad():
            for average, plane in zip(self.planes, planes, strict=True):
                average.lerp_(plane, 1 - decay) if self.decay else average.copy_(plane)


class Guard:
    """Remembers the last picture whose loss was good, to go back to when the loss is no longer a number, or explodes."""

    def __init__(self, planes: Planes) -> None:
        self.planes = [plane.detach().clone() for plane in planes]
        self.first: float | None = None

    def is_bad(self, losses: Mapping[str, float], planes: Planes) -> bool:
        """Say whether the loss or the picture went wrong."""
        total = sum(losses.values())
        if not math.isfinite(total) or not all(bool(torch.isfinite(plane).all()) for plane in planes):
            return True
        return self.first is not None and abs(total) > _EXPLOSION * max(abs(self.first), 1e-12)

    def keep(self, planes: Planes, losses: Mapping[str, float]) -> None:
        """Remember a picture whose loss is known to be good: the one *before* the step, not the one that the step led to."""
        if self.first is None:
            self.first = sum(losses.values())
        with torch.no_grad():
            for kept, plane in zip(self.planes, planes, strict=True):
                kept.copy_(plane)

    def restore(self, planes: Planes) -> None:
        """Put the planes back to the last good picture."""
        with torch.no_grad():
            for kept, plane in zip(self.planes, planes, strict=True):
                plane.copy_(kept)


def restore_momentum(optimizer: Adam | torch.optim.Optimizer, planes: Planes, momentum: Momentum, scale: float = 1.0) -> None:
    """Give Adam the state it had at the end of another size, resized: the direction is still good, and so is its step length.

    Losses are means over positions, so the gradient of a pixel shrinks as the number of pixels grows, and the state with it.
    ``scale`` is what gradients are multiplied by from now on.

    Source:
        crowsonkb/style-transfer-pytorch (MIT) warm-starts Adam alike, without the shrinking.
    """
    for plane, state in zip(planes, momentum.states, strict=False):
        size = plane.shape[-2:]
        share = scale / momentum.scale * state["exp_avg"][0, 0].numel() / plane[0, 0].numel()
        first = F.interpolate(state["exp_avg"], size=size, mode="bilinear", align_corners=False)
        second = F.interpolate(state["exp_avg_sq"], size=size, mode="bilinear", align_corners=False)
        optimizer.state[plane] = {"step": state["step"], "exp_avg": first * share, "exp_avg_sq": second * share**2}
