"""``impasto tune``: compare settings on a sheet, or search for the settings that give a wanted style strength."""

import json as json_lines
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from impasto.cli import INTERRUPTED_EXIT
from impasto.cli.flags import RunFlags, TuneFlags, given
from impasto.cli.progress import message_console
from impasto.cli.signals import undisturbed
from impasto.errors import OptionError
from impasto.options import Run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from impasto.recipes.tuning import Trial, Tuning


def tune(
    content: str | None = None,
    style: str | None = None,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("tune.png"),
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    options: Annotated[TuneFlags | None, Parameter(name="*")] = None,
    run: Annotated[RunFlags | None, Parameter(name="*")] = None,
) -> int:
    """Compare settings on a sheet, or search for the settings that give a target style strength.

    Args:
        content: The photo.
        style: The style picture, or the name of a style.
        output: The sheet of all trials.
        json: Print only JSON to standard output, one line for each trial.
        options: Trials.
        run: Device and precision.
    """
    if content is None or style is None:
        raise OptionError("content or style is missing: impasto tune CONTENT STYLE, such as impasto tune photo.jpg picture.jpg")
    from impasto.cli.outputs import check_output, print_notes, save_sheet
    from impasto.cli.session import set_threads
    from impasto.recipes.painting import read_content, read_style
    from impasto.recipes.tuning import Trial, Tuning, trials, tune_options
    from impasto.runtime.memory import memory_in_words

    chosen, where = tune_options(**given(options)), Run(**given(run))
    check_output(output, (content, style))
    photo, style_input = read_content(content), read_style(style)
    set_threads(where)
    found: list[Trial] = []
    with memory_in_words(chosen.size or 1024):
        is_whole = _run_trials(trials(photo, style_input, chosen, where), found, has_json=json)
    tuning = Tuning(chosen, tuple(found))
    with undisturbed():
        saved = save_sheet(output, tuning.sheet())
    console = message_console(quiet=False, to_stderr=json or not is_whole)
    for line in (f"{saved.name}: {len(found)} trials", *(_advice(tuning, (content, style)) if is_whole else ())):
        console.print(line)
    code = print_notes(saved)
    return code if is_whole else INTERRUPTED_EXIT


def _run_trials(trials: "Iterable[Trial]", found: "list[Trial]", *, has_json: bool) -> bool:
    """Run the trials and print each result. Return False if the user interrupted."""
    console = message_console(quiet=False)
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
    """Suggest the command that paints the best trial. If there is no target, suggest how to paint one picture of the sheet."""
    options = tuning.options
    command = ["impasto", options.recipe, *words]
    if not options.wanted_style:
        return [f"to paint one of them: {shlex.join([*command, *tuning.best.flags])}"]
    wanted, best = options.wanted_style, tuning.best.style_closed
    lines = [f"to paint the result: {shlex.join([*command, *tuning.best.flags])}"]
    if not tuning.is_found:
        lines.insert(0, f"no setting reached a style share of {wanted:g}; the closest is {best:.2f}{_advice_beyond(tuning)}")
    if options.recipe == "paint":
        height, width = tuning.best.image.shape[-2:]
        lines.append(
            f"trials used {width}x{height} pixels and {options.steps} steps at the last size; check the result with --report"
        )
    return lines


def _advice_beyond(tuning: "Tuning") -> str:
    if tuning.best.style_closed > tuning.options.wanted_style or tuning.options.recipe == "paint":
        return ""
    return ", the maximum of one pass; --recipe paint reaches higher values"
