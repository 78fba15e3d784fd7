"""The optimization engine: minimize an objective and yield every step.

The whole interface is ``for step in pyramid(...)``. To cancel, stop iterating. Progress bars, previews, early stopping and the
studio's stream are all built on these steps.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median_low
from typing import Any

import torch
from torch import Tensor

from impasto.images import resize
from impasto.losses.features import PIXELS, Objective
from impasto.optim.adam import Adam, MultigridAdam
from impasto.optim.parametrization import enlarged_strips, image_of, to_image, to_planes, to_planes_sparingly
from impasto.optim.shifts import unshifted
from impasto.optim.stored import StoredAdam, StoredPlane, fresh_files
from impasto.optim.tiled import Encode, TiledObjective, TilePlan, Tiling
from impasto.options import Canvas, Decay, Optimizer
from impasto.runtime.devices import seconds_now
from impasto.runtime.memory import is_out_of_memory, return_freed_memory
from impasto.tensors import Image

Size = tuple[int, int]
Planes = list[Tensor]
Drawing = Image | Callable[[], Image]
"""A picture, or a function that computes it."""

_PATIENCE = 10
_RISING_AGAIN = 4
"""Number of steps in which the learning rate rises after an interruption."""
_EXPLOSION = 100.0
_FIRST_MOVE = 0.01
"""Root mean square of the scaled gradient at the first step, and of the first move that L-BFGS makes."""
_LARGEST_SCALE = 2.0**20
"""Upper limit of the factor that scales the gradients: gradients below 1e-8 are rounding errors and must not be amplified."""
_LINE_SEARCH = 25
"""Maximum number of function evaluations of the L-BFGS line search in one step."""
_FALL = 0.01
_ENOUGH_STEPS = 10
_PART = 2**22
"""Number of values that are converted to float64 at a time."""
_NEAR_OPTIMUM = 0.1
_FIRST_ESTIMATE = 3
"""Number of steps before the remaining time is estimated for the first time."""
_RECENT_STEPS = 15


@dataclass(frozen=True)
class OptimizerSettings:
    """The optimizer and its hyperparameters, taken from the options of a recipe.

    Attributes:
        optimizer: multigrid-adam, adam, lbfgs or rmsprop.
        learning_rate: for pixels that range from 0 to 1.
        betas: Adam's decay rates, each at least 0 and below 1.
        history: number of steps that L-BFGS stores.
        averaging: decay of the moving average of the picture, at least 0 (no averaging) and below 1.
        decay: when the learning rate decays: at the last size, at each size, or never.
        min_improvement: stop a size early if the loss decreased by less than this share over the last ten steps. 0: never.
        canvas: parametrization of the picture, see :mod:`impasto.optim.parametrization`.

    Example:
        >>> OptimizerSettings(optimizer="adam", learning_rate=0.05).betas
        (0.9, 0.99)

    Source:
        Kingma and Ba 2014 (arXiv:1412.6980) for Adam; Liu and Nocedal 1989 for L-BFGS.
    """

    optimizer: Optimizer = "multigrid-adam"
    learning_rate: float = 0.02
    betas: tuple[float, float] = (0.9, 0.99)
    history: int = 20
    averaging: float = 0.9
    decay: Decay = "last"
    min_improvement: float = 0.0
    canvas: Canvas = "soft-chroma"


class _Drawn:
    """The attribute ``image`` of a step: a picture, or a function that computes it when the attribute is read.

    A picture that is painted in tiles may be large, and most steps are not shown.
    """

    def __get__(self, step: "Step | None", kind: type) -> Image:
        if step is None:
            raise AttributeError("image")  # so that the field has no default
        return drawn(step.drawing)

    def __set__(self, step: "Step", drawing: Drawing) -> None:
        step.__dict__["image"] = drawing


@dataclass(frozen=True)
class Step:
    """The state after one step of painting.

    Attributes:
        number: number of this step, counted from 1 over all sizes.
        total: number of steps planned over all sizes.
        scale: index of the size being painted, counted from 0.
        size: (height, width) being painted.
        losses: the weighted value of each term of the objective, by name.
        image: the result if painting stopped here, (1, 3, height, width), sRGB in [0, 1]. While painting in tiles, it is
            computed from the current state when you read it, so read it before the next step.
        seconds: time since painting began.
        seconds_left: estimated remaining time; infinite during the first two steps, which do not suffice for an estimate.
        note: a message about something unusual in this step; empty otherwise.
        failure: one sentence on why the optimization failed; empty if the objective decreased, and on every step but the last.
        shown_size: (height, width) of ``image`` if it is not computed yet; see :attr:`image_size`.

    Example:
        >>> import impasto
        >>> *_, last = impasto.steps("photo.jpg", "picture.jpg", size=64, steps=2)
        >>> last.number == last.total, last.image.shape
        (True, torch.Size([1, 3, 64, 64]))
    """

    number: int
    total: int
    scale: int
    size: Size
    losses: Mapping[str, float]
    image: _Drawn = _Drawn()
    seconds: float = 0.0
    seconds_left: float = math.inf
    note: str = ""
    failure: str = ""
    shown_size: Size = (0, 0)

    @property
    def image_size(self) -> Size:
        """The (height, width) of ``image``, available without computing it."""
        return self.shown_size if callable(self.drawing) else (self.drawing.shape[-2], self.drawing.shape[-1])

    @property
    def drawing(self) -> Drawing:
        """The picture, or the function that computes it; ``replace(step, image=step.drawing)`` does not call the function."""
        found: Drawing = self.__dict__["image"]
        return found

    @property
    def loss(self) -> float:
        """The objective: the sum of the weighted losses."""
        return sum(self.losses.values())


def _drawn_sparingly(planes: list[Tensor], canvas: Canvas) -> Image:
    """Draw a large picture. It does not fit into the freed blocks of tiles, so they are first returned to the system."""
    return_freed_memory()
    return image_of(planes, canvas)


def drawn(drawing: Drawing) -> Image:
    """Return a picture; if a function is given, call it."""
    return drawing() if callable(drawing) else drawing


@dataclass
class Momentum:
    """Optimizer state passed from one size to the next.

    Attributes:
        states: the optimizer's state for each plane.
        scale: the factor that was applied to the gradients in ``states``, see :class:`Evaluation`.
    """

    states: list[dict[str, Any]] = field(default_factory=list)
    scale: float = 1.0


def pyramid(  # noqa: PLR0913  (all parameters are needed; six have defaults)
    objective_at: Callable[[Size], Objective],
    image: Drawing,
    sizes: Sequence[tuple[Size, int]],
    *,
    encode: Encode,
    optimizer_settings: OptimizerSettings,
    seconds: float = 0.0,
    enlarge: Callable[[Image, Size], Image] = resize,
    tiles: TilePlan | None = None,
    rate_at: Callable[[Size], float] | None = None,
    done: int = 0,
) -> Iterator[Step]:
    """Paint from coarse to fine: each size starts with the picture and the optimizer momentum of the previous size.

    Args:
        objective_at: returns the objective for a size (height, width). It is called once for each size, and again each time
            that memory runs out and the size is continued in tiles or in smaller tiles.
        image: the initial picture, (1, 3, height, width), on the device to paint on; resized to the first size. If it is a
            function, it is called for each use, so that the picture takes no memory after the first step.
        sizes: pairs of (height, width) and number of steps, in painting order.
        encode: computes features of pictures.
        optimizer_settings: the optimizer and its hyperparameters.
        seconds: approximate time limit; the number of steps at each size is reduced to meet it, but each size gets at least one
            step. 0: no limit.
        enlarge: resizes the picture from one size to the next.
        tiles: the sizes that are painted in tiles; None: every size is painted whole.
        rate_at: returns the factor of the learning rate at a size; None: 1.
        done: number of steps at the first size that an earlier run took.

    Yields:
        A :class:`Step` after each step. If the objective did not decrease at any size, the last step has a ``failure``. Sizes
        with fewer than ten steps, and sizes cut short by ``seconds``, are not checked.

    Example:
        >>> from impasto.losses import Smoothness
        >>> noise = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> encode = lambda image, layers: {}  # the objective needs no layer
        >>> settings = OptimizerSettings(canvas="pixels")
        >>> sizes = [((8, 8), 2), ((16, 16), 3)]
        >>> steps = pyramid(lambda size: 1.0 * Smoothness(), noise, sizes, encode=encode, optimizer_settings=settings)
        >>> [step.size for step in steps]
        [(8, 8), (8, 8), (16, 16), (16, 16), (16, 16)]

    Source:
        Coarse to fine as in crowsonkb/style-transfer-pytorch (MIT).
    """
    plan = Plan(sizes, seconds)
    momentum = Momentum()
    failures: list[str] = []
    drawing = image
    for scale, (size, _) in enumerate(sizes):
        falls = optimizer_settings.decay == "each" or scale == len(sizes) - 1
        here = optimizer_settings if falls else replace(optimizer_settings, decay="never")
        if rate_at:
            here = replace(here, learning_rate=here.learning_rate * rate_at(size))
        count = plan.steps_at(scale)
        run = partial(optimize, encode=encode, optimizer_settings=here, momentum=momentum)
        for step in _steps_at(
            size,
            count,
            objective_at,
            partial(_resized, drawing, size, enlarge if scale else resize),
            run,
            tiles,
            0 if scale else done,
        ):
            drawing = step.drawing
            is_checked = step.failure or step.number == count
            if is_checked and step.number >= _ENOUGH_STEPS:
                failures.append(step.failure)
            is_last = is_checked and scale == len(sizes) - 1
            failure = failures[-1] if is_last and failures and all(failures) else ""
            yield replace(plan.placed(step, scale, count), image=drawing, failure=failure)
            if plan.is_over():
                break
        plan.close(scale)


def _resized(drawing: Drawing, size: Size, enlarge: Callable[[Image, Size], Image]) -> Image:
    return enlarge(drawn(drawing), size)


def _steps_at(  # noqa: PLR0913  (all parameters are needed)
    size: Size,
    count: int,
    objective_at: Callable[[Size], Objective],
    start: Callable[[], Image],
    run: Callable[..., Iterator[Step]],
    tiles: TilePlan | None,
    earlier: int,
) -> Iterator[Step]:
    """Optimize at one size; if memory runs out, continue from the last step in tiles or in smaller tiles."""
    done, note = 0, ""
    while True:
        tiling = tiles.at(size) if tiles else None
        last = done
        try:
            for step in run(objective_at(size), start(), count - done, tiling=tiling, done=earlier + done):
                shown = replace(step, image=step.drawing, number=step.number + done, total=count, note=note or step.note)
                yield shown
                start, last, note = partial(drawn, shown.drawing), shown.number, ""
            if tiles and tiling:  # memory would run out again at the next size
                tiles.tile_px = min(tiles.tile_px, tiling.tile_px)
            return
        except (MemoryError, RuntimeError) as error:
            if tiles is None or not is_out_of_memory(error) or not tiles.reduce(size, tiling):
                raise
        done, note = last, tiles.note


class Plan:
    """Step counter and time estimator over all sizes; assumes that a step costs time in proportion to its pixels."""

    def __init__(self, sizes: Sequence[tuple[Size, int]], seconds: float) -> None:
        self.sizes, self.seconds = sizes, seconds
        self.planned = [count for _, count in sizes]
        self.began = seconds_now()
        self.done = 0
        self.marked = self.began
        self.work_timed = 0.0
        self.seconds_timed = 0.0
        self.rates: deque[float] = deque(maxlen=_RECENT_STEPS)
        self.rate_before = math.inf

    def work(self, scale: int) -> float:
        """Return the cost of a step at a size: the number of pixels plus a constant overhead."""
        (height, width), _ = self.sizes[scale]
        return height * width + 4000.0

    def steps_at(self, scale: int) -> int:
        """Return the number of steps for a size, given the time left."""
        left = sum(self.planned[later] * self.work(later) for later in range(scale, len(self.sizes)))
        elapsed = seconds_now() - self.began
        if self.seconds and self.seconds_timed:
            share = max(0.0, self.seconds - elapsed) / (self.rate * left)
            for later in range(scale, len(self.sizes)):
                self.planned[later] = max(1, min(self.planned[later], int(self.planned[later] * min(1.0, share))))
        self.rate_before = self.typical_rate
        self.rates.clear()
        self.marked = seconds_now()
        return self.planned[scale]

    @property
    def rate(self) -> float:
        """Seconds per unit of work, excluding the one-time setup of each size."""
        return self.seconds_timed / self.work_timed if self.work_timed else math.inf

    @property
    def typical_rate(self) -> float:
        """Median seconds per unit of work in the recent steps; a few steps that wait for the processor do not change it.

        It is infinite until three steps are done. During the first steps at a size, it is the rate of the previous size.
        """
        if self.done < _FIRST_ESTIMATE:
            return math.inf
        is_known = len(self.rates) >= _FIRST_ESTIMATE or self.rate_before == math.inf
        return median_low(self.rates) if is_known and self.rates else self.rate_before

    def placed(self, step: Step, scale: int, count: int) -> Step:
        """Fill in the number and scale of a step, the elapsed time, and the time left for the whole run."""
        self.done += 1
        now = seconds_now()
        if self.done == 2:  # the very first step is slow: exclude it from the estimate
            self.work_timed = self.seconds_timed = 0.0
            self.rates.clear()
        self.rates.append((now - self.marked) / self.work(scale))
        self.work_timed += self.work(scale)
        self.seconds_timed += now - self.marked
        self.marked = now
        left = (count - step.number) * self.work(scale)
        left += sum(self.planned[later] * self.work(later) for later in range(scale + 1, len(self.sizes)))
        return replace(
            step,
            image=step.drawing,
            number=self.done,
            total=self.done + count - step.number + sum(self.planned[scale + 1 :]),
            scale=scale,
            seconds=now - self.began,
            seconds_left=self.typical_rate * left if left else 0.0,
        )

    def is_over(self) -> bool:
        """Return whether the time is used up."""
        return bool(self.seconds) and seconds_now() - self.began >= self.seconds

    def close(self, scale: int) -> None:
        """Mark a size as finished, even if it ended early."""
        self.planned[scale] = 0


def optimize(  # noqa: PLR0913  (three have defaults)
    objective: Objective,
    image: Image,
    steps: int,
    *,
    encode: Encode,
    optimizer_settings: OptimizerSettings,
    momentum: Momentum | None = None,
    tiling: Tiling | None = None,
    done: int = 0,
) -> Iterator[Step]:
    """Minimize an objective at one size, one step at a time.

    If the loss is not finite, or is more than a hundred times the first loss, the last good picture is restored and the
    learning rate is halved. Optimizers minimize a scaled objective, see :class:`Evaluation`; the losses of a step are not
    scaled.

    Args:
        objective: the weighted sum of losses; it selects its own layers.
        image: the initial picture, (1, 3, height, width) in [0, 1], on the device to paint on.
        steps: number of steps to take.
        encode: computes features of pictures.
        optimizer_settings: the optimizer and its hyperparameters.
        momentum: state from the previous size; updated in place for the next.
        tiling: the size of the tiles; None: the picture is encoded as a whole.
        done: number of steps that were taken before. The learning rate continues from there.

    Yields:
        A :class:`Step` after each step. If the objective did not decrease, the last one has a ``failure``; see
        :func:`failure_of`.

    Example:
        >>> from impasto.losses import Smoothness
        >>> noise = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> encode = lambda image, layers: {}  # the objective needs no layer
        >>> settings = OptimizerSettings(canvas="pixels")
        >>> steps = list(optimize(1.0 * Smoothness(), noise, 5, encode=encode, optimizer_settings=settings))
        >>> len(steps), steps[-1].image.shape, steps[-1].loss < steps[0].loss
        (5, torch.Size([1, 3, 16, 16]), True)
    """
    momentum = momentum or Momentum()
    size, canvas = (image.shape[-2], image.shape[-1]), optimizer_settings.canvas
    planes = [plane.contiguous().requires_grad_() for plane in (to_planes_sparingly if tiling else to_planes)(image, canvas)]
    del image
    if tiling:
        return_freed_memory()
    evaluation = Evaluation(objective, planes, encode, canvas, tiling)
    on_disk = tiling is not None and tiling.on_disk
    optimizer = make_optimizer(planes, optimizer_settings, on_disk=on_disk)
    average = Average(planes, optimizer_settings.averaging)
    guard = Guard(planes, on_disk=on_disk)
    history: list[float] = []
    rate = optimizer_settings.learning_rate
    for number in range(1, steps + 1):
        length = rate * (1.0 if optimizer_settings.decay == "never" else falling(number, steps, done))
        before = guard.snapshot(planes)
        losses = take_step(evaluation, optimizer, length, momentum if number == 1 else None)
        note = ""
        if guard.is_bad(losses, planes):
            guard.restore(planes)
            average = Average(planes, optimizer_settings.averaging)
            rate /= 2
            slower = replace(optimizer_settings, learning_rate=rate)
            optimizer, evaluation.scale = make_optimizer(planes, slower, on_disk=on_disk), 0.0
            note = (
                "the loss was not finite or grew too much; restored the last good picture and halved the "
                f"learning rate to {rate:g}"
            )
        else:
            guard.keep(before, losses)
            average.update(planes)
            history.append(sum(losses.values()))
            if isinstance(optimizer, torch.optim.LBFGS) and guard.holds(planes):
                optimizer = make_optimizer(planes, optimizer_settings)  # L-BFGS is stuck: discard its history
                evaluation.scale = 0.0
        note = note or evaluation.note()
        if tiling:  # their memory is needed if the picture is drawn
            evaluation.forget_gradients()
        now = average.planes
        drawing: Drawing = partial(_drawn_sparingly, now, canvas) if tiling else to_image(now, canvas).clamp(0, 1)
        has_settled = bool(optimizer_settings.min_improvement) and improves_less_than(
            optimizer_settings.min_improvement, history
        )
        failure = failure_of(history, number, drawing, evaluation.at) if number == steps or has_settled else ""
        yield Step(number, steps, 0, size, losses, drawing, note=note, failure=failure, shown_size=size)
        if has_settled:
            break
    if isinstance(optimizer, Adam):
        momentum.states = [dict(optimizer.state[plane]) for plane in planes if plane in optimizer.state]
        momentum.scale = evaluation.scale


class Evaluation:
    """The objective that the optimizer evaluates, scaled by a constant so that its first gradient has a fixed magnitude.

    Published objectives range from 1e-3 to 1e12. At the ends of that range, L-BFGS either takes a first step that is too short
    for float32 or loses its history, and Adam's epsilon makes its steps too small. The constant is a power of two, so it causes
    no rounding. The ratios of the losses do not change.

    Attributes:
        scale: the constant; while it is 0, the next evaluation determines it.
        losses: the unscaled weighted losses from the first evaluation since :meth:`begin`, by name.
    """

    def __init__(
        self, objective: Objective, planes: Planes, encode: Encode, canvas: Canvas, tiling: Tiling | None = None
    ) -> None:
        self.tiled = TiledObjective(objective, encode, canvas, tiling) if tiling else None
        self.objective, self.planes, self.encode, self.canvas = objective, planes, encode, canvas
        self.scale = 0.0
        self.losses: dict[str, float] = {}
        self._known: Tensor | None = None

    def begin(self) -> None:
        """Evaluate the current planes and cache the result, which the next call returns."""
        self.losses, self._known = {}, None
        self._known = self()

    def __call__(self) -> Tensor:
        """Return the scaled objective and store its scaled gradient in the planes."""
        if self._known is not None:
            known, self._known = self._known, None
            return known
        total, losses = self.tiled.backward(self.planes) if self.tiled else self._backward()
        self.losses = self.losses or losses
        self.scale = self.scale or scale_for(self.gradients)
        for gradient in self.gradients:
            gradient.mul_(self.scale)
        return torch.as_tensor(total) * self.scale

    def _backward(self) -> tuple[Tensor, dict[str, float]]:
        """Compute the gradient of the whole picture; return the objective, and the weighted losses by name."""
        self.forget_gradients()
        with torch.enable_grad():
            total, losses = self._value(to_image(self.planes, self.canvas), self.encode)
            total.backward()
        return total.detach(), {name: float(value) for name, value in losses.items()}

    def note(self) -> str:
        """Return the note that tiles were made smaller, and clear it; return an empty string if there is none."""
        if self.tiled is None:
            return ""
        note, self.tiled.tiling.note = self.tiled.tiling.note, ""
        return note

    def forget_gradients(self) -> None:
        """Delete the gradients; the next evaluation computes new ones."""
        for plane in self.planes:
            plane.grad = None

    @property
    def gradients(self) -> list[Tensor]:
        """The gradients of the planes."""
        return [plane.grad for plane in self.planes if plane.grad is not None]

    def at(self, picture: Image) -> float:
        """Return the unscaled objective of another picture, encoded without a shift."""
        encode = unshifted(self.encode)
        if self.tiled:
            return TiledObjective(self.objective, encode, self.canvas, self.tiled.tiling).at(picture)
        with torch.no_grad():
            return float(self._value(picture, encode)[0])

    def _value(self, picture: Image, encode: Encode) -> tuple[Tensor, dict[str, Tensor]]:
        return self.objective({**encode(picture, self.objective.layers - {PIXELS}), PIXELS: picture})


def scale_for(gradients: Sequence[Tensor]) -> float:
    """Return the power of two that scales the root mean square of the gradients to about 0.01.

    Example:
        >>> scale_for([torch.full((2, 2), 0.02)]), scale_for([torch.zeros(2)])
        (0.5, 1.0)
    """
    count = sum(gradient.numel() for gradient in gradients)
    parts = (part for gradient in gradients for part in gradient.flatten().split(_PART))
    size = math.sqrt(sum(float(part.cpu().double().square().sum()) for part in parts) / max(count, 1))
    if not size or not math.isfinite(size):
        return 1.0
    return float(min(_LARGEST_SCALE, 2.0 ** round(math.log2(_FIRST_MOVE / size))))


def failure_of(history: Sequence[float], steps: int, drawing: Drawing, objective_of: Callable[[Image], float]) -> str:
    """Return a message if the objective decreased by less than 1%, otherwise an empty string.

    Runs of fewer than ten steps are not checked. Runs that start nearly optimal, with an objective below a tenth of that of a
    plain gray picture, are not checked either.

    Args:
        history: the objective before each step; steps that were undone are omitted.
        steps: number of steps taken.
        drawing: the resulting picture, or a function that computes it.
        objective_of: evaluates the objective of a picture.
    """
    if steps < _ENOUGH_STEPS:
        return ""
    if not history:
        return f"the objective was not finite in any of {steps} steps; try a lower learning rate or other weights"
    first, last = history[0], history[-1]
    if first - last >= _FALL * abs(first):
        return ""
    picture = drawn(drawing)
    last = min(last, objective_of(picture))  # the averaged picture is often better than the last iterate
    if first - last >= _FALL * abs(first) or 0 <= first < _NEAR_OPTIMUM * objective_of(torch.full_like(picture, 0.5)):
        return ""
    return (
        f"the objective did not decrease: {first:.4g} at the start and {last:.4g} after {steps} steps; "
        "try another optimizer, learning rate or starting picture"
    )


def take_step(
    evaluation: Evaluation, optimizer: Adam | torch.optim.Optimizer, rate: float, momentum: Momentum | None = None
) -> dict[str, float]:
    """Update the planes once; return the weighted losses by name, as they were before the update."""
    evaluation.begin()
    if momentum:
        restore_momentum(optimizer, evaluation.planes, momentum, evaluation.scale)
    if isinstance(optimizer, torch.optim.LBFGS) and not optimizer.state:
        # PyTorch divides the first step by the L1 norm of the gradient; for a large picture the step would be lost in rounding.
        rate *= max(1.0, sum(float(gradient.abs().sum()) for gradient in evaluation.gradients))
    set_rate(optimizer, rate)
    optimizer.step(evaluation)  # type: ignore[arg-type]  # the stub requires a float, but a tensor works
    if evaluation.canvas == "pixels" and isinstance(optimizer, Adam):
        with torch.no_grad():
            evaluation.planes[0].clamp_(0, 1)
    return evaluation.losses


def make_optimizer(
    planes: Planes, optimizer_settings: OptimizerSettings, *, on_disk: bool = False
) -> Adam | torch.optim.Optimizer:
    """Create the optimizer named by the settings; ``on_disk`` keeps the state of Adam in temporary files."""
    if on_disk and optimizer_settings.optimizer == "adam":
        return StoredAdam(planes, lr=optimizer_settings.learning_rate, betas=optimizer_settings.betas)
    if optimizer_settings.optimizer in ("adam", "multigrid-adam"):
        kind = Adam if optimizer_settings.optimizer == "adam" else MultigridAdam
        return kind(planes, lr=optimizer_settings.learning_rate, betas=optimizer_settings.betas)
    if optimizer_settings.optimizer == "rmsprop":
        return torch.optim.RMSprop(planes, lr=optimizer_settings.learning_rate)
    return torch.optim.LBFGS(
        planes,
        lr=optimizer_settings.learning_rate,
        max_iter=1,
        max_eval=1 + _LINE_SEARCH,  # the default of 1 disables the line search: a failed first guess would not be corrected
        history_size=optimizer_settings.history,
        line_search_fn="strong_wolfe",
        tolerance_grad=0,
        tolerance_change=0,
    )


def set_rate(optimizer: Adam | torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def falling(number: int, steps: int, done: int = 0) -> float:
    """Return the learning rate factor: it rises to 1 in the first few steps and decays to 0.15 over the second half.

    After ``done`` steps of an earlier run, the factor continues, but it is halved and rises again, because the first steps of
    Adam without its state would be noise.
    """
    share = (done + number) / (done + steps)
    most, rising = (0.5, _RISING_AGAIN) if done else (1.0, min(5, max(1, steps // 4)))
    return most * min(1.0, number / rising) * (1.0 if share < 0.5 else 1.0 - 0.85 * (share - 0.5) / 0.5)


def improves_less_than(share: float, history: list[float]) -> bool:
    """Return whether the loss decreased by less than the given share over the last ten steps."""
    if len(history) <= _PATIENCE:
        return False
    before, now = history[-1 - _PATIENCE], history[-1]
    return before - now < share * abs(before)


class Average:
    """The bias-corrected running average of the planes, which cancels the noise of single steps; with decay 0, the planes."""

    def __init__(self, planes: Planes, decay: float) -> None:
        self.planes = [plane.detach().clone() if decay else plane.detach() for plane in planes]
        self.decay, self.count = decay, 0

    def update(self, planes: Planes) -> None:
        """Add the current planes to the average."""
        self.count += 1
        decay = min(self.decay, self.count / (self.count + 9)) if self.count > 1 else 0.0
        with torch.no_grad():
            for average, plane in zip(self.planes, planes, strict=True):
                average.lerp_(plane, 1 - decay) if self.decay else average.copy_(plane)


Snapshot = Sequence[Tensor | StoredPlane]


class Guard:
    """Snapshot of the last good planes, restored when the loss becomes non-finite or explodes.

    Args:
        planes: the initial planes.
        on_disk: whether snapshots are kept in temporary files.
    """

    def __init__(self, planes: Planes, *, on_disk: bool = False) -> None:
        self.on_disk = on_disk
        self.spare: Snapshot = ()
        self.planes = self.snapshot(planes)
        self.first: float | None = None

    def snapshot(self, planes: Planes) -> Snapshot:
        """Copy planes. On disk, two files for each plane are used in turn."""
        if not self.on_disk:
            return [plane.detach().clone() for plane in planes]
        files = self.spare or [StoredPlane(plane) for plane in planes]
        return [file.copy_(plane) for file, plane in zip(files, planes, strict=True)]

    def is_bad(self, losses: Mapping[str, float], planes: Planes) -> bool:
        """Return whether the loss or the picture is invalid."""
        total = sum(losses.values())
        if not math.isfinite(total) or not all(bool(torch.isfinite(plane.sum())) for plane in planes):
            return True
        return self.first is not None and abs(total) > _EXPLOSION * max(abs(self.first), 1e-12)

    def keep(self, snapshot: Snapshot, losses: Mapping[str, float]) -> None:
        """Store a snapshot from *before* a step: its loss is known to be good, unlike that of the planes after it."""
        if self.first is None:
            self.first = sum(losses.values())
        self.planes, self.spare = snapshot, self.planes

    def holds(self, planes: Planes) -> bool:
        """Return whether the planes equal the snapshot in memory."""
        kept = [each for each in self.planes if isinstance(each, Tensor)]
        return len(kept) == len(planes) and all(map(torch.equal, kept, planes))

    def restore(self, planes: Planes) -> None:
        """Reset the planes to the last good ones."""
        with torch.no_grad():
            for kept, plane in zip(self.planes, planes, strict=True):
                plane.copy_(kept.tensor() if isinstance(kept, StoredPlane) else kept)


def restore_momentum(optimizer: Adam | torch.optim.Optimizer, planes: Planes, momentum: Momentum, scale: float = 1.0) -> None:
    """Resize Adam's state from another size and restore it; both the direction and the step size remain useful.

    Losses are means over positions, so the gradient of a pixel shrinks as the number of pixels grows; the state is scaled
    accordingly. ``scale`` is the factor by which gradients are scaled from now on.

    Source:
        crowsonkb/style-transfer-pytorch (MIT) warm-starts Adam in the same way, without rescaling.
    """
    for plane, state in zip(planes, momentum.states, strict=False):
        before, size = {name: state[name] for name in ("exp_avg", "exp_avg_sq")}, plane.shape[-2:]
        share = scale / momentum.scale * math.prod(before["exp_avg"].shape[-2:]) / plane[0, 0].numel()
        now = fresh_files(plane) if isinstance(optimizer, StoredAdam) else {}
        for (name, values), factor in zip(before.items(), (share, share**2), strict=True):
            values = values.tensor().to(plane) if isinstance(values, StoredPlane) else values
            if name not in now:
                now[name] = torch.cat([strip for _, strip in enlarged_strips(values, (size[0], size[1]))], dim=-2).mul_(factor)
                continue
            for channel, part in enumerate(values.split(1, dim=1)):  # a file is written in strips, to save memory
                for top, strip in enlarged_strips(part, (size[0], size[1])):
                    now[name].write((channel * size[0] + top) * size[1], strip.mul_(factor))
        optimizer.state[plane] = now | {"step": state["step"]}
