"""CSV files of pairs: columns content and style, and any options of the method."""

import csv
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from impasto.batch.methods import BatchOptions, Method, check_name, options_for, parsed
from impasto.batch.sources import check_style
from impasto.errors import ImpastoError, OptionError
from impasto.networks.brush_files import shipped_brushes
from impasto.styles.named import known_styles

COLUMNS = ("content", "style")


@dataclass(frozen=True)
class Pair:
    """A line of the file.

    Attributes:
        content: the photo.
        style: the style or the brush.
        options: how to paint.
        source: the location of the line, for messages.

    Example:
        >>> from impasto.options import InstantOptions
        >>> Pair("photo.jpg", "starry-night", InstantOptions()).source
        ''
    """

    content: str
    style: str
    options: BatchOptions
    source: str = ""


@dataclass(frozen=True)
class _Table:
    """A CSV file, and the options that it overrides."""

    path: Path
    method: Method
    given: Mapping[str, Any]

    def line(self, number: int) -> str:
        """Return the location of a line, for messages."""
        return f"line {number} of '{self.path}'"


def read_pairs(path: str, method: Method, given: Mapping[str, Any]) -> list[Pair]:
    r"""Read a CSV file. Its paths are relative to its folder. An empty cell does not change an option.

    Args:
        path: the file, in UTF-8, with commas or semicolons.
        method: the painting method; a column may be named after one of its options.
        given: the options of all lines; the file overrides them.

    Raises:
        OptionError: the file cannot be read, a column is missing, or an option or a value is not allowed; the message contains
            the line number.

    Returns:
        The pairs, in the order of the lines.

    Example:
        >>> _ = Path("pairs.csv").write_text("content,style,size\nphoto.jpg,starry-night,64\n")
        >>> [(pair.style, pair.options.size) for pair in read_pairs("pairs.csv", "instant", {})]
        [('starry-night', 64)]
    """
    table = _Table(Path(path), method, given)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise OptionError(f"'{path}' is not a text file in UTF-8; save it as CSV in UTF-8") from None
    except OSError as error:
        raise OptionError(f"'{path}' cannot be read ({error.strerror}); check its name and permissions") from error
    pairs = list(_pairs(text, table))
    if not pairs:
        raise OptionError(f"'{path}' contains no pairs; give one on each line after the first, such as photo.jpg,starry-night")
    return pairs


def _pairs(text: str, table: _Table) -> Iterator[Pair]:
    rows = _rows(text, table)
    number, cells = next(rows, (1, []))
    columns = _columns(cells, table.line(number), table.method)
    known: set[str] = set()
    for number, cells in rows:
        try:
            pair = _pair(dict(_named(columns, cells)), table, table.line(number))
            if pair.style not in known:
                check_style(pair.style, table.method)
        except ImpastoError as error:
            raise OptionError(f"{table.line(number)}: {error}") from error
        known.add(pair.style)
        yield pair


def _rows(text: str, table: _Table) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of each row that is not empty."""
    first = text.split("\n", 1)[0]
    delimiter = ";" if ";" in first and "," not in first else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise OptionError(f"{table.line(reader.line_num)} is not valid CSV ({error}); correct it") from error


def _columns(cells: list[str], line: str, method: Method) -> list[str]:
    columns = [cell.lower().lstrip("-").replace("-", "_") for cell in cells]
    for name in COLUMNS:
        if name not in columns:
            raise OptionError(
                f"{line} has no column {name!r}; it must name the columns content, style and any options, such as size"
            )
    for name in columns:
        if columns.count(name) > 1:
            raise OptionError(f"{line} has the column {name!r} twice; remove one of them")
        if name not in COLUMNS:
            try:
                check_name(method, name)
            except OptionError as error:
                raise OptionError(f"{line}: {error}") from error
    return columns


def _named(columns: list[str], cells: list[str]) -> Iterator[tuple[str, str]]:
    if len(cells) > len(columns):
        raise OptionError(f"it has {len(cells)} cells for {len(columns)} columns; put quotes around cells that contain a comma")
    yield from zip(columns, cells + [""] * (len(columns) - len(cells)), strict=True)


def _pair(cells: dict[str, str], table: _Table, line: str) -> Pair:
    for name in COLUMNS:
        if not cells[name]:
            raise OptionError(f"the cell {name!r} is empty; give a file" + (" or a name" if name == "style" else ""))
    own = {name: parsed(table.method, name, text) for name, text in cells.items() if name not in COLUMNS and text}
    folder, options = table.path.parent, options_for(table.method, {**table.given, **own})
    return Pair(str(folder / cells["content"]), _style(cells["style"], folder, table.method), options, line)


def _style(word: str, folder: Path, method: Method) -> str:
    """Return the path of a style file, or the word itself if it is a name."""
    if os.path.isfile(folder / word):
        return str(folder / word)
    names = shipped_brushes() if method == "brush" else known_styles()
    looks_like_a_file = Path(word).suffix or os.path.dirname(word)
    return str(folder / word) if looks_like_a_file and word not in names else word
