"""Messages between a studio and remote workers: the orders of the studio, and the messages of the workers.

All data is JSON or plain bytes, never pickles. Neither side accepts a path from the other side. Files have numbers, and the
receiver chooses where to store them. Both sides validate every message with strict models.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from impasto.studio.controls import KINDS, checked_options, checked_run
from impasto.studio.shapes import MASK, Progress

Message = dict[str, Any]
Part = Literal["preview", "checkpoint_file", "result", "thumb"]

LINE_BYTES = 4 * 2**20
"""Maximum length of a message."""

PART_BYTES: dict[Part, int] = {"preview": 4 * 2**20, "checkpoint_file": 256 * 2**20, "result": 256 * 2**20, "thumb": 2 * 2**20}
"""Maximum size of each kind of file that a worker sends."""

_JPEG, _PNG, _ARRAY = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\x93NUMPY"
_BEGINNINGS: dict[str, bytes] = {".jpg": _JPEG, ".png": _PNG, ".npy": _ARRAY}
_PLAIN = ("do", "options", "run", "draft", "checkpoint", "finish")
_LISTS = ("styles", "masks", "protect", "maps", "results")
_MOST_FILES = 64


class WireError(ValueError):
    """The other side sent an invalid message or file."""


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


Number = Annotated[int, Field(ge=0, lt=_MOST_FILES)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Edge = Annotated[int, Field(ge=1, le=1_000_000)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
Text = Annotated[str, Field(max_length=2000)]


class _Source(_Model):
    path: Number | None = None
    name: Text
    kind: Literal["picture", "named", "word"] = "picture"


class _Tried(_Model):
    options: dict[str, float]
    report: dict[str, JsonValue]


class _Checkpoint(_Model):
    done: Count
    scale: Annotated[int, Field(ge=0, le=100)]
    here: Count
    seconds: Seconds
    interruptions: Count = 0
    finished: bool = False
    trials: Annotated[list[_Tried], Field(max_length=64)] = Field(default_factory=list)


class _More(_Model):
    path: Number
    record: dict[str, JsonValue]
    steps: Count | None = None


class _Order(_Model):
    do: str
    content: _Source | None
    styles: Annotated[list[_Source], Field(max_length=8)]
    masks: Annotated[list[_Source], Field(max_length=8)]
    protect: Annotated[list[_Source], Field(max_length=16)]
    maps: Annotated[list[_Source], Field(max_length=2)]
    results: Annotated[list[_Source], Field(max_length=8)]
    options: dict[str, JsonValue]
    run: dict[str, JsonValue]
    draft: bool
    finish: bool
    checkpoint: _Checkpoint | None = None
    checkpoint_file: Number | None = None
    more: _More | None = None


class _Progress(Progress, _Model):
    seconds_left: Seconds | None = None


class _StateMessage(_Model):
    say: Literal["taken", "stopped", "left"]


class _ProgressMessage(_Model):
    say: Literal["progress"]
    progress: _Progress | None
    preview: Count | None = None


class _CheckpointMessage(_Model):
    say: Literal["checkpoint"]
    checkpoint: _Checkpoint
    checkpoint_file: Count


class _FailedMessage(_Model):
    say: Literal["failed"]
    code: Literal["picture", "option", "worker", "memory", "bug", "missing", "disk", "system"]
    message: Text
    field: Annotated[str, Field(max_length=100)] | None = None


class _Content(_Model):
    model_config = ConfigDict(extra="allow")
    name: Text


class _Record(_Model):
    model_config = ConfigDict(extra="allow")
    content: _Content


class _DoneMessage(_Model):
    say: Literal["done"]
    width: Edge
    height: Edge
    seconds: Seconds
    suffix: Literal[".png", ".jpg"]
    record: _Record
    result: Count
    thumb: Count


_LINE: TypeAdapter[Any] = TypeAdapter(
    Annotated[_StateMessage | _ProgressMessage | _CheckpointMessage | _FailedMessage | _DoneMessage, Field(discriminator="say")]
)


def read_line(data: bytes) -> Message:
    """Parse a message from a worker.

    Returns:
        The fields of the message. "say" is its type. "preview", "checkpoint_file", "result" and "thumb" are file numbers or
        None.

    Raises:
        WireError: The message is invalid.
    """
    if len(data) > LINE_BYTES:
        raise WireError(f"a message of more than {LINE_BYTES} bytes")
    try:
        found: Message = _LINE.validate_json(data).model_dump()
    except ValidationError as error:
        raise WireError(_first(error)) from error
    return found


def check_part(part: Part, suffix: str, data: bytes) -> None:
    """Check the type and the size of a received file.

    Raises:
        WireError: The file is too large or of the wrong type.
    """
    if len(data) > PART_BYTES[part]:
        raise WireError(f"a {part} of more than {PART_BYTES[part]} bytes")
    if not data.startswith(_BEGINNINGS[suffix]):
        raise WireError(f"a {part} that is not a {suffix} file")


def packed(order: Mapping[str, Any]) -> tuple[Message, list[Path]]:
    """Replace the paths in an order with file numbers.

    Args:
        order: The order, as :meth:`impasto.studio.studio.Studio.order` returns it.

    Returns:
        The order to send, and the list of its files. The position of a file in this list is its number.
    """
    files: list[Path] = []

    def number(path: Path) -> int:
        if path not in files:
            files.append(path)
        return files.index(path)

    def source(each: Mapping[str, Any]) -> Message:
        return {**each, "path": number(Path(each["path"])) if each["path"] else None}

    found: Message = {name: order[name] for name in _PLAIN}
    found["content"] = source(order["content"]) if order["content"] else None
    found |= {name: [source(each) for each in order[name]] for name in _LISTS}
    if order.get("more"):
        found["more"] = source(order["more"])
    checkpoint_file = Path(order["work"] + ".npy")
    found["checkpoint_file"] = number(checkpoint_file) if order["checkpoint"] and checkpoint_file.is_file() else None
    return found, files


@dataclass(frozen=True)
class Unpacked:
    """A received order.

    Attributes:
        order: The order. Its paths point to files in the receiver's folder.
        files: The path of each file, by file number.
    """

    order: Message
    files: dict[int, Path]


def unpacked(data: bytes, folder: Path) -> Unpacked:
    """Parse a received order and choose paths for its files in ``folder``.

    Raises:
        WireError: The order is invalid.
        OptionError: An option is not allowed.
    """
    try:
        received = _Order.model_validate_json(data)
    except ValidationError as error:
        raise WireError(_first(error)) from error
    if received.do not in KINDS or KINDS[received.do].lane != "slow":
        raise WireError(f"an order of kind {received.do[:40]!r}, which remote workers do not run")
    if not (received.maps if received.do == "doodle" else received.content):
        raise WireError(f"an order of kind {received.do!r} without its picture")
    files: dict[int, Path] = {}

    def place(number: int | None, name: str = "") -> str:
        if number is None:
            return ""
        files[number] = folder / (name or f"in-{number}")
        return str(files[number])

    def source(each: _Source) -> Message:
        if (each.path is None) != (each.kind == "word") or (each.path is None and not re.fullmatch(MASK, each.name)):
            raise WireError(f"a file without a number: {each.name[:40]!r}")
        return {"path": place(each.path), "name": each.name, "kind": each.kind}

    run = checked_run(received.run | _threads_of_this_machine(received.run))
    order: Message = received.model_dump(include={"do", "draft", "finish", "checkpoint"})
    order |= {"options": checked_options(received.do, received.options), "run": run}
    order["content"] = source(received.content) if received.content else None
    order |= {name: [source(each) for each in getattr(received, name)] for name in _LISTS}
    order |= {"work": str(folder / "work"), "result": str(folder / "result")}
    if received.more:
        order["more"] = received.more.model_dump() | {"path": place(received.more.path)}
    place(received.checkpoint_file, "work.npy")
    return Unpacked(order, files)


def _threads_of_this_machine(run: Mapping[str, JsonValue]) -> Message:
    """Limit the number of threads to the number of cores of this machine."""
    threads = run.get("threads")
    return {"threads": min(threads, os.cpu_count() or 1)} if isinstance(threads, int) else {}


def _first(error: ValidationError) -> str:
    """Describe the first error without repeating the input."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(each) for each in first['loc'])[:100]}: {first['msg'][:200]}"
