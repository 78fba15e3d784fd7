"""Items for workers on other machines: photos, styles and results are sent as bytes.

The workers do not need a shared disk. Only the machine that runs the batch writes results, each result once.
"""

import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from impasto._version import __version__
from impasto.batch.methods import BatchOptions, Method
from impasto.batch.work import Item, Outcome, Settings, Worker, is_disk_full
from impasto.images.files import contents
from impasto.runtime.atomic import replacing
from impasto.runtime.temporary import temporary_folder
from impasto.styles.former_names import FORMER_NAMES
from impasto.styles.named import known_styles, shipped_styles


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """An item with its photo.

    Attributes:
        item: the item, with the names of its files.
        content: the photo.
        style_name: the name of the file that is sent as the style; empty if the style is part of the package.
    """

    item: Item
    content: bytes
    style_name: str = ""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """The outcome of a parcel, and the bytes of the result file; empty unless the item was painted."""

    outcome: Outcome
    result: bytes = b""


def packed(item: Item) -> Parcel:
    """Read the photo of an item.

    Raises:
        ImageFileError: it cannot be read.
    """
    return Parcel(item=replace(item, options=_with_whole_paths(item.options)), content=contents(item.content)[0])


def style_file(style: str, method: Method) -> str:
    """Return the file of a style or a brush that other machines do not have; empty if it is part of the package."""
    if os.path.isfile(style):
        return style
    name = FORMER_NAMES.get(style, style)
    if method == "brush" or name in shipped_styles():
        return ""
    return str(known_styles().get(name, ""))


def unpacked(item: Item, delivery: Delivery) -> Outcome:
    """Write the result of an item, and return the outcome."""
    outcome = replace(delivery.outcome, item=item, is_disk_full=False)  # a full disk elsewhere is not that of the results
    if outcome.state != "done":
        return outcome
    try:
        with replacing(Path(item.output)) as part:
            part.write_bytes(delivery.result)
    except OSError as error:
        words = f"'{item.output}' cannot be written ({error.strerror or error})"
        return replace(outcome, state="failed", error=words, is_disk_full=is_disk_full(error))
    return outcome


class Painter:
    """Painter for parcels in a worker process on any machine. Its files are in a temporary folder."""

    def __init__(self, settings: Settings) -> None:
        self._stack, self._worker = ExitStack(), Worker(settings)
        self._folder = self._stack.enter_context(temporary_folder("impasto-actor-"))

    def version(self) -> str:
        """Return the version of impasto on this machine."""
        return __version__

    def paint(self, parcel: Parcel, style: bytes | None) -> Delivery:
        """Paint a parcel.

        Args:
            parcel: the item and its photo.
            style: the file of the style or the brush; None if it is part of the package.

        Returns:
            The result, or why there is none.
        """
        try:
            return self._painted(parcel, style)
        except OSError as error:  # a full disk, for example
            words = f"a worker cannot keep its files in '{self._folder}' ({error.strerror or error}); free some space there"
            return Delivery(outcome=Outcome(item=parcel.item, state="failed", error=words))

    def _painted(self, parcel: Parcel, style: bytes | None) -> Delivery:
        item = parcel.item
        with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as name:
            content, output = Path(name, os.path.basename(item.content)), Path(name, "result" + Path(item.output).suffix)
            content.write_bytes(parcel.content)
            look = self._kept(parcel.style_name, style) if style else item.style
            outcome = self._worker.paint(replace(item, content=str(content), style=look, output=str(output)))
            error = outcome.error.replace(look, item.style).replace(str(content), item.content)  # the user's names
            result = output.read_bytes() if outcome.state == "done" else b""
            return Delivery(outcome=replace(outcome, error=error), result=result)

    def _kept(self, name: str, data: bytes) -> str:
        """Return the path of a style. The file is written only once, so that the worker can reuse its style code."""
        folder = self._folder / sha256(data).hexdigest()
        folder.mkdir(exist_ok=True)
        path = folder / os.path.basename(name)
        if not path.exists():
            with replacing(path) as part:
                part.write_bytes(data)
        return str(path)

    def close(self) -> None:
        """Delete the folder."""
        self._stack.close()


def _with_whole_paths(options: BatchOptions) -> BatchOptions:
    """Make the paths in options absolute, because workers have a different current folder."""
    named: dict[str, Any] = {each.name: getattr(options, each.name) for each in fields(options)}
    whole: dict[str, Any] = {
        name: os.path.abspath(value) for name, value in named.items() if isinstance(value, str) and os.path.isfile(value)
    }
    return replace(options, **whole) if whole else options
