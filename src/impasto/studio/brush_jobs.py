"""Train a brush in a worker: photos, progress, sample strips and checkpoints."""

import math
import time
from collections.abc import Iterable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from impasto._version import __version__
from impasto.errors import ImageFileError
from impasto.images import Picture
from impasto.networks.brush_files import load_brush
from impasto.networks.brush_onnx import brush_graph
from impasto.networks.onnx_graph import save_graph
from impasto.options import Run
from impasto.options.brush import BrushTrainingOptions
from impasto.recipes.brush_training import BrushRun, new_run
from impasto.recipes.pastiche import Pastiche, Record, described
from impasto.recipes.starts import Style
from impasto.studio.brushes import GRAPH_SUFFIX, SUFFIX
from impasto.studio.faults import fault
from impasto.studio.painting_state import Pace, write_preview
from impasto.studio.worker import Line, Message
from impasto.training.photos import as_training_photo, built_in_photos

_STRIP_PX = 1024
_FIRST_STRIP_SECONDS = 10.0


def trained(style: Style, photos: Iterable[Picture], order: Message, line: Line) -> tuple[Pastiche, float] | None:
    """Train a brush, or continue its training, and write the brush file next to the result.

    Args:
        style: the style.
        photos: training photos, which are read one by one; without any, the built-in ones are used. Photos that are too small
            are skipped.
        order: the order.
        line: the connection to the parent.

    Returns:
        The sample strip with its record, and the seconds of training; None if the parent requests a stop.
    """
    options, run = BrushTrainingOptions(**order["options"]), Run(**order["run"])
    readable, notes = _for_training(photos)
    training = new_run(style, readable or built_in_photos(run.seed), options, run)
    checkpoint = _checkpoint(order)
    if order["checkpoint"] and checkpoint.is_file():
        training.resume(checkpoint)
    if not order["finish"] and not _train(training, order, line):
        return None
    path = Path(order["result"] + SUFFIX)
    training.save(path)
    _write_graph(path, options)
    return Pastiche(
        training.strip(), None, None, _record(style, options, run, training) | {"notes": notes}
    ), training.training.seconds


def _for_training(photos: Iterable[Picture]) -> tuple[list[Tensor], list[str]]:
    """Reduce photos to the size for training. Also return a note for each photo that is too small.

    Raises:
        ImageFileError: all photos are too small.
    """
    found: list[Tensor] = []
    errors: list[ImageFileError] = []
    for photo in photos:
        try:
            found.append(as_training_photo(photo.image, photo.name))
        except ImageFileError as error:
            errors.append(error)
    if errors and not found:
        raise errors[0]
    return found, [f"skipped: {error}" for error in errors]


def _write_graph(brush: Path, options: BrushTrainingOptions) -> None:
    """Write the graph of a small brush next to the brush file, for the webcam page. Without onnx, no graph is written."""
    if options.network == "small" and find_spec("onnx"):
        save_graph(brush.with_suffix(GRAPH_SUFFIX), brush_graph(load_brush(brush)))


def _train(training: BrushRun, order: Message, line: Line) -> bool:
    """Train to the end, or until the parent asks for the current brush. Return False if the parent requests a stop."""
    paces = {what: Pace(what) for what in ("progress", "sample", "training")}
    paces["training"].took(time.monotonic())
    paces["sample"].due = time.monotonic() + _FIRST_STRIP_SECONDS
    for _ in training.steps():
        is_last = training.training.progress >= 1 or bool(line.how)
        has_strip = (paces["sample"].is_due() or is_last) and _write_strip(training, order, paces["sample"])
        if has_strip or paces["progress"].is_due():
            line.say("progress", progress=_progress(training), preview=has_strip)
            paces["progress"].took(time.monotonic())
        if line.how == "stop" or paces["training"].is_due():
            _save(training, order, line, paces["training"])
        if line.how:
            return line.how == "finish"
    return True


def _write_strip(training: BrushRun, order: Message, pace: Pace) -> bool:
    began = time.monotonic()
    is_written = write_preview(Path(order["work"] + ".jpg"), training.strip(), _STRIP_PX)
    pace.took(began)
    return is_written


def _save(training: BrushRun, order: Message, line: Line, pace: Pace) -> None:
    """Save a checkpoint. If the disk is full, the previous checkpoint is kept."""
    began = time.monotonic()
    try:
        training.save_checkpoint(_checkpoint(order))
    except (OSError, RuntimeError) as error:
        if not fault(error):
            raise
    else:
        run = training.training
        facts = {"done": run.number, "scale": 0, "here": run.number, "seconds": round(run.seconds, 2)}
        line.say("checkpoint", checkpoint=facts)
    pace.took(began)


def _checkpoint(order: Message) -> Path:
    return Path(order["work"] + ".pt")


def _progress(training: BrushRun) -> dict[str, Any]:
    run = training.training
    share = min(1.0, run.progress)
    strip = training.samples[0].shape[-1]
    return {
        "step": run.number,
        "steps": max(run.number, round(run.number / share)) if share else 0,
        "share": round(share, 4),
        "size": [strip * len(training.samples), 2 * strip],
        "losses": _finite(training.losses()),
        "seconds": round(run.seconds, 1),
        "seconds_left": round(run.seconds * (1 - share) / share, 1) if share else None,
        "note": "",
    }


def _finite(losses: dict[str, float]) -> dict[str, float | None]:
    return {name: float(f"{value:.4g}") if math.isfinite(value) else None for name, value in losses.items()}


def _record(style: Style, options: BrushTrainingOptions, run: Run, training: BrushRun) -> Record:
    """Return the record of the sample strip. Its ``content`` is the style, whose title becomes the title of the result."""
    made = described(style)
    return {
        "impasto": __version__,
        "torch": torch.__version__,
        "recipe": "brush",
        "content": {"name": training.facts.get("title") or made["name"], "sha256": made.get("sha256", "")},
        "styles": [made],
        "run": asdict(run),
        "options": asdict(options),
        "steps": {"done": training.training.number},
        "losses": _finite(training.losses()),
        "seconds": round(training.training.seconds, 1),
    }
