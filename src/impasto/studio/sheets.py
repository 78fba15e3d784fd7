"""Sheets with metrics. A sheet shows measured results, or compares settings."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from impasto.images import Picture, fitted_size, resize
from impasto.metrics.report import KINDS, Report
from impasto.options import ReportOptions, Run
from impasto.recipes.pastiche import Pastiche, Record, recorded
from impasto.recipes.reporting import report_sheet, reports_of
from impasto.recipes.starts import Style
from impasto.recipes.tuning import Trial, Tuning, grid, most_tries, trials, tune_options
from impasto.runtime.devices import seconds_now
from impasto.studio.painting_state import Pace, picture_size, read_checkpoint, write_checkpoint, write_preview
from impasto.studio.worker import Line, Message
from impasto.tensors import Image

_KEPT_PX = 512


def measured(photo: Picture, styles: Sequence[Style], results: Sequence[Picture], order: Message) -> Pastiche:
    """Measure results.

    Returns:
        The sheet. Its record contains the metrics of each result and their descriptions.
    """
    weights = ReportOptions(**order["options"]).style_weights
    if len(results) > 1:  # all results of one photo have the same name
        results = [replace(each, name=f"{number}. {each.name}") for number, each in enumerate(results, 1)]
    reports = reports_of(photo, styles, results, weights)
    record = recorded("report", photo, styles, Run(**order["run"])) | {
        "options": {"style_weights": list(weights)},
        "figures": [_described(name) for name in KINDS],
        "reports": [each.as_dict() for each in reports],
    }
    return Pastiche(report_sheet(photo, styles, results, reports), None, None, record)


def tried(photo: Picture, style: Style, order: Message, line: Line) -> Pastiche | None:
    """Compare settings. The preview shows the current sheet.

    Returns:
        The sheet, or None if the job was stopped. The record of the sheet contains the options and metrics of all trials, and
        the index of the best trial.
    """
    options, run = tune_options(**order["options"]), Run(**order["run"])
    known, before = _known(order)
    found = list(known) if order["finish"] else []
    state = _Sheet(order, line, most_tries(options) if options.wanted_style else len(grid(options)), len(known), before)
    for trial in () if found else trials(photo, style, options, run, known=known):
        found.append(trial)
        if len(found) > len(known):
            state.tell(Tuning(options, tuple(found)))
        if line.how == "stop":
            state.save(found)
            return None
        if line.how == "finish":
            break
    tuning = Tuning(options, tuple(found))
    record = recorded("tune", photo, (style,), run) | {
        "options": {"recipe": options.recipe, "wanted_style": options.wanted_style},
        "trials": [{"options": dict(each.knobs), "report": _figures(each)} for each in found],
        "best": next(index for index, each in enumerate(found) if each is tuning.best),
        "found": tuning.is_found if options.wanted_style else None,
    }
    return Pastiche(tuning.sheet(), None, None, record)


class _Sheet:
    """Progress, previews and checkpoints of a sheet."""

    def __init__(self, order: Message, line: Line, count: int, known: int, before: float) -> None:
        self._order, self._line, self._count, self._known, self._before = order, line, count, known, before
        self._began = seconds_now()
        self._paces = {what: Pace(what) for what in ("preview", "checkpoint")}
        self._paces["checkpoint"].took(time.monotonic())

    def tell(self, tuning: Tuning) -> None:
        """Report the newest trial, with the sheet as the preview. Save a checkpoint every few seconds."""
        is_shown = self._paces["preview"].is_due() or len(tuning.trials) == self._count
        if is_shown:
            at = time.monotonic()
            is_shown = write_preview(Path(self._order["work"] + ".jpg"), tuning.sheet())
            self._paces["preview"].took(at)
        self._line.say("progress", progress=self._progress(tuning.trials), preview=is_shown)
        if self._paces["checkpoint"].is_due():
            at = time.monotonic()
            self.save(tuning.trials)
            self._paces["checkpoint"].took(at)

    def save(self, found: Sequence[Trial]) -> None:
        """Save a checkpoint."""
        if not write_checkpoint(self._order, torch.cat([_small(each.image) for each in found])):
            return
        tried = [{"options": dict(each.knobs), "report": _figures(each)} for each in found]
        checkpoint = {"done": len(found), "scale": 0, "here": len(found), "seconds": self._seconds(), "trials": tried}
        self._line.say("checkpoint", checkpoint=checkpoint)

    def _seconds(self) -> float:
        return self._before + seconds_now() - self._began

    def _progress(self, found: Sequence[Trial]) -> dict[str, Any]:
        done = len(found)
        height, width = found[-1].image.shape[-2:]
        left = (seconds_now() - self._began) / (done - self._known) * (self._count - done)
        return {
            "step": done,
            "steps": self._count,
            "share": round(done / self._count, 4),
            "size": [width, height],
            "losses": {},
            "seconds": round(self._seconds(), 1),
            "seconds_left": round(left, 1),
            "note": found[-1].caption,
        }


def _small(image: Image) -> Image:
    """Shrink the picture of a trial to the size that the sheet needs."""
    size = picture_size(image)
    return image if max(size) <= _KEPT_PX else resize(image, fitted_size(size, _KEPT_PX))


def _known(order: Message) -> tuple[list[Trial], float]:
    """Return the trials of earlier sessions and the total seconds of these sessions, or ([], 0) without a checkpoint file."""
    checkpoint, path = order.get("checkpoint"), Path(order["work"] + ".npy")
    if not checkpoint or not path.is_file():
        return [], 0.0
    # The file is written before the message with the checkpoint is sent, so it may contain one more trial.
    pairs = zip(checkpoint["trials"], read_checkpoint(path), strict=False)
    found = [Trial(each["options"], image[None], Report.of_dict({"result": "", **each["report"]})) for each, image in pairs]
    return found, checkpoint["seconds"]


def _figures(trial: Trial) -> Record:
    """Return the metrics of a trial without the name of its result."""
    return {name: value for name, value in trial.report.as_dict().items() if name != "result"}


def _described(name: str) -> Record:
    kind = KINDS[name]
    return {"name": name, "title": kind.title, "meaning": kind.meaning, "better": kind.better, "bound": kind.bound}
