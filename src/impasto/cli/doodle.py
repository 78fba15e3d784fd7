"""``impasto doodle``: paint a map of flat colors in the style of a picture."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from impasto.cli.flags import COMPUTED, WRITTEN, DoodleFlags, Files, OutputOptions, RunFlags, given
from impasto.errors import OptionError
from impasto.options import Run
from impasto.options.guided import SUGGESTED_LABELS, DoodleOptions


def doodle(
    style: str | None = None,
    /,
    *,
    map: Annotated[str | None, Parameter(metavar="PATH")] = None,
    style_map: Annotated[str | None, Parameter(metavar="PATH")] = None,
    content: Annotated[str | None, Parameter(metavar="PATH")] = None,
    suggest_map: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    files: Annotated[Files | None, Parameter(name="*", group=WRITTEN)] = None,
    output_options: Annotated[OutputOptions | None, Parameter(name="*", group=WRITTEN)] = None,
    run: Annotated[RunFlags | None, Parameter(name="*", group=COMPUTED)] = None,
    options: Annotated[DoodleFlags | None, Parameter(name="*")] = None,
) -> int:
    """Paint a map of flat colors in the style of a picture.

    A map is a picture of flat areas, made with any paint program. Areas of the map are painted with the parts of the style
    picture that have the same color in the style map.

    Args:
        style: The style picture, or a name from "impasto styles list".
        map: The map of the result.
        style_map: The map of the style picture. Default: a draft, as --suggest-map writes it.
        content: A photo whose shapes the result follows.
        suggest_map: Only draft a map of the style picture from automatic regions, and save it.
        files: Output files.
        output_options: Messages.
        run: Device, precision and seed.
        options: Painting options.
    """
    if style is None:
        raise OptionError("the style is missing: impasto doodle STYLE --style-map S.png --map T.png")
    chosen, where = DoodleOptions(**given(options)), Run(**given(run))
    if suggest_map:
        return _suggest(style, files, chosen)
    if map is None:
        raise OptionError("--map is missing: give a picture of flat colors, or draft one with --suggest-map")
    from impasto.cli.guided import named_files, run_guided
    from impasto.recipes.doodle import DoodleInputs, doodle_of
    from impasto.recipes.painting import read_content, read_style

    files = named_files(files, (style, map), (style, map, style_map, content))
    maps = [None if word is None else read_content(word) for word in (map, style_map, content)]
    assert maps[0] is not None
    inputs = DoodleInputs(read_style(style), maps[0], maps[1], maps[2])
    return run_guided(doodle_of(inputs, chosen, where), where, files, output_options)


def _suggest(style: str, files: Files | None, options: DoodleOptions) -> int:
    """Draft a map of the style picture and save it."""
    from impasto.cli.outputs import check_output, print_notes, save_sheet
    from impasto.cli.progress import message_console
    from impasto.recipes.doodle import suggest_map

    output = files.output if files and files.output else Path(f"{Path(style).stem}-map.png")
    check_output(output, (style,))
    picture = suggest_map(style, labels=options.labels or SUGGESTED_LABELS)
    saved = save_sheet(output, picture.image)
    message_console(quiet=False, to_stderr=False).print(
        f"{saved.name}: a draft; change it in any paint program, and paint your own map in the same colors"
    )
    return print_notes(saved)
