"""Read records to replay a painting, or to resume an interrupted one."""

import json
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from impasto import images
from impasto.cli.names import checkpoint_of
from impasto.errors import ImageFileError, ImpastoError, OptionError
from impasto.images import Picture
from impasto.options import INITS, PaintOptions, Run
from impasto.options.fields import dashed
from impasto.recipes.masking import MASK_FLAGS, Masking, MaskSources, Spec
from impasto.recipes.painting import options_of
from impasto.recipes.pastiche import Record, described
from impasto.recipes.starts import Checkpoint, Style
from impasto.weights.files import sha256_of

_MAY_DIFFER = ("seconds",)


@dataclass(frozen=True)
class RecordedInput:
    """One input of a record, with its role ("content" or "style"), its name, and the hash of its file.

    A named style is found by its name, so its ``sha256`` is None. Its ``file_sha256`` only shows whether the file changed.
    """

    role: str
    name: str
    sha256: str | None
    file_sha256: str | None = None


def record_in(path: Path) -> Record:
    """Read a record from a JSON file, or from a picture that contains a record.

    Raises:
        ImageFileError: the file contains no record.
        OptionError: the record does not describe a painting.
    """
    found = _json_record(path) if path.suffix.lower() == ".json" else images.read_record(path)
    if found is None:
        raise ImageFileError(f"'{path}' contains no record of how it was painted; give the file that --record wrote")
    try:
        wanted_inputs(found)
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise OptionError(f"the record in '{path}' is not the record of a painting ({reason}); give another file") from error
    return found


def wanted_inputs(record: Record) -> tuple[RecordedInput, ...]:
    """Return the inputs of a recorded painting. The content comes first."""
    content = record["content"]
    styles = (
        RecordedInput("style", str(each["name"]), _hash(each.get("sha256")), _hash(each.get("file_sha256")))
        for each in record["styles"]
    )
    return (RecordedInput("content", str(content["name"]), _hash(content["sha256"])), *styles)


def found_inputs(
    record: Record, folders: Sequence[Path], *, command: str = "impasto paint CONTENT STYLE --replay RECORD"
) -> tuple[str, ...]:
    """Find the input files of a recorded painting by name and hash.

    Args:
        record: the record.
        folders: where to search.
        command: the command that messages advise.

    Raises:
        OptionError: an input file is in none of the folders; the message gives the name and hash of that file.
    """
    return tuple(_found(wanted, folders, command) for wanted in wanted_inputs(record))


def is_painted_from(picture: Path, words: Sequence[str]) -> bool:
    """Return whether a picture was painted from the given content and styles, according to its record."""
    try:
        wanted = wanted_inputs(record_in(picture))
    except ImpastoError:
        return False
    return len(wanted) == len(words) and all(map(_matches, wanted, words))


def _matches(wanted: RecordedInput, word: str) -> bool:
    if not os.path.isfile(word):
        return wanted.sha256 is None and wanted.name == word
    with suppress(OSError):
        return sha256_of(Path(word)) in (wanted.sha256, wanted.file_sha256)
    return False


def differences(record: Record, content: Picture, styles: Sequence[Style]) -> list[str]:
    """Return a sentence for each input that differs from the record."""
    given = ({"name": content.name, "sha256": content.sha256}, *(described(style) for style in styles))
    wanted = wanted_inputs(record)
    if len(given) != len(wanted):
        return [f"the record has {len(wanted) - 1} styles, but {len(given) - 1} are given"]
    found = []
    for was, now in zip(wanted, given, strict=True):
        before, after = was.sha256, now.get("sha256")
        if before is after is None and was.file_sha256:
            before, after = was.file_sha256, now.get("file_sha256")
        if before != after:
            found.append(
                f"{was.role} {now['name']!r} differs from {was.name!r} in the record: its SHA-256 is {_short(after)}, "
                f"not {_short(before)}"
            )
    return found


