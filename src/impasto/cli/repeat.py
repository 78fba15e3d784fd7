"""Records read back: to paint the same again, or to go on where painting was interrupted."""

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
class Wanted:
    """One input of a record: its role ("content" or "style"), its name, and the hash of its file.

    A named style is found by its name: it has no ``sha256``, and ``file_sha256`` only tells whether it is still the same.
    """

    role: str
    name: str
    sha256: str | None
    file_sha256: str | None = None


def record_in(path: Path) -> Record:
    """Read a record from its own JSON file, or from a picture that carries one.

    Raises:
        ImageFileError: there is none.
        OptionError: what is there is no record of a painting.
    """
    found = _json_record(path) if path.suffix.lower() == ".json" else images.read_record(path)
    if found is None:
        raise ImageFileError(f"'{path}' carries no record of how it was painted; give the file that --record wrote")
    try:
        wanted_inputs(found)
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise OptionError(f"the record in '{path}' is not one of a painting ({reason}); give another") from error
    return found


def wanted_inputs(record: Record) -> tuple[Wanted, ...]:
    """Return the inputs that a record was painted from: the content first."""
    content = record["content"]
    styles = (
        Wanted("style", str(each["name"]), _hash(each.get("sha256")), _hash(each.get("file_sha256")))
        for each in record["styles"]
    )
    return (Wanted("content", str(content["name"]), _hash(content["sha256"])), *styles)


def found_inputs(record: Record, folders: Sequence[Path]) -> tuple[str, ...]:
    """Find the files that a record was painted from, by their names and hashes.

    Raises:
        OptionError: one is in none of the folders; the sentence tells its name and hash.
    """
    return tuple(_found(wanted, folders) for wanted in wanted_inputs(record))


def is_painted_from(picture: Path, words: Sequence[str]) -> bool:
    """Say whether the record in a picture tells that it was painted from a content and styles, files or names."""
    try:
        wanted = wanted_inputs(record_in(picture))
    except ImpastoError:
        return False
    return len(wanted) == len(words) and all(map(_is_wanted, wanted, words))


def _is_wanted(wanted: Wanted, word: str) -> bool:
    if not os.path.isfile(word):
        return wanted.sha256 is None and wanted.name == word
    with suppress(OSError):
        return sha256_of(Path(word)) in (wanted.sha256, wanted.file_sha256)
    return False


def differences(record: Record, content: Picture, styles: Sequence[Style]) -> list[str]:
    """Say which inputs are not those of the record, a sentence for each."""
    given = ({"name": content.name, "sha256": content.sha256}, *(described(style) for style in styles))
    wanted = wanted_inputs(record)
    if len(given) != len(wanted):
        return [f"the record was painted from {len(wanted) - 1} styles and {len(given) - 1} are given"]
    found = []
    for was, now in zip(wanted, given, strict=True):
        before, after = was.sha256, now.get("sha256")
        if before is after is None and was.file_sha256:
            before, after = was.file_sha256, now.get("file_sha256")
        if before != after:
            found.append(
                f"{was.role} {now['name']!r} is not the {was.name!r} of the record: its SHA-256 is {_short(after)}, "
                f"and that was {_short(before)}"
            )
    return found


def encoder_differences(record: Record, sha256: str) -> list[str]:
    """Say whether the encoder that looks now is another than that of the record."""
    told = record.get("encoder")
    before = str(told.get("sha256", "")) if isinstance(told, dict) else ""
    if before in ("", sha256):
        return []
    return [f"the encoder is not that of the record: its SHA-256 is {_short(sha256)}, and that was {_short(before)}"]


def found_masks(record: Record, folders: Sequence[Path]) -> MaskSources:
    """Find the masks that a record was painted under: files by their names and hashes, the others by their names.

    Raises:
        OptionError: a file is in none of the folders, or was a picture in memory; the sentence tells its name and hash.
    """
    told = _masks_in(record)
    several = {name: tuple(_found_mask(each, folders) for each in told[name]) for name in told if name != "content_mask"}
    limit = _found_mask(told["content_mask"][0], folders) if "content_mask" in told else None
    return MaskSources(**several, content_mask=limit)


def mask_differences(record: Record, masking: Masking) -> list[str]:
    """Say which masks are not those of the record, a sentence for each."""
    was, now = _masks_in(record), _masks_in(masking.record)
    found = []
    for name, flag in MASK_FLAGS.items():
        before, given = was.get(name, []), now.get(name, [])
        if len(before) != len(given):
            found.append(f"the record was painted with {flag} {len(before)} times and {len(given)} are given")
            continue
        found += [
            f"{flag} {new['name']!r} is not the {old['name']!r} of the record: its SHA-256 is {_short(new['sha256'])}, "
            f"and that was {_short(old['sha256'])}"
            for old, new in zip(before, given, strict=True)
            if old["sha256"] != new["sha256"]
        ]
    return found


def _masks_in(record: Record) -> dict[str, list[dict[str, str]]]:
    """Return the masks of a record, a list for each kind of them."""
    told = record.get("masks", {})
    try:
        lists = {name: told[name] if isinstance(told[name], list) else [told[name]] for name in MASK_FLAGS if name in told}
        return {name: [{key: str(each[key]) for key in ("name", "kind", "sha256")} for each in lists[name]] for name in lists}
    except (KeyError, TypeError) as error:
        raise OptionError(
            f"the masks in the record are damaged ({error} is missing); give them anew, as in --style-mask"
        ) from error


