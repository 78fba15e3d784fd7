"""Shared code of ``doodle``, ``analogy``, ``texture`` and ``neural-doodle``: run the steps, show progress, save the result."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from impasto.cli import INTERRUPTED_EXIT
from impasto.cli.flags import Files, OutputOptions
from impasto.cli.outputs import check_files, check_size, print_notes, save_pastiche
from impasto.cli.pipes import STDOUT, check_pipes
from impasto.cli.previews import GifRecorder, Preview
from impasto.cli.progress import duration, message_console, progress
from impasto.cli.session import save_gif, set_threads
from impasto.cli.signals import undisturbed
from impasto.errors import OptionError
from impasto.runtime.memory import keep_freed_memory, memory_in_words

if TYPE_CHECKING:
    from impasto.options import Run
    from impasto.recipes.guided import Guided
    from impasto.recipes.starts import Style


def named_files(files: Files | None, words: Sequence[str], inputs: Sequence[str | None], *, has_json: bool = False) -> Files:
    """Check that all output files can be written. If no output was given, name it after the inputs.

    Args:
        files: the given output files.
        words: the words from which the default name is made.
        inputs: the input files, which must not be overwritten.
        has_json: whether the record is printed to standard output.

    Raises:
        OptionError: --report was given, an output would overwrite an input, or two pictures share one stream.
        ImageFileError: a file cannot be written.
    """
    from impasto.cli.names import default_output

    files = files or Files()
    if files.report:
        raise OptionError("--report compares a painting with its photo and its style, so it cannot be used here; omit it")
    if files.output is None:
        files = replace(files, output=default_output(words, lambda path: False))
    given = tuple(each for each in inputs if each)
    check_pipes(given, files.output, has_json=has_json)
    check_files(files, given)
    return files


def with_notes(guided: "Guided", pictures: "Sequence[Style | None]", *more: str) -> "Guided":
    """Add notes: how each picture was read, and the notes in ``more`` that are not empty. Named styles have no notes."""
    notes = (f"{each.name}: {note}" for each in pictures if each for note in getattr(each, "notes", ()))
    return replace(guided, notes=(*notes, *filter(None, more), *guided.notes))


def run_guided(guided: "Guided", run: "Run", files: Files, output_options: OutputOptions | None) -> int:
    """Synthesize a picture and save it. If the user interrupts, save the picture so far.

    Returns:
        The exit code: 0 on success, 1 if a file was saved elsewhere, or 130 if the user interrupted.
    """
    from impasto.recipes.guided import guided_pastiche, guided_steps

    output_options = output_options or OutputOptions()
    console = message_console(quiet=output_options.quiet)
    for note in guided.notes:
        console.print(note)
    check_size(files, guided.size)
    keep_freed_memory()
    set_threads(run)
    with memory_in_words(max(guided.size)):
        steps, gif_recorder, preview = guided_steps(guided, run), GifRecorder(), Preview(files.preview, console)
        last, is_finished = None, True
        with progress(console, len(guided.synthesis.sizes)) as show:
            try:
                for last in steps:
                    show(last)
                    preview.show(last)
                    if files.gif:
                        gif_recorder.add(last.image)
            except KeyboardInterrupt:
                if last is None:
                    raise
                is_finished = False
    assert last is not None
    pastiche = guided_pastiche(guided, last)
    with undisturbed():
        saved = save_gif(save_pastiche(pastiche, files), files, gif_recorder, last.image)
    if output_options.json:
        print(json.dumps({**pastiche.record, "output": str(saved.output)}), flush=True)
    to_stderr = output_options.json or not is_finished or saved.output == STDOUT
    console = message_console(quiet=output_options.quiet, to_stderr=to_stderr)
    height, width = pastiche.image.shape[-2:]
    if is_finished:
        console.print(f"{saved.name}: {width}x{height} pixels in {duration(last.seconds)}")
    else:
        console.print(f"interrupted at step {last.number} of {last.total}; saved the picture so far as {saved.name}")
    code = print_notes(saved)
    return code if is_finished else INTERRUPTED_EXIT
