"""INetwork: paint like titu1994's INetwork.py, with its flags and without its defects.

INetwork uses Gram matrices of ``F - 1`` at every convolution, one content layer, and total variation. It runs rounds of 20
L-BFGS-B evaluations; each round discards the history. The objective is that of :mod:`impasto.recipes.gatys` with the
preset ``inetwork-fixed``. This module derives the options from INetwork's flags and minimizes the objective as INetwork does.

Source: titu1994/Neural-Style-Transfer, INetwork.py, for the behavior; Novak and Nikulin 2016, arXiv:1605.04603. Departures
from INetwork: those listed by :func:`repairs`; in addition, the statistics of several styles are blended.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.optimize import fmin_l_bfgs_b

from impasto.color.transfer import with_colors_of
from impasto.compat.inetwork_flags import InetworkOptions, RescaleMethod, layers_of
from impasto.encoders.vgg import FULL_WIDTHS
from impasto.errors import OptionError, ResourceError, ShapeError, WeightsError
from impasto.images import Picture, resize
from impasto.losses.features import PIXELS, Objective
from impasto.losses.picture import luminance_of
from impasto.optim.engine import Size, Step, drawn, failure_of
from impasto.options import INITS, PaintOptions, Run
from impasto.recipes import gatys, objectives
from impasto.recipes.context import PaintingContext
from impasto.recipes.masking import NO_MASKS, Masking, MaskSources, ReadMask, read_mask, read_masking
from impasto.recipes.pastiche import Pastiche, Record, new_record
from impasto.recipes.presets import inetwork_weights, paint_options
from impasto.recipes.regions import Restored
from impasto.recipes.starts import SMALLEST_SIDE, Style
from impasto.runtime.amounts import amount
from impasto.runtime.devices import seconds_now
from impasto.runtime.memory import available_memory
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image, Mask
from impasto.weights import find

EVALUATIONS = 20
"""L-BFGS evaluations per iteration."""

_SLIM = "vgg19-slim"
_RANGE = 255.0
_PICTURES_REMEMBERED = 30
"""Number of picture-sized float64 arrays that L-BFGS-B keeps: two for each of ten steps, plus temporary ones."""


@dataclass(frozen=True)
class InetworkRequest:
    """The validated inputs of an INetwork run.

    Attributes:
        photo: the content, at its original size.
        styles: the styles.
        flags: INetwork's flags.
        run: device, precision, seed.
        encoder: name of the feature extractor; see :func:`encoder_for`.
        size: (height, width) to paint.
        masking: the style and content masks.
        color_mask: where the photo's colors are kept; None: everywhere.
    """

    photo: Picture
    styles: tuple[Style, ...]
    flags: InetworkOptions
    run: Run
    encoder: str
    size: Size
    masking: Masking
    color_mask: ReadMask | None = None

    @property
    def frame(self) -> Size:
        """(height, width) of the saved result; it always has the photo's aspect ratio."""
        height, width = self.photo.size
        rows = self.flags.image_size
        return self.photo.size if self.flags.rescale_image == "True" else (rows, max(1, int(rows * width / height)))


@in_known_state
def request_for(photo: Picture, styles: Sequence[Style], flags: InetworkOptions, run: Run) -> InetworkRequest:
    """Determine the size and the encoder, and read the masks.

    Raises:
        OptionError, ShapeError: the number of masks differs from the number of styles, or the photo is too narrow.
    """
    if flags.style_masks and len(flags.style_masks) != len(styles):
        raise OptionError(f"--style_masks has {len(flags.style_masks)} files for {len(styles)} styles; give one for each style")
    height, width = photo.size
    rows = flags.image_size
    columns = int(rows * width / height) if flags.maintain_aspect_ratio == "True" else rows
    if columns < SMALLEST_SIDE:
        raise ShapeError(
            f"content {photo.name!r} of {width}x{height} pixels would be {columns} wide at --image_size {rows}; it must be at "
            f"least {SMALLEST_SIDE}: use --image_size {math.ceil(SMALLEST_SIDE * height / width)} or more, or crop it"
        )
    masking = masking_of(photo, styles, flags)
    color_mask = read_mask(flags.color_mask, photo, "--color_mask") if flags.color_mask else None
    return InetworkRequest(photo, tuple(styles), flags, run, encoder_for(flags.model), (rows, columns), masking, color_mask)


