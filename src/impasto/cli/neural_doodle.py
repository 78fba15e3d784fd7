"""``impasto neural-doodle``: neural-doodle by alexjc, with its original flags. The maps are found by their file names."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from impasto.cli.flags import WRITTEN, Files, OutputOptions, as_flags, given
from impasto.cli.pipes import STDOUT
from impasto.compat.neural_doodle import (
    FoundMaps,
    NeuralDoodleOptions,
    found_maps,
    ignored_note,
    stretched_note,
)
from impasto.errors import ImpastoError, OptionError

if TYPE_CHECKING:
    from impasto.recipes.guided import Guided
    from impasto.recipes.starts import Style

    NeuralDoodleFlags = NeuralDoodleOptions
else:
    NeuralDoodleFlags = as_flags(NeuralDoodleOptions, is_grouped=False)

_OPTIONS = Group("neural-doodle's own flags", sort_key=1)
_USAGE = "impasto neural-doodle --style samples/Monet.jpg --output samples/Coastline.png"


def neural_doodle(
    *,
    style: Annotated[str | None, Parameter(group=_OPTIONS, metavar="PATH")] = None,
    content: Annotated[str | None, Parameter(group=_OPTIONS, metavar="PATH")] = None,
    files: Annotated[Files | None, Parameter(name="*", group=WRITTEN)] = None,
    output_options: Annotated[OutputOptions | None, Parameter(name="*", group=WRITTEN)] = None,
    flags: Annotated[NeuralDoodleFlags | None, Parameter(name="*", group=_OPTIONS)] = None,
) -> int:
    """Paint like neural-doodle. The maps are found by name: the map of the style Monet.jpg is Monet_sem.png in the same folder.

    The map of the result is next to the content or the output: Seth_sem.png for --content Seth.png, or Coastline_sem.png for
    --output Coastline.png. If there are no maps, the style is applied to the content. If there is no content either, a
    texture of the style is made.

    Args:
        style: The style picture.
        content: A photo whose shapes the result follows.
        files: Output files.
        output_options: Messages.
        flags: The flags of neural-doodle.
    """
    from impasto.cli.guided import named_files, run_guided
    from impasto.recipes.painting import read_style

    options = NeuralDoodleOptions(**given(flags))
    if style is None or files is None or files.output is None:
        raise OptionError(f"{'--style' if style is None else '--output'} is missing: {_USAGE}")
    has_json = output_options is not None and output_options.json
    run, picture = options.run(), read_style(style)
    found = found_maps(style, content, None if files.output == STDOUT else files.output)
    files = named_files(
        files, (), (style, content, *(str(each) for each in (found.style, found.target) if each)), has_json=has_json
    )
    note = ignored_note(given(flags), has_content=content is not None, has_maps=found.target is not None)
    try:
        guided = _guided(picture, content, found, options)
        guided = replace(guided, notes=tuple(filter(None, (found.note, note, *guided.notes))))
        return run_guided(guided, run, files, output_options)
    except ImpastoError as error:  # this command has another name for the option
        raise type(error)(str(error).replace("--size", "--output-size")) from error


def _guided(style: "Style", content: str | None, found: FoundMaps, options: NeuralDoodleOptions) -> "Guided":
    """Read the pictures and prepare the work: a doodle, a style transfer without maps, or a texture."""
    from impasto.cli.guided import with_notes
    from impasto.images import resize
    from impasto.recipes.doodle import DoodleInputs, doodle_of, transfer_of
    from impasto.recipes.guided import check_memory_of_size
    from impasto.recipes.maps import resize_nearest
    from impasto.recipes.painting import read_content
    from impasto.recipes.starts import as_swatches
    from impasto.recipes.texture import TextureInputs, texture_of

    run = options.run()
    photo = read_content(content) if content else None
    if found.target is None and photo is None:
        (picture,) = as_swatches([style])
        guided = texture_of(TextureInputs((style,)), options.texture_options(options.size or picture.size), run)
        return with_notes(guided, (style,))
    target = read_content(found.target) if found.target else None
    style_map = read_content(found.style) if found.style else None
    pictures = [each for each in (photo, target) if each]
    size = options.size or pictures[0].size
    check_memory_of_size(size, run)
    notes = [stretched_note(each.name, each.size, size) for each in pictures]
    photo = photo and replace(photo, image=resize(photo.image, size))
    chosen = options.doodle_options(max(size))
    if target is None or style_map is None:
        assert photo is not None
        guided = transfer_of(style, photo, chosen, run)
    else:
        target = replace(target, image=resize_nearest(target.image, size))
        guided = doodle_of(DoodleInputs(style, target, style_map, photo), chosen, run)
    return with_notes(guided, (style, style_map, target, photo), *notes)
