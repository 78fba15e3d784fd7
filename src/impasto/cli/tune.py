"""``impasto tune``: settings tried on a sheet, or a wanted strength searched for."""

import json as json_lines
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from impasto.cli import INTERRUPTED_EXIT
from impasto.cli.flags import COMPUTED, RunFlags, TuneFlags, given
from impasto.cli.progress import narrator
from impasto.cli.signals import undisturbed
from impasto.errors import OptionError
from impasto.options import Run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from impasto.recipes.tuning import Trial, Tuning

_OPTIONS = Group("What is tried", sort_key=1)


def tune(
    content: str | None = None,
    style: str | None = None,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("tune.png"),
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    options: Annotated[TuneFlags | None, Parameter(name="*", group=_OPTIONS)] = None,
    run: Annotated[RunFlags | None, Parameter(name="*", group=COMPUTED)] = None,
) -> int:
    """Try settings on a sheet, or search for a wanted strength of the style.

    Args:
        content: The photo.
        style: The picture, or the name of the style, to paint in the manner of.
        output: The sheet of everything that was tried.
        json: Print one line of JSON for each trial, and nothing else, on the standard output.
        options: What is tried.
        run: Where it is computed.
    """
    if content is None or style is None:
        raise OptionError("content or style is missing: impasto tune CONTENT STYLE, such as impasto tune photo.jpg picture.jpg")
    from impasto.cli.outputs import check_output, save_sheet, say_notes
    from impasto.cli.session import memory_in_words
    from impasto.recipes.painting import read_content, read_style
    from impasto.recipes.tuning import Trial, Tuning, trials, tune_options

    chosen, where = tune_options(**given(options)), Run(**given(run))
    check_output(output, (content, style))
    photo, manner = read_content(content), read_style(style)
    _set_threads(where)
    found: list[Trial] = []
    with memory_in_words(chosen.size or 1024):
        is_whole = _tried(trials(photo, manner, chosen, where), found, has_json=json)
    tuning = Tuning(chosen, tuple(found))
    with undisturbed():
        saved = save_sheet(output, tuning.sheet())
    speak = narrator(quiet=False, to_stderr=json or not is_whole)
    for line in (f"{saved.name}: {len(found)} trials", *(_advice(tuning, (content, style)) if is_whole else ())):
        speak.print(line)
    code = say_notes(saved)
    return code if is_whole else INTERRUPTED_EXIT


def _tried(trials: "Iterable[Trial]", found: "list[Trial]", *, has_json: bool) -> bool:
    """Try one after another and say how it went; return whether that came to its end, and nobody interrupted it."""
    console = narrator(quiet=False)
    try:
        for trial in trials:
            found.append(trial)
            console.print(trial.caption)
            if has_json:
                print(json_lines.dumps({"options": dict(trial.knobs), "report": trial.report.as_dict()}), flush=True)
    except KeyboardInterrupt:
        if not found:
            raise
        return False
    return True


def _advice(tuning: "Tuning", words: tuple[str, str]) -> list[str]:
    """Say which command paints what was found; of a sheet, how to paint one of its pictures."""
    options = tuning.options
    command = ["impasto", options.recipe, *words]
    if not options.wanted_style:
        return [f"to paint one: {shlex.join([*command, *tuning.best.flags])}"]
    wanted, best = options.wanted_style, tuning.best.style_closed
    lines = [f"to paint it: {shlex.join([*command, *tuning.best.flags])}"]
    if not tuning.is_found:
        lines.insert(0, f"a style of {wanted:g} was not found; the nearest is {best:.2f}{_further(tuning)}")
    if options.recipe == "paint":
        height, width = tuning.best.image.shape[-2:]
        lines.append(
            f"tried at {width}x{height} pixels with {options.steps} steps at the last size; look at the result with --report"
        )
    return lines


def _further(tuning: "Tuning") -> str:
    if tuning.best.style_closed > tuning.options.wanted_style or tuning.options.recipe == "paint":
        return ""
    return ", as far as one pass goes; the painter goes further: --recipe paint"


def _set_threads(run: Run) -> None:
    import torch

    if run.threads:
        torch.set_num_threads(run.threads)
