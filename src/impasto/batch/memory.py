"""Predict the memory of worker processes before they start."""

from collections.abc import Sequence
from functools import lru_cache, partial

import torch

from impasto.batch.methods import BatchOptions
from impasto.batch.pairs import Pair
from impasto.batch.work import Settings
from impasto.encoders import load_encoder
from impasto.encoders.precision import choose_arithmetic, choose_device
from impasto.errors import ImpastoError, ResourceError
from impasto.images import fitted_size, reduced_size
from impasto.images.files import size_in_header
from impasto.networks.brush_files import load_brush
from impasto.networks.compiled import has_openvino
from impasto.options import PaintOptions, Run
from impasto.options.brush import BrushOptions
from impasto.recipes import brush, checks, instant_checks
from impasto.runtime.amounts import amount
from impasto.runtime.memory import available_memory

_PROGRAM_BYTES = 200 * 2**20
"""Memory of a worker process that has painted nothing. Measured: 168 to 178 MiB, without
PyTorch's code, which the processes share."""
_OPENVINO_FACTOR = 3.0
"""Memory of the instant painter if PyTorch paints the first picture and OpenVINO the others, divided by that of PyTorch only.
Measured: 2.9 at 512 and 1024 px."""
_MOST_LOOKED_AT = 200


def check_workers(workers: int, pairs: Sequence[Pair], settings: Settings) -> None:
    """Check that several workers fit into the free memory. A single worker checks the memory for each picture.

    Raises:
        ResourceError: not enough memory; the message says how many workers would fit.

    Args:
        workers: number of worker processes on this machine.
        pairs: the pairs to paint.
        settings: the common settings of all items.

    Example:
        >>> from impasto.options import InstantOptions
        >>> check_workers(1, [Pair("photo.jpg", "starry-night", InstantOptions())], Settings(method="instant"))
    """
    if workers == 1:
        return
    free = available_memory(torch.device(choose_device(settings.run.device)))
    each = memory_of_worker(pairs, settings)
    if free is None or workers * each <= free:
        return
    fits = int(free // each)
    advice = f"--workers {fits} would fit" if fits else "use --workers 1 and a smaller --size, or close other programs"
    raise ResourceError(
        f"--workers {workers} needs about {amount(workers * each)}, {amount(each)} for each worker, but only "
        f"{amount(free)} are free; {advice}"
    )


def memory_of_worker(pairs: Sequence[Pair], settings: Settings) -> int:
    """Predict the peak memory, in bytes, of a worker that paints these pairs.

    If there are many pairs, only 200 of them are checked, at even intervals. Pairs that cannot be read are ignored.

    Example:
        >>> from impasto.options import InstantOptions
        >>> photo = Pair("photo.jpg", "starry-night", InstantOptions(size=64, engine="torch"))
        >>> memory_of_worker([photo], Settings(method="instant")) // 2**20
        353
    """
    step, prediction = max(1, len(pairs) // _MOST_LOOKED_AT), _Prediction(settings.run)
    return _PROGRAM_BYTES + max((prediction.of(pair) for pair in pairs[::step]), default=0)


def memory_of_frames(size: tuple[int, int], style: str, options: BatchOptions, run: Run) -> int:
    """Predict the peak memory, in bytes, of a worker that paints frames of a clip.

    Args:
        size: (height, width) of the frames.
        style: the brush; not used for other methods, which need about the same memory for any style.
        options: of the method.
        run: device and precision.

    Example:
        >>> from impasto.options import InstantOptions
        >>> small, large = (
        ...     memory_of_frames(size, "", InstantOptions(engine="torch"), Run()) for size in ((48, 64), (480, 640))
        ... )
        >>> 300 * 2**20 < small < large
        True
    """
    return _PROGRAM_BYTES + _Prediction(run).of_size(size, Pair("", style, options))


class _Prediction:
    """Predictor for the memory of single pictures. Headers, networks and encoders are read only once."""

    def __init__(self, run: Run) -> None:
        self._size = lru_cache(None)(size_in_header)
        self._max_memory = round(run.max_memory * 2**30)
        self._brush = lru_cache(1)(load_brush)
        self._encoder = lru_cache(1)(load_encoder)
        self._arithmetic = lru_cache(1)(partial(choose_arithmetic, run))
        self._is_compiled = choose_device(run.device) == "cpu" and has_openvino()

    def of(self, pair: Pair) -> int:
        """Return the memory, in bytes, that painting a pair needs; 0 if it will fail."""
        try:
            size = self._size(pair.content)
            return 0 if size is None else self.of_size(size, pair)
        except (ImpastoError, OSError):
            return 0

    def of_size(self, size: tuple[int, int], pair: Pair) -> int:
        """Return the memory, in bytes, of painting a photo of a size."""
        options = pair.options
        if isinstance(options, PaintOptions):
            return self._paint(size, options)
        fitted = reduced_size(size, options.size)
        if isinstance(options, BrushOptions):
            return brush.predicted_memory(self._brush(pair.style), fitted, options)
        one_pass = instant_checks.predicted_memory(fitted, is_colored=options.color != "style")
        if self._is_compiled and options.engine != "torch":
            one_pass = round(one_pass * _OPENVINO_FACTOR)
        return max(one_pass, self._paint(fitted, PaintOptions(size=max(32, *fitted)))) if options.goes_on else one_pass

    def _paint(self, size: tuple[int, int], options: PaintOptions) -> int:
        encoder = self._encoder(options.encoder)
        arithmetic = self._arithmetic(encoder, full_precision=options.optimizer == "lbfgs")
        whole = checks.predicted_memory(encoder, fitted_size(size, options.size), options, arithmetic)
        if not self._max_memory or checks.reason_for_whole(options):
            return whole
        return min(whole, max(0, self._max_memory - _PROGRAM_BYTES))  # painted in tiles that keep to the limit
