"""Signatures that fit on the screen: names of type aliases instead of the unions, and no list of fifty fields."""

import dataclasses
import inspect
import re
from typing import Any

from sphinx.application import Sphinx

_UNION = re.compile(
    r"str \| (?:[\w~.]*PathLike\[str\]|Path) \| bytes.*?\bTensor(?: \| [\w~.]*\bPicture)?(?P<style> \| [\w~.]*\bNamedStyle)?"
)
_UNPACKED = re.compile(r"\*\*(\w+): .*PaintKeywords\S*?(?=\)|, |$)")
_MOST_FIELDS = 12


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the step that shortens signatures."""
    app.connect("autodoc-process-signature", _short)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _short(*given: Any) -> tuple[str | None, str | None]:
    _, _, _, value, _, signature, result = given  # as Sphinx passes them
    if inspect.isclass(value) and dataclasses.is_dataclass(value) and len(dataclasses.fields(value)) > _MOST_FIELDS:
        return "(**options)", result
    return signature and shortened(signature), result and shortened(result)


def shortened(signature: str) -> str:
    """Return a signature with the names of aliases.

    Example:
        >>> shortened("(content: str | ~os.PathLike[str] | bytes | ~PIL.Image.Image | ~torch.Tensor, size: int)")
        '(content: Source, size: int)'
    """
    short = _UNION.sub(lambda union: "StyleSource" if union["style"] else "Source", signature)
    short = re.sub(r"<function (\w+)[^<>]*>", r"\1", short.replace("<factory>", "..."))
    return _UNPACKED.sub(r"**\1", short)
