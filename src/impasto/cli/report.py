"""``impasto report``: figures of results beside the photo and the style that they were made from."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from impasto.cli.progress import narrator
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
    """Measure results beside the photo and the style that they were made from.

    The shipped encoder looks, at 512 pixels at the most. Where a figure has a bound, it is clean or faulty. The figures are our
    own and no published metric.

    Args:
        content: The photo.
        style: The picture, or the name of the style, that the results were painted in.
        results: What was painted.
        output: A sheet with the photo, the style and the results, each with its main figures beneath.
        json: Print one line of JSON for each result, and nothing else, on the standard output.
    """
    if content is None or style is None or not results:
        raise OptionError("content, style or result is missing: impasto report CONTENT STYLE RESULT...")
    from impasto.cli.outputs import check_output, save_sheet, say_notes
    from impasto.recipes.judging import judged, judged_sheet
    from impasto.recipes.painting import read_content, read_style

    if output is not None:
        check_output(output, (content, style, *results))
    photo, manner = read_content(content), read_style(style)
    pictures = [read_content(result) for result in results]
    reports = judged(photo, (manner,), pictures)
    if json:
        print_json(reports)
    else:
        tell(reports, narrator(quiet=False, to_stderr=False))
    return 0 if output is None else say_notes(save_sheet(output, judged_sheet(photo, (manner,), pictures, reports)))


def print_json(reports: "Sequence[Report]") -> None:
    """Print each report as one line of JSON."""
    for each in reports:
        print(json.dumps(each.as_dict()), flush=True)


def tell(reports: "Sequence[Report]", console: "Console") -> None:
    """Print the figures: of one result with what each means, of several beside each other."""
    several = len(reports) > 1
    widths = [max(len(each.result), 14) for each in reports] if several else [14]
    if several:
        console.print(" " * 24 + "".join(f"  {each.result:>{width}}" for each, width in zip(reports, widths, strict=True)))
    for row in zip(*reports, strict=True):
        kind = row[0].kind
        values = "".join(f"  {said(figure):>{width}}" for figure, width in zip(row, widths, strict=True))
        bound = "" if kind.bound is None else f"; faulty above {kind.bound:g}"
        console.print(
            f"{kind.title:<24}{values}  ({kind.better if several else kind.meaning + '; better: ' + kind.better}{bound})"
        )


def said(figure: "Figure") -> str:
    """Write a figure, with its verdict where there is one."""
    digits = 1 if figure.name.startswith("color") else 3
    value = "-" if math.isnan(figure.value) else f"{figure.value:.{digits}f}"
    return f"{value} {figure.verdict}".rstrip()