def encoder_for(model: str) -> str:
    """Return the name of the encoder: the model, or vgg19-slim if the weights of the model are not on this machine."""
    try:
        if model != _SLIM:
            find(model)
    except WeightsError:
        return _SLIM
    return model


def settled_options(request: InetworkRequest) -> PaintOptions:
    """Convert INetwork's flags to impasto's options."""
    flags = request.flags
    layers = tuple(layer.replace("conv", "relu") for layer in layers_of(request.encoder))
    given = flags.style_weight if len(flags.style_weight) == len(request.styles) else (1.0,) * len(request.styles)
    total = sum(flags.style_weight)
    if flags.style_masks:
        total /= len(flags.style_weight)  # the weight of a region is that of its style, divided by the mean weight
    return paint_options(
        "inetwork-fixed",
        size=max(request.size),
        encoder=request.encoder,
        content_weight=flags.content_weight * content_share(flags, request.size),
        style_weight=total * flags.style_scale,
        style_weights=given if total else (),
        content_layers=(flags.content_layer.replace("conv", "relu"),),
        style_layers=layers,
        layer_weights=inetwork_weights(len(layers), last=1.0),
        smoothness_weight=flags.total_variation_weight,
        pooling="max" if flags.pool_type == "max" else "plain-average",
        init={"gray": "content"}.get(flags.init_image, flags.init_image),
        steps=flags.num_iter,
    )


def content_share(flags: InetworkOptions, size: Size) -> float:
    """Return the factor by which ``--content_loss_type`` scales the content loss.

    It depends on the number of pixels of the picture, not of the layer.
    """
    channels, pixels = FULL_WIDTHS[int(flags.content_layer[4]) - 1], size[0] * size[1]
    return {0: 1.0, 1: 1 / (2 * math.sqrt(channels * pixels)), 2: 1 / (channels * pixels)}[flags.content_loss_type]


@in_known_state
def set_up(request: InetworkRequest) -> PaintingContext:
    """Build the painting context.

    Raises:
        ImpastoError: if the inputs cannot be painted; the message uses the names of INetwork's flags.
    """
    check_history_memory(request)
    image = resize(request.photo.image, request.size)
    if request.flags.init_image == "gray":
        image = luminance_of(image).expand_as(image)
    photo = dataclasses.replace(request.photo, image=image, alpha=None)
    try:
        return gatys.set_up(photo, request.styles, settled_options(request), request.run, request.masking)
    except ResourceError as error:
        raise ResourceError(f"{str(error).replace('--size', 'a longer side of')}; --image_size is the height") from error


def check_history_memory(request: InetworkRequest) -> None:
    """Raise unless the history of L-BFGS-B fits into memory; called before the photo is enlarged.

    Raises:
        ResourceError: not enough memory; the message says which size would fit.
    """
    free = available_memory(torch.device("cpu"))
    needed = request.size[0] * request.size[1] * 3 * 8 * _PICTURES_REMEMBERED
    if free is None or needed <= free:
        return
    rows, fits = request.flags.image_size, int(request.flags.image_size * math.sqrt(free / needed) * 0.5)
    raise ResourceError(
        f"--image_size {rows} needs at least {amount(needed)} of memory, but only {amount(free)} are free; "
        f"--image_size {fits} may fit"
    )


def repairs(request: InetworkRequest) -> list[str]:
    """Return messages about the defects of INetwork that this run fixes, and about flags that it replaces or ignores."""
    flags, weights, count = request.flags, len(request.flags.style_weight), len(request.styles)
    messages = {
        f"the weights of {flags.model} are not on this machine, so {_SLIM} is used; to get them: impasto weights "
        f"fetch {flags.model}": flags.model != request.encoder,
        f"--style_weight has {weights} values for {count} styles; their sum is divided equally among the styles": weights
        != count,
        "fixed: the last layer is optimized towards the style like the others; INetwork pushes it away from the style": True,
        "fixed: a style picture keeps its aspect ratio; INetwork stretches it to that of the photo": any(
            isinstance(style, Picture) and not _alike(style.size, request.size) for style in request.styles
        ),
        "fixed: --init_image is a file unless it is exactly content, noise or gray; INetwork searches for these words in the "
        "file name": any(word in flags.init_image and word != flags.init_image for word in ("content", "noise", "gray")),
        "fixed: --min_improvement applies from the second iteration; INetwork stops after the first": flags.min_improvement > 0,
        "fixed: masks may have any size and gray values; the whole style picture is measured, its mask applies to the photo, "
        "and the photo is kept where no mask applies": bool(flags.style_masks or flags.content_mask or flags.color_mask),
        "fixed: --preserve_color combines the lightness of the painting with the colors of the photo; INetwork's result is "
        "nearly black": flags.keeps_colors,
        "--color_mask has no effect without --preserve_color True": bool(flags.color_mask) and not flags.keeps_colors,
    }
    return [message for message, applies in messages.items() if applies]


