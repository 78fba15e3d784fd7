"""``impasto report``: compare results with the photo and the style from which they were made."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from impasto.cli.progress import message_console
from impasto.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from impasto.metrics.report import Figure, Report


def report(
    content: str | None = None,
    style: str | None = None,
    /,
    *results: str,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> int:
    """Compare results with the photo and the style from which they were made.

    The figures are measured with the shipped encoder at a size of up to 512 pixels. A figure that has a bound is
    also judged to be clean or faulty. The figures are specific to impasto; they are not published metrics.

    Args:
        content: The photo.
        style: The style picture, or the name of the style.
        results: The painted pictures.
        output: Save a sheet of the photo, the style and the results. It shows the main figures below each result.
        json: Print only JSON to standard output, one line for each result.
    """
    if content is None or style is None or not results:
        raise OptionError("content, style or result is missing: impasto report CONTENT STYLE RESULT...")
    from impasto.cli.outputs import check_output, print_notes, save_sheet
    from impasto.recipes.painting import read_content, read_style
    from impasto.recipes.reporting import report_sheet, reports_of

    if output is not None:
        check_output(output, (content, style, *results))
    photo, style_input = read_content(content), read_style(style)
    pictures = [read_content(result) for result in results]
    reports = reports_of(photo, (style_input,), pictures)
    if json:
        print_json(reports)
    else:
        print_figures(reports, message_console(quiet=False, to_stderr=False))
    return 0 if output is None else print_notes(save_sheet(output, report_sheet(photo, (style_input,), pictures, reports)))


def print_json(reports: "Sequence[Report]") -> None:
    """Print each report as one line of JSON."""
    for each in reports:
        print(json.dumps(each.as_dict()), flush=True)


def print_figures(reports: "Sequence[Report]", console: "Console") -> None:
    """Print the figures: one result with an explanation of each figure, or several results side by side."""
    several = len(reports) > 1
    widths = [max(len(each.result), 14) for each in reports] if several else [14]
    if several:
        console.print(" " * 24 + "".join(f"  {each.result:>{width}}" for each, width in zip(reports, widths, strict=True)))
    for row in zip(*reports, strict=True):
        kind = row[0].kind
        values = "".join(f"  {format_figure(figure):>{width}}" for figure, width in zip(row, widths, strict=True))
        bound = "" if kind.bound is None else f"; faulty above {kind.bound:g}"
        console.print(
            f"{kind.title:<24}{values}  ({kind.better if several else kind.meaning + '; better: ' + kind.better}{bound})"
        )


def format_figure(figure: "Figure") -> str:
    """Format a figure, with its verdict if it has one."""
    digits = 1 if figure.name.startswith("color") else 3
    value = "-" if math.isnan(figure.value) else f"{figure.value:.{digits}f}"
    return f"{value} {figure.verdict}".rstrip()
