"""Tuning: try several settings for a photo and a style, either in a grid or in a search for a target style value.

Nothing is trained: each trial is painted like ``impasto instant`` or ``impasto paint`` and measured like ``impasto report``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

from impasto.errors import OptionError, nearest_name
from impasto.images import Picture, Source, contact_sheet, read
from impasto.metrics.report import Report
from impasto.options import Run, TuneOptions
from impasto.options.fields import dashed
from impasto.recipes.gatys import set_up
from impasto.recipes.instant import instant_options, painted_pastiche
from impasto.recipes.instant_checks import check
from impasto.recipes.instant_painter import InstantPainter
from impasto.recipes.painting import StyleSource, read_content, read_style, run_recipe
from impasto.recipes.presets import paint_options
from impasto.recipes.reporting import reports_of
from impasto.recipes.starts import Style
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image

TOLERANCE = 0.01
_MOST_TRIES = {"instant": 10, "paint": 6}
_SIZES = {"instant": 512, "paint": 192}
_SEARCHED_PX = 1024
_STRONGEST = (1.0, 1.5)
_CELL_PX = 288

Knobs = Mapping[str, float]
Paint = Callable[[Knobs], Image]


@dataclass(frozen=True)
class Trial:
    """One setting and its result.

    Attributes:
        knobs: the options that were set, by name.
        image: the painted picture, (1, 3, height, width).
        report: the metrics of the picture.
    """

    knobs: Knobs
    image: Image
    report: Report

    @property
    def style_closed(self) -> float:
        """How much of the distance to the style was closed, as a fraction."""
        return self.report["style_closed"]

    @property
    def flags(self) -> tuple[str, ...]:
        """The knobs as command line arguments."""
        return tuple(word for name, value in self.knobs.items() for word in (dashed(name), f"{value:.3g}"))

    @property
    def caption(self) -> str:
        """The knobs and ``style_closed``."""
        settings = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in self.knobs.items())
        return f"{settings}: style {self.style_closed:.2f}"


@dataclass(frozen=True)
class Tuning:
    """The trials of a tuning run.

    Attributes:
        options: the tuning options.
        trials: the trials in order; for a sheet, row by row.

    Raises:
        ImpastoError: by :func:`impasto.tune`, which returns this object.

    Example:
        >>> import impasto
        >>> tuning = impasto.tune("photo.jpg", "picture.jpg", size=64, strengths=[0.5, 1.0], strokes=[1.0])
        >>> [trial.knobs["strength"] for trial in tuning.trials], tuning.sheet().shape[1]
        ([0.5, 1.0], 3)
    """

    options: TuneOptions
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The trial whose ``style_closed`` is nearest to the target, or to 1 if there is no target."""
        wanted = self.options.wanted_style or 1.0
        return min(self.trials, key=lambda trial: abs(trial.style_closed - wanted))

    @property
    def is_found(self) -> bool:
        """Whether ``style_closed`` of the best trial differs from the target by at most ``TOLERANCE``."""
        return abs(self.best.style_closed - self.options.wanted_style) <= TOLERANCE

    def sheet(self) -> Image:
        """Lay out all trials with captions: strengths in columns, strokes (or style scales) in rows."""
        columns = 4 if self.options.wanted_style else len(self.options.strengths)
        shown = [(trial.image, trial.caption) for trial in self.trials]
        return contact_sheet(shown, columns=min(columns, len(shown)), cell_px=_CELL_PX)


@in_known_state
def tune(content: Source | Picture, style: StyleSource, *, run: Run | None = None, **options: Any) -> Tuning:
    """Try several settings for a photo and a style, or search for the strength that reaches a target style value.

    Args:
        content: the photo: a path, bytes, a Pillow image, a NumPy array or a tensor.
        style: a picture in any of those forms, or the name of a style.
        run: device, precision and seed.
        options: any field of :class:`impasto.TuneOptions`.

    Returns:
        The trials. ``.best.knobs`` are options of :func:`impasto.instant` or :func:`impasto.paint`; ``.sheet()`` returns a
        picture.

    Raises:
        ImpastoError: if the inputs cannot be painted; the message is one sentence.

    Example:
        >>> import impasto
        >>> tuning = impasto.tune("photo.jpg", "picture.jpg", size=96, wanted_style=0.4)
        >>> tuning.is_found, 0 < tuning.best.knobs["strength"] < 1
        (True, True)
    """
    chosen = tune_options(**options)
    return Tuning(chosen, tuple(trials(read_content(content), read_style(style), chosen, run or Run())))