def encoder_differences(record: Record, sha256: str) -> list[str]:
    """Return a sentence if the encoder differs from the one in the record."""
    encoder = record.get("encoder")
    before = str(encoder.get("sha256", "")) if isinstance(encoder, dict) else ""
    if before in ("", sha256):
        return []
    return [f"the encoder differs from the record: its SHA-256 is {_short(sha256)}, not {_short(before)}"]


def found_masks(record: Record, folders: Sequence[Path]) -> MaskSources:
    """Find the masks of a recorded painting. Mask files are found by name and hash, all other masks by name.

    Raises:
        OptionError: a mask file is in none of the folders, or a mask was a picture in memory; the message names the mask.
    """
    masks = _masks_in(record)
    several = {name: tuple(_found_mask(each, folders) for each in masks[name]) for name in masks if name != "content_mask"}
    limit = _found_mask(masks["content_mask"][0], folders) if "content_mask" in masks else None
    return MaskSources(**several, content_mask=limit)


def mask_differences(record: Record, masking: Masking) -> list[str]:
    """Return a sentence for each mask that differs from the record, and for each flag whose number of masks differs."""
    was, now = _masks_in(record), _masks_in(masking.record)
    found = []
    for name, flag in MASK_FLAGS.items():
        before, given = was.get(name, []), now.get(name, [])
        if len(before) != len(given):
            found.append(f"{flag} occurs {len(before)} times in the record, but {len(given)} times here")
            continue
        found += [
            f"{flag} {new['name']!r} differs from {old['name']!r} in the record: its SHA-256 is {_short(new['sha256'])}, "
            f"not {_short(old['sha256'])}"
            for old, new in zip(before, given, strict=True)
            if old["sha256"] != new["sha256"]
        ]
    return found


def _masks_in(record: Record) -> dict[str, list[dict[str, str]]]:
    """Return the masks of a record, as one list per kind of mask."""
    masks = record.get("masks", {})
    try:
        lists = {name: masks[name] if isinstance(masks[name], list) else [masks[name]] for name in MASK_FLAGS if name in masks}
        return {name: [{key: str(each[key]) for key in ("name", "kind", "sha256")} for each in lists[name]] for name in lists}
    except (KeyError, TypeError) as error:
        raise OptionError(
            f"the masks in the record are damaged ({error} is missing); give the masks again, for example with --style-mask"
        ) from error


def _found_mask(entry: dict[str, str], folders: Sequence[Path]) -> str:
    if entry["kind"] == "named":
        return entry["name"]
    spec = Spec.of(entry["name"])
    if path := _located(spec.word, entry["sha256"], folders):
        return spec.text(path)
    raise OptionError(
        f"the mask {entry['name']!r} of the record, with SHA-256 {entry['sha256']}, was not found; give the masks as in: "
        "impasto paint --replay RECORD --style-mask FILE"
    )


def replayed(
    record: Record, options: dict[str, Any], run: dict[str, Any], folders: Sequence[Path] = ()
) -> tuple[PaintOptions, Run]:
    """Return the options and the run of a record, with the given changes.

    Like the inputs, a color mask or an initial picture is found by name and hash.

    Raises:
        OptionError: the record is from another version, a value is not allowed, or a file is in none of the folders.
    """
    for name in ("preset", "recipe"):
        if name in options:
            raise OptionError(f"--{name} and --replay each set all options; give only one of them")
    known, where = options_of(record)
    if known.color_mask and "color_mask" not in options:
        options = {**options, "color_mask": _found_color_mask(record, folders)}
    if known.init not in INITS and "init" not in options:
        options = {**options, "init": _found_init(record, known.init, folders)}
    return known.changed(**options), Run(**{**vars(where), **run})


def checkpoint(output: Path, record_file: Path | None) -> tuple[Record, Checkpoint]:
    """Read the state of an interrupted painting from its checkpoint. If there is none, read it from the saved picture.

    Raises:
        ImageFileError: there is no such picture, or it contains no record.
        OptionError: the painting is finished, or the record does not give the step at which painting stopped.
    """
    if os.path.isfile(checkpoint := checkpoint_of(output)):  # a checkpoint exists only if nothing newer was saved
        output = checkpoint
    has_own = images.read_record(output) is not None
    record = record_in(output if has_own or record_file is None else record_file)
    if not _has_position(record):
        raise OptionError(
            f"the record in '{output}' does not contain the step at which painting stopped; omit --resume to start again"
        )
    steps = record["steps"]
    if steps["finished"]:
        raise OptionError(f"'{output}' is finished, so it cannot be resumed; omit --resume to start again")
    return record, Checkpoint(output, int(steps["scale"]), int(steps["here"]))


