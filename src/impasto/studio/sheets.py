"""What a worker lays out on a sheet with figures: results that are measured, and settings that are tried."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from impasto.images import Picture
from impasto.options import ReportOptions, Run
from impasto.pastiche import Pastiche, Record, recorded
from impasto.recipes.judging import judged, judged_sheet
from impasto.recipes.starts import Style
from impasto.recipes.tuning import Trial, Tuning, grid, most_tries, trials, tune_options
from impasto.report import KINDS
from impasto.studio.painting_state import Pace, write_preview
from impasto.studio.worker import Line, Message


def measured(photo: Picture, styles: Sequence[Style], results: Sequence[Picture], order: Message) -> Pastiche:
    """Measure results.

    Returns:
        The sheet; its record has the figures of each result, and what each figure means.
    """
    weights = ReportOptions(**order["options"]).style_weights
    if len(results) > 1:  # they are results of one photo, and so have its name
        results = [replace(each, name=f"{number}. {each.name}") for number, each in enumerate(results, 1)]
    reports = judged(photo, styles, results, weights)
    record = recorded("report", photo, styles, Run(**order["run"])) | {
        "options": {"style_weights": list(weights)},
        "figures": [_described(name) for name in KINDS],
        "reports": [each.as_dict() for each in reports],
    }
    return Pastiche(judged_sheet(photo, styles, results, reports), None, None, record)


def tried(photo: Picture, style: Style, order: Message, line: Line) -> Pastiche | None:
    """Try settings, with the sheet so far as the preview; None where it was stopped before its end.

    Returns:
        The sheet; its record has the knobs and the figures of each trial, and which is best.
    """
    options, run = tune_options(**order["options"]), Run(**order["run"])
    count = most_tries(options) if options.wanted_style else len(grid(options))
    found: list[Trial] = []
    pace, began = Pace("preview"), time.perf_counter()
    for trial in trials(photo, style, options, run):
        found.append(trial)
        if line.how == "stop":
            return None
        is_shown = pace.is_due() or len(found) == count
        if is_shown:
            at = time.monotonic()
            write_preview(Path(order["work"] + ".jpg"), Tuning(options, tuple(found)).sheet())
            pace.took(at)
        line.say("progress", progress=_progress(trial, len(found), count, time.perf_counter() - began), preview=is_shown)
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


def _progress(trial: Trial, done: int, count: int, seconds: float) -> dict[str, Any]:
    height, width = trial.image.shape[-2:]
    return {
        "step": done,
        "steps": count,
        "share": round(done / count, 4),
        "size": [width, height],
        "losses": {},
        "seconds": round(seconds, 1),
        "seconds_left": round(seconds / done * (count - done), 1),
        "note": trial.caption,
    }


def _figures(trial: Trial) -> Record:
    """Return the figures of a trial; it has no name that would say anything."""
    return {name: value for name, value in trial.report.as_dict().items() if name != "result"}


def _described(name: str) -> Record:
    kind = KINDS[name]
    return {"name": name, "title": kind.title, "meaning": kind.meaning, "better": kind.better, "bound": kind.bound}
