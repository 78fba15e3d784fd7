"""Command-line words that stand for one or more files: a file, a folder, a glob, or names separated by commas."""

import glob
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from impasto.batch.methods import Method
from impasto.errors import ImageFileError, OptionError
from impasto.images.files import kind_of
from impasto.networks.brush_files import brush_path
from impasto.recipes.painting import read_style
from impasto.styles.named import SUFFIX, known_styles

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".avif", ".bmp", ".gif", ".heic", ".heif")
BRUSHES = (".brush", ".pth", ".model")


@dataclass(frozen=True)
class Sources:
    """The files that a word stands for.

    Attributes:
        names: paths, and names of styles or brushes.
        others: files in a folder or glob that are not pictures (or brushes).
    """

    names: tuple[str, ...]
    others: tuple[str, ...] = ()

    def __add__(self, more: "Sources") -> "Sources":
        return Sources(self.names + more.names, self.others + more.others)


def files_in(folder: str, what: str = "photos") -> list[str]:
    """Return the files in a folder, sorted, without hidden files.

    Raises:
        ImageFileError: the folder cannot be read.
        OptionError: the folder contains no files.
    """
    try:
        paths = sorted(each for each in Path(folder).iterdir() if each.is_file() and not each.name.startswith("."))
    except OSError as error:
        raise ImageFileError(f"folder '{folder}' cannot be read ({error.strerror}); give another folder") from error
    if not paths:
        raise OptionError(f"folder '{folder}' contains no files; give a folder of {what}")
    return [str(path) for path in paths]


def contents_in(word: str, output: Path | None) -> Sources:
    """Return the photos that a word names: a picture, a folder or a glob.

    Raises:
        ImageFileError: there is no such file.
        OptionError: a folder or glob contains no pictures.
    """
    found = _many(word, output, is_picture, "pictures")
    if found is not None:
        return found
    if not os.path.exists(word):
        raise ImageFileError(f"there is no file or folder '{word}'; check its name, and put a glob in quotes")
    return Sources((word,))


def styles_in(words: str, method: Method, output: Path | None) -> Sources:
    """Return the styles that a word names: a picture, a folder, a glob, a name, or several of them separated by commas.

    Raises:
        ImpastoError: there is no such file or name, or a folder or glob contains no styles.
    """
    parts = [words] if os.path.exists(words) else [part.strip() for part in words.split(",") if part.strip()]
    if not parts:
        raise OptionError("the style is empty; give a picture, a folder, a glob or a name from 'impasto styles list'")
    total = Sources(())
    for part in parts:
        total += _styles(part, method, output)
    return total


def check_style(style: str, method: Method) -> None:
    """Check that a style exists, or a brush for the method brush.

    Raises:
        ImpastoError: there is no such file or name.
    """
    if method == "brush":
        brush_path(style)
    elif not os.path.isfile(style) and style not in known_styles():
        read_style(style)  # raises an error with advice, or accepts a former name


def is_picture(path: str) -> bool:
    """Return whether a file has the name or the first bytes of a picture. It may still be damaged."""
    if path.lower().endswith(PICTURES):
        return True
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    return bool(head) and kind_of(head) is not None


def _styles(word: str, method: Method, output: Path | None) -> Sources:
    if method == "brush":
        found = _many(word, output, lambda path: path.lower().endswith(BRUSHES), "brushes")
    else:
        found = _many(word, output, lambda path: path.endswith(SUFFIX) or is_picture(path), "style pictures")
    if found is not None:
        return found
    check_style(word, method)
    return Sources((word,))


def _many(word: str, output: Path | None, is_wanted: Callable[[str], bool], what: str) -> Sources | None:
    """Return the files of a folder or a glob, or None if the word is neither."""
    if os.path.isdir(word):
        if output is not None and os.path.realpath(word) == os.path.realpath(output):
            raise OptionError(f"'{word}' is also the output folder, so the next run would paint the results; give another -o")
        return _sorted_out(f"folder '{word}'", files_in(word, what), is_wanted, what)
    if os.path.lexists(word) or not glob.has_magic(word):
        return None
    paths = sorted(path for path in glob.glob(word, recursive=True) if os.path.isfile(path))
    if output is not None:  # results are not painted again
        inside = os.path.realpath(output)
        paths = [path for path in paths if os.path.dirname(os.path.realpath(path)) != inside]
    if not paths:
        raise OptionError(f"no file matches '{word}'; give a glob that matches {what}, such as 'photos/*.jpg'")
    return _sorted_out(f"'{word}'", paths, is_wanted, what)


def _sorted_out(place: str, paths: list[str], is_wanted: Callable[[str], bool], what: str) -> Sources:
    wanted = [path for path in paths if is_wanted(path)]
    if not wanted:
        raise OptionError(f"{place} contains {len(paths)} files but no {what}; give another one")
    return Sources(tuple(wanted), tuple(path for path in paths if path not in set(wanted)))
