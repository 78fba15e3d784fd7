"""``impasto instant``: paint a photo in any style in one pass."""

import json
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from impasto.cli import INTERRUPTED_EXIT
from impasto.cli.flags import (
    MASKED,
    WRITTEN,
    Files,
    InstantFlags,
    MaskFlags,
    OutputOptions,
    RunFlags,
    given,
    with_output,
)
from impasto.cli.paint import mask_sources
from impasto.cli.pipes import STDOUT, check_pipes, from_stdin
from impasto.cli.progress import duration, message_console
from impasto.cli.signals import undisturbed
from impasto.errors import OptionError
from impasto.options import InstantOptions, Run

if TYPE_CHECKING:
    from rich.console import Console

    from impasto.cli.outputs import Saved
    from impasto.cli.previews import GifRecorder
    from impasto.images import Picture
    from impasto.recipes.masking import Masking
    from impasto.recipes.pastiche import Pastiche
    from impasto.recipes.starts import Style


def instant(
    content: str | None = None,
    /,
    *styles: str,
    files: Annotated[Files | None, Parameter(name="*", group=WRITTEN)] = None,
    output_options: Annotated[OutputOptions | None, Parameter(name="*", group=WRITTEN)] = None,
    masks: Annotated[
        tuple[str, ...], Parameter(group=MASKED, consume_multiple=True, negative="", show_default=False, metavar="MASK")
    ] = (),
    regions: Annotated[MaskFlags | None, Parameter(name="*", group=MASKED)] = None,
    options: Annotated[InstantFlags | None, Parameter(name="*")] = None,
    run: Annotated[RunFlags | None, Parameter(name="*")] = None,
) -> int:
    """Paint a photo in any style in one pass.

    Args:
        content: The photo; - reads standard input.
        styles: Style pictures, or names from "impasto styles list".
        files: Output files.
        output_options: Messages.
        masks: Masks of all styles, in order; the same as one --style-mask per style.
        regions: Masks.
        run: Device and precision.
        options: Painting options.
    """
    from impasto.cli.from_disk import instant_from_disk, reason_for_instant
    from impasto.cli.outputs import check_files, check_size, print_notes
    from impasto.cli.report import print_figures
    from impasto.cli.session import figures_by_name, reported, set_threads
    from impasto.images import reduced_size
    from impasto.recipes.coloring import color_notes
    from impasto.recipes.instant import instant_options, painted_pastiche
    from impasto.recipes.instant_checks import check
    from impasto.recipes.instant_painter import InstantPainter
    from impasto.recipes.masking import read_masking
    from impasto.recipes.painting import read_pictures
    from impasto.runtime.devices import seconds_now
    from impasto.runtime.memory import memory_in_words

    words, output_options = ((content,) if content is not None else ()) + styles, output_options or OutputOptions()
    files = with_output(words, files or Files(), "instant")
    check_pipes(words, files.output, has_json=output_options.json)
    sources = mask_sources(regions, masks)
    chosen, where = instant_options(**given(options)), Run(**given(run))
    check_files(files, (*words, *sources.paths(), chosen.color_mask, chosen.color_proof))
    if (files.gif or files.preview) and not chosen.goes_on:
        flag = "--gif" if files.gif else "--preview"
        raise OptionError(f"{flag} shows the progress of --refine or --hq; add one of them, or omit {flag}")
    if reason := reason_for_instant(words[0], sources, chosen, where):
        return instant_from_disk(words, sources, chosen, where, files, output_options, reason)
    console = message_console(quiet=output_options.quiet)
    first, *others = map(from_stdin, words)
    photo, style_inputs = read_pictures(first, others, chosen, sources)
    check(photo, style_inputs, (), chosen)
    check_size(files, reduced_size(photo.size, chosen.size))
    masking = read_masking(sources, photo, style_inputs)
    picture_notes = (
        f"{each.name}: {note}" for each in (photo, *style_inputs) for note in getattr(each, "notes", ())
    )  # named styles have no notes
    for note in (*picture_notes, *masking.notes, *color_notes(photo, chosen)):
        console.print(note)
    set_threads(where)
    with memory_in_words(chosen.size or max(photo.size)):
        painter = InstantPainter(where, chosen.engine)
        started = seconds_now()
        pastiche = painted_pastiche(painter, photo, style_inputs, masking, chosen)
        code, gif_recorder = 0, None
        if chosen.goes_on:
            pastiche, code, gif_recorder = _refined(pastiche, photo, style_inputs, masking, chosen, where, files, console)
        took = seconds_now() - started
    with undisturbed():
        saved = _save(pastiche, files, gif_recorder)
    figures = reported(photo, style_inputs, chosen.style_weights, pastiche.image, files)
    if output_options.json:
        print(json.dumps({**pastiche.record, **figures_by_name(figures), "output": str(saved.output)}), flush=True)
    height, width = pastiche.image.shape[-2:]
    to_stderr = output_options.json or bool(code) or saved.output == STDOUT
    console = message_console(quiet=output_options.quiet, to_stderr=to_stderr)
    console.print(f"{saved.name}: {width}x{height} pixels, painted in {duration(took) if took >= 1 else f'{took:.2f} s'}")
    if figures:  # the user requested them with --report, so print them even with --quiet
        print_figures(figures, message_console(quiet=False, to_stderr=to_stderr))
    return code or print_notes(saved)


def _refined(
    pastiche: "Pastiche",
    photo: "Picture",
    styles: "tuple[Style, ...]",
    masking: "Masking",
    options: InstantOptions,
    run: Run,
    files: Files,
    console: "Console",
) -> tuple["Pastiche", int, "GifRecorder | None"]:
    """Refine a pastiche with the optimizer. If the user interrupts, return the picture so far."""
    from impasto.cli.session import PaintRequest, paint_and_show
    from impasto.recipes.instant import blended_by_strength, refining, refining_context, with_refinement

    size = (pastiche.image.shape[-2], pastiche.image.shape[-1])
    context = refining(pastiche.image, refining_context(size, photo, styles, options, run, masking))
    request = PaintRequest(photo, styles, context.options, run, files, ())
    try:
        session, gif_recorder, _ = paint_and_show(request, context, console)
    except KeyboardInterrupt:  # before the first step
        return blended_by_strength(pastiche, photo, options), INTERRUPTED_EXIT, None
    assert session.last is not None  # every size has at least one step
    refined = with_refinement(pastiche, session.last, photo, options)
    return refined, 0 if session.is_finished else INTERRUPTED_EXIT, gif_recorder


def _save(pastiche: "Pastiche", files: Files, gif_recorder: "GifRecorder | None") -> "Saved":
    from impasto.cli.outputs import save_pastiche
    from impasto.cli.session import save_gif

    saved = save_pastiche(pastiche, files)
    return save_gif(saved, files, gif_recorder, pastiche.image) if gif_recorder else saved
