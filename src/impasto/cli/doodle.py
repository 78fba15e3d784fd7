"""``impasto doodle``: paint a map of flat colors in the style of a picture."""

import json
from typing import Annotated

from cyclopts import Parameter

from impasto.cli.flags import COMPUTED, WRITTEN, DoodleFlags, Files, OutputOptions, RunFlags, given
from impasto.cli.pipes import STDOUT, from_stdin
from impasto.cli.progress import message_console
from impasto.errors import OptionError
from impasto.options import Run
from impasto.options.fields import no_effect_note
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

    A map is a picture of areas with flat colors, which any paint program can make. Each area is painted from the parts of the
    style picture that have the same color in the style map.

    Args:
        style: The style picture, or a name from "impasto styles list"; - reads standard input.
        map: The map of the result.
        style_map: The map of the style picture. If it is omitted, a draft like that of --suggest-map is used.
        content: A photo whose shapes the result follows.
        suggest_map: Only draft a map of the style picture from automatic regions, and save it.
        files: Output files.
        output_options: Messages.
        run: Device, precision and seed.
        options: Painting options.
    """
    if style is None:
        raise OptionError("the style is missing: impasto doodle STYLE --style-map S.png --map T.png")
    chosen, where, output_options = DoodleOptions(**given(options)), Run(**given(run)), output_options or OutputOptions()
    if suggest_map:
        if map or style_map or content:
            raise OptionError("--suggest-map only drafts the map of the style; omit --map, --style-map and --content")
        return _suggest(style, files, chosen, output_options)
    if map is None:
        raise OptionError("--map is missing: give a picture of flat colors, or draft one with --suggest-map")
    from impasto.cli.guided import named_files, run_guided, with_notes
    from impasto.recipes.doodle import DoodleInputs, doodle_of
    from impasto.recipes.painting import read_content, read_style

    files = named_files(files, (style, map), (style, map, style_map, content), has_json=output_options.json)
    picture, target = read_style(from_stdin(style)), read_content(from_stdin(map))
    others = [None if word is None else read_content(from_stdin(word)) for word in (style_map, content)]
    inputs = DoodleInputs(picture, target, *others)
    ignored = no_effect_note(given(options), {} if content else {"content_weight": "there is no --content"})
    guided = with_notes(doodle_of(inputs, chosen, where), (picture, target, *others), ignored)
    return run_guided(guided, where, files, output_options)


def _suggest(style: str, files: Files | None, options: DoodleOptions, output_options: OutputOptions) -> int:
    """Draft a map of the style picture and save it."""
    from impasto.cli.guided import named_files
    from impasto.cli.outputs import print_notes, save_pastiche
    from impasto.recipes.doodle import suggest_map
    from impasto.recipes.painting import read_style
    from impasto.recipes.pastiche import Pastiche, recorded
    from impasto.recipes.starts import as_swatches

    if files and (files.gif or files.preview):
        raise OptionError(f"--suggest-map has no progress to show; omit {'--gif' if files.gif else '--preview'}")
    files = named_files(files, (style, "map"), (style,), has_json=output_options.json)
    picture, count = read_style(from_stdin(style)), options.labels or SUGGESTED_LABELS
    (swatch,) = as_swatches([picture])
    record = recorded("map", swatch, (picture,), Run()) | {"labels": count}
    saved = save_pastiche(Pastiche(suggest_map(picture, labels=count).image, None, None, record), files)
    if output_options.json:
        print(json.dumps({**record, "output": str(saved.output)}), flush=True)
    to_stderr = output_options.json or saved.output == STDOUT
    message_console(quiet=output_options.quiet, to_stderr=to_stderr).print(
        f"{saved.name}: this is a draft; edit it in any paint program, and draw your own map in the same colors"
    )
    return print_notes(saved)
