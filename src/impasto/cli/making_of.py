"""``impasto video --making-of``: repeat the painting of a record, and write it as a film."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from impasto.cli import repeat
from impasto.cli.overwriting import check_overwrites
from impasto.cli.pipes import STDIN, STDOUT
from impasto.cli.progress import message_console, progress
from impasto.cli.session import set_threads
from impasto.errors import OptionError
from impasto.images import Picture, fitted_size
from impasto.optim.engine import Step
from impasto.options import PaintOptions, Recipe, Run
from impasto.options.fields import check_range
from impasto.options.video import VideoOptions
from impasto.recipes import gatys
from impasto.recipes.context import PaintingContext
from impasto.recipes.masking import Masking, read_masking
from impasto.recipes.painting import read_pictures, run_recipe
from impasto.recipes.pastiche import Record
from impasto.recipes.starts import Style
from impasto.runtime.locks import only_writer
from impasto.runtime.memory import keep_freed_memory, memory_in_words
from impasto.video.films import FILM_PX, making_of
from impasto.video.libraries import check_libraries
from impasto.video.painting import check_output

_SUFFIX = ".mp4"
_COMMAND = "impasto video PHOTO STYLE --making-of RESULT"


@dataclass(frozen=True)
class _Painting:
    """The painting of a record."""

    photo: Picture
    styles: tuple[Style, ...]
    masking: Masking
    options: PaintOptions
    run: Run


def check_alone(extras: Mapping[str, object], options: Mapping[str, Any]) -> None:
    """Refuse flags that have no effect with ``--making-of``.

    Raises:
        OptionError: there is such a flag.
    """
    flags = [flag for flag, path in extras.items() if path is not None]
    flags += [f"--{name}" for name in options if name != "size"]
    for flag in flags:
        raise OptionError(f"{flag} has no effect with --making-of, which paints again with the options in the record; omit it")


def film_painting(
    result: Path, inputs: Sequence[str], output: Path | None, longest_px: int, run: Mapping[str, Any], *, quiet: bool
) -> int:
    """Repeat a painting and write its film.

    Args:
        result: a picture that contains a record, or a record file.
        inputs: the photo and the style. If empty, they are found by name and hash.
        output: the film. None: next to the result.
        longest_px: longer side of the film, at most that of the painting; 0: at most 1920 pixels.
        run: device, precision and threads, which override the record.
        quiet: whether to print errors only.

    Raises:
        ImpastoError: the painting cannot be repeated, or the film cannot be written.
    """
    check_libraries()
    if longest_px:
        check_range("size", longest_px, *VideoOptions.ranges["size"])
    if len(inputs) == 1:
        raise OptionError(f"the style is missing: {_COMMAND}")
    if STDIN in inputs or output == STDOUT or str(result) == STDIN:
        raise OptionError("--making-of can neither read from standard input nor write to standard output; give file names")
    output = output or result.with_name(f"{result.stem}-making-of{_SUFFIX}")
    check_overwrites({"--output": output}, (result, *inputs))
    check_output(output)
    record = _record_of(result)
    painting = _painting(record, result.parent, inputs, run)
    console = message_console(quiet=quiet)
    keep_freed_memory()
    set_threads(painting.run)
    with memory_in_words(painting.options.size):
        context = gatys.set_up(painting.photo, painting.styles, painting.options, painting.run, painting.masking)
        for difference in _differences(record, painting, context.encoder.sha256):
            console.print(f"{difference}; the film will differ from the result")
        with only_writer(output):
            film = making_of(output, painting.photo.image, _shown(context, console), _film_size(context, longest_px))
    height, width = film.size
    message_console(quiet=quiet, to_stderr=False).print(
        f"{film.output}: {width}x{height} pixels, {film.pictures} pictures, {film.seconds:.0f} s"
    )
    return 0


def _record_of(result: Path) -> Record:
    record = repeat.record_in(result)
    made_by = record.get("recipe", "paint")
    if made_by not in (*get_args(Recipe), "paint", "inetwork"):
        raise OptionError(
            f"'{result}' was made with {str(made_by)!r}; --making-of repeats the steps of impasto paint, so give a "
            "result of that command"
        )
    return record


def _painting(record: Record, folder: Path, inputs: Sequence[str], run: Mapping[str, Any]) -> _Painting:
    """Read the pictures and masks of a record."""
    folders = (Path(), folder)
    options, where = repeat.replayed(record, {}, dict(run), folders)
    photo, *styles = inputs or repeat.found_inputs(record, folders, command=_COMMAND)
    masks = repeat.found_masks(record, folders)
    content, found = read_pictures(photo, styles, options, masks)
    return _Painting(content, found, read_masking(masks, content, found), options, where)


def _film_size(context: PaintingContext, longest_px: int) -> tuple[int, int]:
    height, width = (side - 2 * context.margin for side in context.content.shape[-2:])
    return fitted_size((height, width), min(max(height, width), longest_px or FILM_PX))


def _differences(record: Record, painting: _Painting, encoder_sha256: str) -> Iterator[str]:
    yield from repeat.differences(record, painting.photo, painting.styles)
    yield from repeat.mask_differences(record, painting.masking)
    yield from repeat.encoder_differences(record, encoder_sha256)


def _shown(context: PaintingContext, console: Console) -> Iterator[Step]:
    """Paint, and show the progress."""
    with progress(console, context.first_scale + len(context.sizes)) as show:
        for step in run_recipe(context):
            show(step)
            yield step