def mask_notes(request: InetworkRequest) -> Iterator[str]:
    """Yield notes: how masks were converted, and which masks have no effect."""
    yield from request.masking.notes
    if request.color_mask:
        yield from (f"{request.color_mask.name}: {note}" for note in request.color_mask.notes)
        if float(request.color_mask.mask.max()) == 0:
            yield f"{request.color_mask.name}: the mask is entirely black, so no colors are kept"


def _alike(a: Size, b: Size) -> bool:
    return abs(math.log(a[0] * b[1] / (a[1] * b[0]))) < 0.02


# ---------------------------------------------------------------------------------------------------- optimization


@dataclass
class Round:
    """Summary of the evaluations of one iteration: their number, the lowest total loss, and the single losses at that point."""

    least: float = math.inf
    losses: dict[str, float] = field(default_factory=dict)
    count: int = 0


@in_known_state
def iterations(request: InetworkRequest, context: PaintingContext) -> Iterator[Step]:
    """Paint; yield a step after each iteration. To cancel, stop iterating.

    Each iteration runs SciPy's L-BFGS-B on pixels from 0 to 255 and discards the history afterwards. It makes at most 20
    evaluations, or a few more if a line search has to finish, as in INetwork.

    Yields:
        Steps whose ``image`` is the picture that would be saved, (1, 3, height, width). If the objective did not decrease, the
        last step has a ``failure``; this is not checked if the initial picture is a file.
    """
    objective = objective_of(request, context)
    picture, began, before = drawn(context.start), seconds_now(), math.inf
    history = [value_of(context, objective, picture)]
    total = request.flags.num_iter
    for number in range(1, total + 1):
        found, losses = run_iteration(context, objective, picture)
        loss, note = sum(losses.values()), ""
        if not math.isfinite(loss) or not bool(torch.isfinite(found).all()):
            note, total = "the loss is no longer finite; this is the last valid picture", number
        else:
            picture = found
            improvement = 100 * (before - loss) / abs(before) if math.isfinite(before) and before else math.inf
            if improvement < request.flags.min_improvement:
                note, total = f"improved by {improvement:.2g} %, less than --min_improvement", number
            before = loss
            history.append(loss)
        seconds = seconds_now() - began
        left = seconds / number * (total - number)
        step = Step(number, total, 0, request.size, losses, shown(request, context, picture), seconds, left, note)
        if number == total and context.options.init in INITS:
            failure = failure_of(history, EVALUATIONS * number, picture, partial(value_of, context, objective))
            step = dataclasses.replace(step, failure=failure)
        yield step
        if number == total:
            return


def value_of(context: PaintingContext, objective: Objective, picture: Image) -> float:
    """Evaluate the objective at a picture."""
    with torch.no_grad():
        features = context.arithmetic.encode(context.encoder, picture, objective.layers - {PIXELS})
        return float(objective({**features, PIXELS: picture})[0])


def run_iteration(context: PaintingContext, objective: Objective, picture: Image) -> tuple[Image, dict[str, float]]:
    """Run one iteration; return the new picture and its losses by name."""
    best = Round()
    evaluate = _evaluation(context, objective, picture, best)
    start = (picture.detach().cpu().double() * _RANGE).flatten().numpy()
    values, _, _ = fmin_l_bfgs_b(evaluate, start, maxfun=EVALUATIONS)
    return torch.from_numpy(values / _RANGE).to(picture).reshape(picture.shape), best.losses


