"""``impasto texture``: make a picture of any size from pieces of one or several pictures."""

from typing import Annotated

from cyclopts import Parameter

from impasto.cli.flags import COMPUTED, WRITTEN, Files, OutputOptions, RunFlags, TextureFlags, given
from impasto.cli.pipes import from_stdin
from impasto.errors import OptionError
from impasto.options import Run
from impasto.options.fields import no_effect_note
from impasto.options.guided import TextureOptions

_WITH_HOLE = {
    "size": "--inpaint keeps the size of the picture",
    "style_scale": "--inpaint keeps the scale of the picture",
    "tileable": "--inpaint keeps the edges of the picture",
    "expand": "--inpaint keeps the size of the picture",
}
"""Options that have no effect when a hole is filled, with the reason for each."""


def texture(
    *styles: str,
    inpaint: Annotated[str | None, Parameter(metavar="MASK")] = None,
    mix: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="", show_default=False, metavar="STYLE")] = (),
    files: Annotated[Files | None, Parameter(name="*", group=WRITTEN)] = None,
    output_options: Annotated[OutputOptions | None, Parameter(name="*", group=WRITTEN)] = None,
    run: Annotated[RunFlags | None, Parameter(name="*", group=COMPUTED)] = None,
    options: Annotated[TextureFlags | None, Parameter(name="*")] = None,
) -> int:
    """Make a picture of any size from pieces of one or several pictures.

    Args:
        styles: Pictures, or names from "impasto styles list"; - reads standard input. Several are mixed.
        inpaint: Mask of a hole to fill from its surroundings (white = hole). The result has the size of the picture.
        mix: More pictures to mix.
        files: Output files.
        output_options: Messages.
        run: Device, precision and seed.
        options: Texture options.
    """
    words = (*styles, *mix)
    if not words:
        raise OptionError("the style is missing: impasto texture STYLE --size 1024x1024")
    from impasto.cli.guided import named_files, run_guided, with_notes
    from impasto.recipes.painting import read_content, read_styles
    from impasto.recipes.texture import TextureInputs, texture_of

    chosen, where = TextureOptions(**given(options)), Run(**given(run))
    has_json = output_options is not None and output_options.json
    files = named_files(files, (*words, "texture"), (*words, inpaint), has_json=has_json)
    pictures = read_styles([from_stdin(word) for word in words])
    hole = None if inpaint is None else read_content(from_stdin(inpaint))
    guided = with_notes(
        texture_of(TextureInputs(pictures, hole), chosen, where),
        (*pictures, hole),
        no_effect_note(given(options), {} if hole is None else _WITH_HOLE),
    )
    return run_guided(guided, where, files, output_options)
