"""Entry points for reports: take pictures in any form, return metrics and a contact sheet."""

from collections.abc import Sequence

from impasto.images import Picture, Source, contact_sheet
from impasto.metrics.report import ReferenceDistribution, Report, check_shape, measured_size, reference, report_on
from impasto.recipes.painting import StyleSource, read_content, read_styles
from impasto.recipes.starts import Style
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image


@in_known_state
def judge(
    content: Source | Picture,
    style: StyleSource | Sequence[StyleSource],
    *results: Source | Picture,
    style_weights: Sequence[float] = (),
) -> list[Report]:
    """Measure results against the photo and the style from which they were made.

    Args:
        content: the photo: a path, bytes, a Pillow image, a NumPy array or a tensor.
        style: a picture in any of those forms, the name of a style, or a sequence of them.
        results: the painted pictures, at any size; pictures larger than 512 pixels are measured at 512.
        style_weights: one weight per style; empty: equal weights.

    Returns:
        A report for each result: ``report["style_closed"]``, ``report.faults``, ``report.as_dict()``. See
        :mod:`impasto.metrics.report` for the metrics.

    Raises:
        ImpastoError: if a picture cannot be read or measured; the message is one sentence.

    Example:
        >>> import impasto
        >>> (report,) = impasto.judge("photo.jpg", "picture.jpg", "photo.jpg")
        >>> report["style_closed"], report["content"], report.faults
        (0.0, 0.0, ())

    Source:
        The measurements are defined by impasto, see :mod:`impasto.metrics.report`; Wang et al. 2004 for structural similarity.
    """
    pictures = [read_content(result) for result in results]
    return reports_of(read_content(content), read_styles(style), pictures, style_weights)


@in_known_state
def reports_of(
    content: Picture, styles: Sequence[Style], results: Sequence[Picture], weights: Sequence[float] = ()
) -> list[Report]:
    """Measure results that have been read. Photo and style are measured once per size."""
    references: dict[tuple[int, int], ReferenceDistribution] = {}
    reports = []
    for result in results:
        check_shape(content.size, result.size)
        size = measured_size(result.size)
        if size not in references:
            references[size] = reference(content, styles, size, weights=weights)
        reports.append(report_on(result, references[size]))
    return reports


@in_known_state
def report_sheet(content: Picture, styles: Sequence[Style], results: Sequence[Picture], reports: Sequence[Report]) -> Image:
    """Lay out a contact sheet of the photo, the style pictures, and the results with their main metrics."""
    shown = [(content.image, f"photo: {content.name}")]
    shown += [(style.image, f"style: {style.name}") for style in styles if isinstance(style, Picture)]
    shown += [(each.image, caption(report)) for each, report in zip(results, reports, strict=True)]
    columns = next((count for count in (4, 3) if len(shown) % count == 0), 4)
    return contact_sheet(shown, columns=min(columns, len(shown)), cell_px=360)


def caption(report: Report) -> str:
    """Return the main metrics of a result in one line."""
    faults = "; " + ", ".join(report.faults) if report.faults else ""
    name = report.result if len(report.result) < 24 else report.result[:21] + "..."
    return f"{name}: style {report['style_closed']:.2f}, coarse {report['ssim_coarse']:.2f}{faults}"