def _evaluation(
    context: PaintingContext, objective: Objective, picture: Image, best: Round
) -> Callable[[npt.NDArray[np.float64]], tuple[float, npt.NDArray[np.float64]]]:
    """Return a function for SciPy that takes pixels (0 to 255) and returns the loss and its gradient."""

    def evaluate(values: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        with torch.enable_grad():
            x = torch.from_numpy(values / _RANGE).to(picture).reshape(picture.shape).requires_grad_()
            features = {**context.arithmetic.encode(context.encoder, x, objective.layers - {PIXELS}), PIXELS: x}
            total, losses = objective(features)
            (gradient,) = torch.autograd.grad(total, x)
        best.count += 1
        loss = float(total.detach())
        if loss < best.least or not best.losses:
            best.least, best.losses = loss, {name: float(value) for name, value in losses.items()}
        return loss, (gradient.cpu().double() / _RANGE).flatten().numpy()

    return evaluate


# ---------------------------------------------------------------------------------------------------- masks, colors, sizes


def objective_of(request: InetworkRequest, context: PaintingContext) -> Objective:
    """Build the objective; see :func:`impasto.recipes.objectives.objective_at`."""
    return objectives.objective_at(context, request.size)


def masking_of(photo: Picture, styles: Sequence[Style], flags: InetworkOptions) -> Masking:
    """Read the style and content masks.

    Raises:
        ImpastoError: a mask cannot be used; the message uses the names of INetwork's flags.
    """
    try:
        found = read_masking(MaskSources(flags.style_masks, (), flags.content_mask or None), photo, styles)
    except OptionError as error:
        raise OptionError(_with_their_flags(str(error))) from error
    return found if found is NO_MASKS else dataclasses.replace(found, notes=tuple(map(_with_their_flags, found.notes)))


def _with_their_flags(sentence: str) -> str:
    return sentence.replace("--style-mask", "--style_masks").replace("--content-mask", "--content_mask")


@in_known_state
def shown(request: InetworkRequest, context: PaintingContext, picture: Image) -> Image:
    """Return the picture to save.

    The picture is clamped, the kept parts of the photo are inserted, the photo's colors are applied if requested, and the
    result is resized.
    """
    flags = request.flags
    picture = Restored(context.content, context.region_masks.kept, context.margin)(picture.detach().clamp(0, 1)).cpu()
    if flags.keeps_colors:
        mask = resize(request.color_mask.mask, request.size) if request.color_mask else None
        picture = in_colors_of(resize(request.photo.image, request.size), picture, mask)
    return rescaled(picture, request.frame, flags.rescale_method)


def in_colors_of(photo: Image, picture: Image, mask: Mask | None = None) -> Image:
    """Combine the lightness of a picture with the colors of the photo: replace Cb and Cr.

    Args:
        photo: (1, 3, height, width) in [0, 1].
        picture: (1, 3, height, width) in [0, 1], at the same size.
        mask: where colors are replaced, (1, 1, height, width); None: everywhere.
    """
    changed = with_colors_of(photo, picture, "ycbcr")
    return changed if mask is None else torch.lerp(picture, changed, mask)


def rescaled(image: Image, size: Size, method: RescaleMethod) -> Image:
    """Resize with one of INetwork's methods; bilinear and bicubic use antialiasing when the picture shrinks."""
    if (image.shape[-2], image.shape[-1]) == size:
        return image
    if method == "nearest":
        return F.interpolate(image, size=size, mode="nearest-exact")
    return F.interpolate(image, size=size, mode=method, align_corners=False, antialias=True).clamp(0, 1)


# ---------------------------------------------------------------------------------------------------- the result


@in_known_state
def pastiche_of(request: InetworkRequest, context: PaintingContext, step: Step) -> Pastiche:
    """Create the pastiche of an iteration, with the photo's transparency and metadata."""
    alpha = None if request.photo.alpha is None else resize(request.photo.alpha, (step.image.shape[-2], step.image.shape[-1]))
    return Pastiche(step.image, alpha, request.photo.metadata, record_of(request, context, step))


def record_of(request: InetworkRequest, context: PaintingContext, step: Step) -> Record:
    """Create the record of an iteration, with INetwork's flags and the resulting options."""
    begun = new_record(request.photo, request.styles, context.options, request.run, context.encoder.sha256)
    return {
        **begun,
        "recipe": "inetwork",
        "inetwork": dataclasses.asdict(request.flags),
        **request.masking.record,
        "steps": {"done": step.number, "planned": request.flags.num_iter, "scale": 0, "size": list(step.size)},
        "losses": {name: float(f"{value:.6g}") for name, value in step.losses.items() if math.isfinite(value)},
        "seconds": round(step.seconds, 2),
        **({"notes": [step.failure]} if step.failure else {}),
    }
