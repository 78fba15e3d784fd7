"""``impasto paint``: paint a photo in the style of one or several pictures."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from impasto.cli.flags import (
    MASKED,
    WRITTEN,
    Files,
    MaskFlags,
    OutputOptions,
    PaintFlags,
    RunFlags,
    given,
    with_output,
)
from impasto.cli.pipes import STDIN, STDOUT, check_pipes, from_stdin
from impasto.cli.progress import message_console
from impasto.errors import OptionError
from impasto.options import PaintOptions, Run

if TYPE_CHECKING:
    from impasto.cli.session import PaintRequest
    from impasto.recipes.masking import MaskSources


def paint(
    content: str | None = None,
    /,
    *styles: str,
    files: Annotated[Files | None, Parameter(name="*", group=WRITTEN)] = None,
    replay: Annotated[Path | None, Parameter(group=WRITTEN)] = None,
    resume: Annotated[bool, Parameter(group=WRITTEN, negative="", show_default=False)] = False,
    output_options: Annotated[OutputOptions | None, Parameter(name="*", group=WRITTEN)] = None,
    options: Annotated[PaintFlags | None, Parameter(name="*")] = None,
    run: Annotated[RunFlags | None, Parameter(name="*")] = None,
    masks: Annotated[MaskFlags | None, Parameter(name="*", group=MASKED)] = None,
) -> int:
    """Paint a photo in the style of one or several pictures.

    Args:
        content: The photo; - reads standard input.
        styles: Style pictures, or names from "impasto styles list".
        files: Output files.
        replay: Repeat the painting of a record file, or of a picture that contains a record. Other options override the record.
        resume: Continue the interrupted painting at --output.
        output_options: Messages.
        run: Device, precision and seed.
        options: Options of the painting.
        masks: Masks.
    """
    from impasto.cli.session import paint_to_file
    from impasto.recipes.presets import paint_options

    if replay and resume:
        raise OptionError("--replay starts a new painting and --resume continues one; give one of them")
    files, output_options = files or Files(), output_options or OutputOptions()
    words = ((content,) if content is not None else ()) + styles
    check_pipes(words, files.output, has_json=output_options.json)
    asked = mask_sources(masks)
    if replay:
        request = _replayed(words, files, asked, replay, given(options), given(run))
    elif resume:
        request = _resumed(words, files, asked, given(options), given(run))
    else:
        request = _order(words, files, asked, paint_options(**given(options)), Run(**given(run)))
    console = message_console(quiet=output_options.quiet)
    for note in request.notes():
        console.print(note)
    return paint_to_file(request, output_options)


def mask_sources(masks: MaskFlags | None, more: tuple[str, ...] = ()) -> "MaskSources":
    """Return the masks from the flags. ``more`` contains style masks from another flag."""
    from impasto.recipes.masking import MaskSources

    masks = masks or MaskFlags()
    return MaskSources((*masks.style_mask, *more), masks.style_region, masks.content_mask, masks.protect)


def _replayed(
    words: tuple[str, ...], files: Files, masks: "MaskSources", source: Path, options: dict[str, Any], run: dict[str, Any]
) -> "PaintRequest":
    from impasto.cli import repeat

    record = repeat.record_in(source)
    folders = (Path(), source.parent)
    chosen, where = repeat.replayed(record, options, run, folders)
    words = words or repeat.found_inputs(record, folders)
    masks = repeat.found_masks(record, folders) if masks.is_empty else masks
    return dataclasses.replace(_order(words, files, masks, chosen, where, source), record=record)


def _resumed(
    words: tuple[str, ...], files: Files, masks: "MaskSources", options: dict[str, Any], run: dict[str, Any]
) -> "PaintRequest":
    from impasto.cli import repeat

    files = with_output(words, files, "paint")
    assert files.output is not None
    if files.output == STDOUT:
        raise OptionError("--resume continues a painting in a file, but '-o -' means standard output; give the file with -o")
    record, checkpoint = repeat.checkpoint(files.output, files.record)
    chosen, where = repeat.resumed_options(record, options, run)
    request = _order(words, files, masks, chosen, where)
    found = [*repeat.differences(record, request.content, request.styles), *repeat.mask_differences(record, request.masking)]
    for difference in found:
        raise OptionError(f"{difference}; continue with the same pictures, or omit --resume")
    return dataclasses.replace(request, record=record, checkpoint=checkpoint)


def _order(
    words: tuple[str, ...], files: Files, masks: "MaskSources", options: PaintOptions, run: Run, *inputs: Path
) -> "PaintRequest":
    """Check the output files, and then read the pictures. The checks come first because they are fast."""
    from impasto.cli.names import checkpoint_of
    from impasto.cli.outputs import check_files, check_size
    from impasto.cli.session import PaintRequest
    from impasto.images import fitted_size
    from impasto.recipes.masking import read_masking
    from impasto.recipes.painting import read_pictures

    files = with_output(words, files, "paint")
    assert files.output is not None
    others = (options.color_mask, options.color_proof, options.init, options.encoder, *map(str, inputs))
    checkpoint = None if files.output == STDOUT else checkpoint_of(files.output)
    check_files(files, (*words, *masks.paths(), *others), checkpoint)
    content, *styles = map(from_stdin, words)
    photo, style_inputs = read_pictures(content, styles, options, masks)
    check_size(files, fitted_size(photo.size, options.size))
    words = (*("-" if word == STDIN else word for word in words), *masks.words())
    masking = read_masking(masks, photo, style_inputs)
    return PaintRequest(photo, style_inputs, options, run, files, words, masking=masking)