def _found_mask(told: dict[str, str], folders: Sequence[Path]) -> str:
    if told["kind"] == "named":
        return told["name"]
    spec = Spec.of(told["name"])
    if path := _located(spec.word, told["sha256"], folders):
        return spec.text(path)
    raise OptionError(
        f"the mask {told['name']!r} of the record, with SHA-256 {told['sha256']}, is not here; give the masks as in: "
        "impasto paint --replay RECORD --style-mask FILE"
    )


def replayed(
    record: Record, options: dict[str, Any], run: dict[str, Any], folders: Sequence[Path] = ()
) -> tuple[PaintOptions, Run]:
    """Return the options and the run of a record, changed where others were given.

    A color mask, and a picture that painting starts from, are found as inputs are.

    Raises:
        OptionError: the record is of another version, a value is not allowed, or one of the two is in none of the folders.
    """
    for name in ("preset", "recipe"):
        if name in options:
            raise OptionError(f"--{name} and --replay each bring a whole set of options; give one of them")
    known, where = options_of(record)
    if known.color_mask and "color_mask" not in options:
        options = {**options, "color_mask": _found_color_mask(record, folders)}
    if known.init not in INITS and "init" not in options:
        options = {**options, "init": _found_init(record, known.init, folders)}
    return known.changed(**options), Run(**{**vars(where), **run})


def checkpoint(output: Path, record_file: Path | None) -> tuple[Record, Checkpoint]:
    """Read where an interrupted painting stood: from its checkpoint, or else from the picture that was saved then.

    Raises:
        ImageFileError: there is no such picture, or it carries no record.
        OptionError: it is finished.
    """
    if os.path.isfile(checkpoint := checkpoint_of(output)):  # it would be gone if there were anything later
        output = checkpoint
    picture = images.read(output)
    has_own = images.read_record(output) is not None
    record = record_in(output if has_own or record_file is None else record_file)
    if not _says_where_it_stood(record):
        raise OptionError(f"the record in '{output}' does not say where painting stood; leave --resume away to paint it anew")
    steps = record["steps"]
    if steps["finished"]:
        raise OptionError(f"'{output}' is finished: there is nothing to go on with; leave --resume away to paint it anew")
    return record, Checkpoint(picture.image, int(steps["scale"]), int(steps["here"]))


def _says_where_it_stood(record: Record) -> bool:
    steps = record.get("steps")
    if not isinstance(steps, dict) or "finished" not in steps:
        return False
    numbers = [*(steps.get(name) for name in ("scale", "here", "done", "planned")), record.get("seconds")]
    numbers.append(record.get("interruptions", 0))
    return all(isinstance(number, int | float) and math.isfinite(number) and number >= 0 for number in numbers)


def resumed_options(record: Record, options: dict[str, Any], run: dict[str, Any]) -> tuple[PaintOptions, Run]:
    """Return the options that an interrupted painting goes on with: its own; the run may be another.

    Raises:
        OptionError: an option was given that is not as it was.
    """
    known, where = options_of(record)
    for name, value in options.items():
        if name not in _MAY_DIFFER and value != getattr(known, name):
            raise OptionError(
                f"{dashed(name)} was {getattr(known, name)!r} when painting was interrupted, and cannot become {value!r} "
                "on the way; leave it away, or leave --resume away"
            )
    changes = {name: value for name, value in options.items() if name in _MAY_DIFFER}
    return known.changed(**changes), Run(**{**vars(where), **run})


def _json_record(path: Path) -> Record:
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise ImageFileError(f"record '{path}' cannot be read ({(error.strerror or str(error)).lower()})") from error
    except (ValueError, RecursionError) as error:
        raise ImageFileError(f"record '{path}' is damaged or no JSON ({error}); give another") from error
    if not isinstance(found, dict):
        raise ImageFileError(f"record '{path}' is not the record of a painting; give another")
    return found


def _found(wanted: Wanted, folders: Sequence[Path]) -> str:
    if wanted.sha256 is None:
        return wanted.name
    if path := _located(wanted.name, wanted.sha256, folders):
        return path
    raise OptionError(
        f"the {wanted.role} of the record, {wanted.name!r} with SHA-256 {wanted.sha256}, is not here; "
        "give the content and the styles as in: impasto paint CONTENT STYLE --replay RECORD"
    )


def _located(name: str, sha256: str, folders: Sequence[Path]) -> str | None:
    """Find a file by its name and its hash; a record is data from elsewhere: its names lead nowhere but here."""
    paths = (folder / Path(name).name for folder in folders)
    return next((str(path) for path in paths if os.path.isfile(path) and sha256_of(path) == sha256), None)


def _told(record: Record, name: str) -> tuple[str, str]:
    """Return the name and the hash of a file that a record tells of beside its inputs; empty where it tells none."""
    told = record.get(name)
    told = told if isinstance(told, dict) else {}
    return str(told.get("name", "")), str(told.get("sha256", ""))


def _found_init(record: Record, init: str, folders: Sequence[Path]) -> str:
    name, sha256 = _told(record, "init")
    if not sha256:  # the file had been taken away before it could be told
        return init
    if path := _located(name, sha256, folders):
        return path
    raise OptionError(f"the starting picture of the record, {name!r} with SHA-256 {sha256}, is not here; give it with --init")


def _found_color_mask(record: Record, folders: Sequence[Path]) -> str:
    name, sha256 = _told(record, "color_mask")
    spec = Spec.of(name)
    if not sha256 and name:  # computed from its name
        return name
    if path := _located(spec.word, sha256, folders):
        return spec.text(path)
    raise OptionError(f"the color mask of the record, {name!r} with SHA-256 {sha256}, is not here; give it with --color-mask")


def _hash(told: object) -> str | None:
    return None if told is None else str(told)


def _short(sha256: str | None) -> str:
    return f"{sha256[:12]}..." if sha256 else "none (a named style)"
