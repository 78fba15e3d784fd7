"""Train a brush for one style; the command line and the studio iterate over the training steps."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from impasto._version import __version__
from impasto.encoders import load_encoder
from impasto.encoders.precision import Arithmetic, choose_device, has_fast_bf16
from impasto.encoders.precision import prepared as in_precision
from impasto.errors import ImageFileError, WeightsError
from impasto.images import Picture, fitted_size, resize
from impasto.networks.brush_files import load_brush, save_brush
from impasto.networks.decoder_files import load_decoder, shipped_decoder
from impasto.networks.johnson import LAYOUTS, Johnson
from impasto.options import Run
from impasto.options.brush import BrushTrainingOptions
from impasto.recipes.instant_painter import InstantPainter
from impasto.recipes.pastiche import described
from impasto.recipes.starts import Style, as_swatches
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image
from impasto.training.brush import BrushStep, BrushTraining, BrushWeights, StyleTargets
from impasto.training.distributed import join
from impasto.training.teacher import Teacher, painted_px

FEWEST_PHOTOS = 2
SAMPLES = 4
_SAMPLE_PX = 256
_STYLE_MULTIPLE = 16
_SMALLEST_STYLE_PX = 32
_CURVE_SECONDS = 30.0
_MOST_POINTS = 400


@dataclass
class BrushRun:
    """A training run, and everything that is written into the brush.

    Attributes:
        training: the training run.
        samples: photos for the sample strip, (1, 3, side, side) each.
        facts: metadata of the brush that is known before the training.
        curve: points of the training curve: seconds, step, and the losses averaged since the last point.
    """

    training: BrushTraining
    samples: tuple[Image, ...]
    facts: dict[str, str]
    curve: list[dict[str, float]] = field(default_factory=list)
    _recent: list[BrushStep] = field(default_factory=list)

    def steps(self) -> Iterator[BrushStep]:
        """Train, and record the training curve."""
        for step in self.training.steps():
            self._recent.append(step)
            if step.seconds - (self.curve[-1]["seconds"] if self.curve else 0) >= _CURVE_SECONDS or self.training.progress >= 1:
                self._add_point()
            yield step

    def losses(self) -> dict[str, float]:
        """Return the latest losses, averaged over recent steps."""
        if self._recent:
            return _mean_losses(self._recent)
        return {
            name: value for name, value in (self.curve[-1] if self.curve else {}).items() if name not in ("seconds", "step")
        }

    @in_known_state
    @torch.no_grad()
    def strip(self) -> Image:
        """Paint the sample photos, and return a strip of (1, 3, 2 * side, samples * side): the photos above the results."""
        network, device = self.training.averaged_network(), self.training.device
        painted = [network(photo.to(device)).clamp(0, 1).cpu() for photo in self.samples]
        return torch.cat([torch.cat(self.samples, 3), torch.cat(painted, 3)], 2)

    def save(self, path: Path) -> None:
        """Write the brush in its present state."""
        training = self.training
        figures = {name: float(f"{value:.4g}") for name, value in self.losses().items()}
        save_brush(
            path,
            training.averaged_network(),
            self.facts
            | {
                "steps": str(training.number),
                "minutes": f"{training.seconds / 60:.1f}",
                "losses": json.dumps(figures),
                "curve": json.dumps(_thinned(self.curve)),
            },
        )

    def save_checkpoint(self, path: Path) -> None:
        """Write a checkpoint to resume from."""
        self.training.save(path, curve=json.dumps(self.curve), style=self.facts["style"])

    def resume(self, path: Path) -> None:
        """Resume from a checkpoint.

        Raises:
            WeightsError: the checkpoint belongs to another style.
        """
        values = self.training.resume(path)
        if values["style"] != self.facts["style"]:
            name = json.loads(values["style"])["name"]
            raise WeightsError(f"checkpoint '{path}' belongs to style '{name}'; use --new to start again")
        self.curve = json.loads(values["curve"])

    def _add_point(self) -> None:
        last = self._recent[-1]
        self.curve.append({"seconds": round(last.seconds, 1), "step": last.number, **_mean_losses(self._recent)})
        self._recent.clear()


@in_known_state
def new_run(
    style: Style,
    photos: Sequence[Tensor],
    options: BrushTrainingOptions,
    run: Run | None = None,
    *,
    start: str | Path | None = None,
) -> BrushRun:
    """Prepare the training of a brush.

    Args:
        style: the style; for a named style, its swatch is used.
        photos: training photos, each (3, height, width), uint8; see :mod:`impasto.training.photos`.
        options: the training options.
        run: device and seed.
        start: a brush to start from instead of random weights; its layout replaces ``options.network``.

    Raises:
        ImageFileError: there are too few photos, or the style is too small.
        WeightsError: the brush to start from cannot be read.
    """
    run = run or Run()
    if len(photos) < FEWEST_PHOTOS:
        raise ImageFileError(
            f"there are {len(photos)} readable photos; training needs at least {FEWEST_PHOTOS}, and at least 50 are recommended"
        )
    (picture,) = as_swatches([style])
    if min(picture.size) < _SMALLEST_STYLE_PX:
        height, width = picture.size
        raise ImageFileError(
            f"'{picture.name}' is {width} x {height} pixels; a style needs sides of {_SMALLEST_STYLE_PX} or more "
            "to train a brush; give a larger picture"
        )
    image = _fitted_style(picture, options.style_size)
    device = join(torch.device(choose_device(run.device)))
    new = Johnson(LAYOUTS[options.network]).initialize(torch.Generator().manual_seed(run.seed))
    network = load_brush(start) if start else new
    encoder = load_encoder().to(device)
    if has_fast_bf16(device):
        in_precision(Arithmetic(device, "bf16"), encoder)
    spread = load_decoder(shipped_decoder()).spread.to(device)
    targets = _targets(image.to(device), encoder.requires_grad_(False), spread)
    training = BrushTraining(
        network.to(device).train().requires_grad_(True),
        encoder,
        targets,
        photos,
        seconds=0.0 if options.steps else 60 * options.minutes,
        total_steps=options.steps,
        learning_rate=options.learning_rate,
        edge_px=options.edge,
        batch=options.batch,
        seed=run.seed,
        weights=BrushWeights(
            neighbor=options.neighbor_weight,
            style=options.style_weight,
            tone=options.tone_weight,
            content=options.content_weight,
            smoothness=options.smoothness_weight,
            stability=options.stability_weight,
        ),
        teacher=_teacher(picture, options, run) if options.teacher_share else None,
        teacher_share=options.teacher_share,
    )
    return BrushRun(training, tuple(_sample(each) for each in photos[:SAMPLES]), _facts(style, options, run, len(photos)))


def _teacher(picture: Picture, options: BrushTrainingOptions, run: Run) -> Teacher:
    """Return a function that paints a photo with the instant painter, with strokes of the size that the brush should learn."""
    painter = InstantPainter(Run(device=run.device, precision=run.precision), "torch")
    code = painter.encode_picture(picture.image, stroke=options.style_size / painted_px(options.edge))
    return lambda photo: painter.paint(photo, code)


def _targets(image: Image, encoder: nn.Module, spread: Tensor) -> StyleTargets:
    with torch.no_grad(), torch.autocast(image.device.type, torch.bfloat16, enabled=has_fast_bf16(image.device)):
        return StyleTargets([image], encoder, spread)  # type: ignore[arg-type]


def _fitted_style(picture: Picture, longer_px: int) -> Image:
    """Resize a style to its size for training, with sides that are multiples of 16."""
    size = fitted_size(picture.size, longer_px)
    height, width = (max(1, round(side / _STYLE_MULTIPLE)) * _STYLE_MULTIPLE for side in size)
    return resize(picture.image, (height, width))


def _sample(photo: Tensor) -> Image:
    """Crop a photo to its middle square, (1, 3, side, side)."""
    side = min(photo.shape[1:])
    top, left = ((length - side) // 2 for length in photo.shape[1:])
    middle = photo[None, :, top : top + side, left : left + side].float() / 255
    return resize(middle, (_SAMPLE_PX, _SAMPLE_PX)).clamp(0, 1)


def _facts(style: Style, options: BrushTrainingOptions, run: Run, photos: int) -> dict[str, str]:
    given = described(style)
    facts = getattr(style, "facts", {})
    return {
        "name": Path(given["name"]).stem,
        **{name: str(facts[name]) for name in ("title", "artist", "date", "source", "licence") if name in facts},
        "style": json.dumps(given),
        "photos": str(photos),
        "options": json.dumps(asdict(options)),
        "seed": str(run.seed),
        "impasto": __version__,
        "torch": torch.__version__,
    }


def _mean_losses(steps: Sequence[BrushStep]) -> dict[str, float]:
    names = steps[-1].losses
    return {name: float(f"{sum(each.losses[name] for each in steps) / len(steps):.5g}") for name in names}


def _thinned(curve: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """Keep at most 400 points of a curve."""
    every = -(-len(curve) // _MOST_POINTS) or 1
    return list(curve[::every])