def _has_position(record: Record) -> bool:
    steps = record.get("steps")
    if not isinstance(steps, dict) or "finished" not in steps:
        return False
    numbers = [*(steps.get(name) for name in ("scale", "here", "done", "planned")), record.get("seconds")]
    numbers.append(record.get("interruptions", 0))
    return all(isinstance(number, int | float) and math.isfinite(number) and number >= 0 for number in numbers)


def resumed_options(record: Record, options: dict[str, Any], run: dict[str, Any]) -> tuple[PaintOptions, Run]:
    """Return the options for resuming a painting. They must equal the recorded options, but the options of ``Run`` may differ.

    Raises:
        OptionError: a given option differs from the record.
    """
    known, where = options_of(record)
    for name, value in options.items():
        if name not in _MAY_DIFFER and value != getattr(known, name):
            raise OptionError(
                f"{dashed(name)} was {getattr(known, name)!r} when painting was interrupted and cannot be changed to "
                f"{value!r}; "
                f"omit {dashed(name)}, or omit --resume to start again"
            )
    changes = {name: value for name, value in options.items() if name in _MAY_DIFFER}
    return known.changed(**changes), Run(**{**vars(where), **run})


def _json_record(path: Path) -> Record:
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise ImageFileError(f"record '{path}' cannot be read ({(error.strerror or str(error)).lower()})") from error
    except (ValueError, RecursionError) as error:
        raise ImageFileError(f"record '{path}' is damaged or not JSON ({error}); give another file") from error
    if not isinstance(found, dict):
        raise ImageFileError(f"record '{path}' is not the record of a painting; give another file")
    return found


def _found(wanted: RecordedInput, folders: Sequence[Path], command: str) -> str:
    if wanted.sha256 is None:
        return wanted.name
    if path := _located(wanted.name, wanted.sha256, folders):
        return path
    raise OptionError(
        f"the {wanted.role} of the record, {wanted.name!r} with SHA-256 {wanted.sha256}, was not found; "
        f"give the content and the styles as in: {command}"
    )


def _located(name: str, sha256: str, folders: Sequence[Path]) -> str | None:
    """Find a file by name and hash. Search only the given folders, because a record is untrusted data."""
    paths = (folder / Path(name).name for folder in folders)
    return next((str(path) for path in paths if os.path.isfile(path) and sha256_of(path) == sha256), None)


def _named_file(record: Record, name: str) -> tuple[str, str]:
    """Return the name and the hash of a recorded file that is not an input, or empty strings if there is no such file."""
    entry = record.get(name)
    entry = entry if isinstance(entry, dict) else {}
    return str(entry.get("name", "")), str(entry.get("sha256", ""))


def _found_init(record: Record, init: str, folders: Sequence[Path]) -> str:
    name, sha256 = _named_file(record, "init")
    if not sha256:  # the file was deleted before its hash was recorded
        return init
    if path := _located(name, sha256, folders):
        return path
    raise OptionError(f"the initial picture of the record, {name!r} with SHA-256 {sha256}, was not found; give it with --init")


def _found_color_mask(record: Record, folders: Sequence[Path]) -> str:
    name, sha256 = _named_file(record, "color_mask")
    spec = Spec.of(name)
    if not sha256 and name:  # a computed mask, such as auto:sky
        return name
    if path := _located(spec.word, sha256, folders):
        return spec.text(path)
    raise OptionError(f"the color mask of the record, {name!r} with SHA-256 {sha256}, was not found; give it with --color-mask")


def _hash(value: object) -> str | None:
    return None if value is None else str(value)


def _short(sha256: str | None) -> str:
    return f"{sha256[:12]}..." if sha256 else "none (a named style)"
