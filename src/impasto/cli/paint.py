"""``impasto paint``: a photo in the manner of one or several pictures."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from impasto.cli.flags import Files, PaintFlags, RunFlags, Talk, given, with_output
from impasto.cli.progress import narrator
from impasto.errors import OptionError
from impasto.options import PaintOptions, Run

if TYPE_CHECKING:
    from impasto.cli.sitting import Order

_OPTIONS = Group("How it is painted", sort_key=3)
_RUN = Group("Where it is computed", sort_key=2)
_FILES = Group("What is written", sort_key=1)


def paint(
    content: str | None = None,
    /,
    *styles: str,
    files: Annotated[Files | None, Parameter(name="*", group=_FILES)] = None,
    replay: Annotated[Path | None, Parameter(group=_FILES)] = None,
    resume: Annotated[bool, Parameter(group=_FILES, negative="", show_default=False)] = False,
    talk: Annotated[Talk | None, Parameter(name="*", group=_FILES)] = None,
    run: Annotated[RunFlags | None, Parameter(name="*", group=_RUN)] = None,
    options: Annotated[PaintFlags | None, Parameter(name="*", group=_OPTIONS)] = None,
) -> int:
    """Paint a photo in the manner of one or several pictures, or of a named style.

    Args:
        content: The photo.
        styles: Pictures to paint in the manner of, or names out of "impasto styles list".
        files: Where the result goes.
        replay: Paint again what this record, or this picture that carries one, tells of; other options change it from there.
        resume: Go on with the painting at --output that was interrupted.
        talk: What is said.
        run: Where it is computed.
        options: How it is painted.
    """
    from impasto.cli.sitting import paint_to_file

    if replay and resume:
        raise OptionError("--replay paints anew and --resume goes on; give one of them")
    files, talk = files or Files(), talk or Talk()
    words = ((content,) if content is not None else ()) + styles
    if replay:
        order = _replayed(words, files, replay, given(options), given(run))
    elif resume:
        order = _resumed(words, files, given(options), given(run))
    else:
        order = _new(words, files, given(options), given(run))
    console = narrator(quiet=talk.quiet)
    for note in order.notes():
        console.print(note)
    return paint_to_file(order, talk)


def _new(words: tuple[str, ...], files: Files, options: dict[str, Any], run: dict[str, Any]) -> "Order":
    from impasto.recipes.presets import paint_options

    return _order(words, files, paint_options(**options), Run(**run))


def _replayed(words: tuple[str, ...], files: Files, source: Path, options: dict[str, Any], run: dict[str, Any]) -> "Order":
    from impasto.cli import repeat

    record = repeat.record_in(source)
    chosen, where = repeat.replayed(record, options, run)
    words = words or repeat.found_inputs(record, (Path(), source.parent))
    return dataclasses.replace(_order(words, files, chosen, where, source), record=record)


def _resumed(words: tuple[str, ...], files: Files, options: dict[str, Any], run: dict[str, Any]) -> "Order":
    from impasto.cli import repeat

    files = with_output(words, files, "paint")
    assert files.output is not None
    record, stood = repeat.resumption(files.output, files.record)
    chosen, where = repeat.resumed_options(record, options, run)
    order = _order(words, files, chosen, where)
    for difference in repeat.differences(record, order.content, order.styles):
        raise OptionError(f"{difference}; go on with the same pictures, or leave --resume away")
    return dataclasses.replace(order, record=record, resumption=stood)


def _order(words: tuple[str, ...], files: Files, options: PaintOptions, run: Run, *inputs: Path) -> "Order":
    """Check the files, cheap as that is, and read the pictures."""
    from impasto.cli.sitting import Order, check_files
    from impasto.recipes.painting import read_content, read_styles

    files = with_output(words, files, "paint")
    check_files(files, (*words, *map(str, inputs)))
    content, *styles = words
    return Order(read_content(content), read_styles(styles), options, run, files, words)