def tune_options(**options: Any) -> TuneOptions:
    """Create the tuning options.

    Raises:
        OptionError: an unknown name, or a value that is not allowed.
    """
    names = [each.name for each in fields(TuneOptions)]
    for name in options:
        if name not in names:
            raise OptionError(f"{name!r} is not an option of tune{nearest_name(name, names)}")
    return TuneOptions(**options)


@in_known_state
def trials(content: Picture, style: Style, options: TuneOptions, run: Run, *, known: Sequence[Trial] = ()) -> Iterator[Trial]:
    """Yield each trial as soon as it is painted and measured. Trials in ``known`` are not repeated."""
    paint = _instant(content, style, options, run) if options.recipe == "instant" else _small(content, style, options, run)

    def trial(knobs: Knobs) -> Trial:
        for each in known:
            if each.knobs == knobs:
                return each
        image = paint(knobs)
        return Trial(knobs, image, reports_of(content, (style,), [read(image)])[0])

    yield from searched(trial, options) if options.wanted_style else map(trial, grid(options))


def grid(options: TuneOptions) -> list[dict[str, float]]:
    """List the knobs of a sheet, row by row."""
    if options.recipe == "instant":
        return [{"strength": strength, "stroke": stroke} for stroke, strength in product(options.strokes, options.strengths)]
    return [
        {"strength": strength, "style_scale": scale} for scale, strength in product(options.style_scales, options.strengths)
    ]


def most_tries(options: TuneOptions) -> int:
    """Return the maximum number of trials in a search."""
    return _MOST_TRIES[options.recipe] + len(_STRONGEST) - 1


def searched(trial: Callable[[Knobs], Trial], options: TuneOptions) -> Iterator[Trial]:
    """Search by bisection for the strength that reaches the target style value.

    The strongest settings are tried first. If they do not reach the target, the search ends.
    """
    knobs_at, wanted = _line(options), options.wanted_style
    low = 0.0
    for high in _STRONGEST:
        latest = trial(knobs_at(high))
        yield latest
        if latest.style_closed >= wanted - TOLERANCE:
            break
    else:
        return
    for _ in range(_MOST_TRIES[options.recipe] - 1):
        if abs(latest.style_closed - wanted) <= TOLERANCE:
            return
        middle = (low + high) / 2
        latest = trial(knobs_at(middle))
        yield latest
        low, high = (middle, high) if latest.style_closed < wanted else (low, middle)


def _line(options: TuneOptions) -> Callable[[float], dict[str, float]]:
    """Return a function that gives the knobs for a strength.

    If exactly one stroke (or style scale) is given, it is used; otherwise 1 is used.
    """
    name, given = ("stroke", options.strokes) if options.recipe == "instant" else ("style_scale", options.style_scales)
    other = given[0] if len(given) == 1 else 1.0
    return lambda strength: {"strength": float(f"{strength:.3g}"), name: other}


def _instant(content: Picture, style: Style, options: TuneOptions, run: Run) -> Paint:
    painter = InstantPainter(run, "torch")  # OpenVINO would recompile for the stroke size of every trial
    size = options.size or (_SEARCHED_PX if options.wanted_style else _SIZES["instant"])
    check(content, (style,), (), instant_options(size=size))

    def paint(knobs: Knobs) -> Image:
        return painted_pastiche(painter, content, (style,), (), instant_options(size=size, **knobs)).image

    return paint


def _small(content: Picture, style: Style, options: TuneOptions, run: Run) -> Paint:
    size = options.size or _SIZES["paint"]

    def paint(knobs: Knobs) -> Image:
        chosen: dict[str, Any] = {"size": size, "steps": options.steps, **knobs}
        *_, last = run_recipe(set_up(content, (style,), paint_options(**chosen), run))
        return last.image.cpu()

    return paint
