"""``impasto demo``: a first painting that needs neither files nor network access."""

import dataclasses
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from impasto.cli.flags import Files, OutputOptions
from impasto.cli.progress import message_console
from impasto.errors import StyleFileError

_FIRST_CHOICE = "starry-night"


def demo(
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("demo.png"),
    seconds: float = 0.0,
    quiet: Annotated[bool, Parameter(alias="-q", negative="", show_default=False)] = False,
) -> int:
    """Paint a bundled photo (Eileen Collins, NASA, public domain) in a bundled style.

    Args:
        output: Output file.
        seconds: Stop after about this many seconds; 0 means no limit.
        quiet: Print only errors.
    """
    from skimage.data import astronaut

    from impasto import images
    from impasto.cli.outputs import check_files
    from impasto.cli.session import PaintRequest, paint_to_file
    from impasto.options import Run
    from impasto.recipes.presets import paint_options
    from impasto.styles.named import find_style

    files = Files(output=output)
    check_files(files, ())
    style = find_style(_style_name())
    pixels = astronaut()  # type: ignore[no-untyped-call]
    photo = dataclasses.replace(images.read(pixels), name="skimage.data.astronaut")
    facts = style.facts
    console = message_console(quiet=quiet)
    console.print(f"photo: Eileen Collins, NASA ({photo.name}); style: {facts['title']}, {facts['artist']} ({style.name})")
    request = PaintRequest(photo, (style,), paint_options(seconds=seconds), Run(), files, ())
    code = paint_to_file(request, OutputOptions(quiet=quiet))
    console.print(
        f"to paint your own photo: impasto paint PHOTO {style.name}; instead of {style.name}, give any picture, "
        "or a name from: impasto styles list"
    )
    return code


def _style_name() -> str:
    """Choose one of the bundled styles.

    Raises:
        StyleFileError: no style is bundled.
    """
    from impasto.styles.named import shipped_styles

    names = list(shipped_styles())
    if not names:
        raise StyleFileError(
            "this installation of impasto has no bundled styles; reinstall it, or use: impasto paint CONTENT STYLE"
        )
    return _FIRST_CHOICE if _FIRST_CHOICE in names else names[0]
