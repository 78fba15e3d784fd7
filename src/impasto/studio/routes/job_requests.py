"""Validation of job requests."""

import json
from collections.abc import Sequence
from typing import Any

from impasto.errors import OptionError
from impasto.options import TuneOptions
from impasto.options.brush import BrushTrainingOptions
from impasto.studio import shapes
from impasto.studio.brushes import brush_file
from impasto.studio.controls import NOT_PAINTED, checked_options, checked_run
from impasto.studio.database import Row
from impasto.studio.gallery import shown_clip
from impasto.studio.routes.clips import check_video
from impasto.studio.security import RefusedError
from impasto.studio.storage import IDENTITY
from impasto.studio.studio import Studio

_MOST_TRIALS = 48
_MOST_MINUTES = 24 * 60
_WITHOUT_PHOTO = ("doodle", "brush", "video")
_WITHOUT_MASKS = (*NOT_PAINTED, "doodle", "apply")
_WITH_BRUSH = ("apply", "video")
_VIDEO_BYTES_PER_PIXEL = 0.25
"""Bytes per pixel of a painted frame. They are needed twice: the segments and the result exist at the same time."""


def checked(studio: Studio, new: shapes.NewJob) -> dict[str, Any]:
    """Check the request of a job. Return it as a dict that can be used to submit the same job again.

    Raises:
        RefusedError, OptionError: The request is invalid; the message names the field.
    """
    found: dict[str, Any] = {"kind": new.kind, "content": new.content, "styles": new.styles, "draft": new.draft}
    masks: dict[str, Any] = {name: given for name in ("masks", "protect") if (given := getattr(new, name))}
    if new.result is not None:
        earlier = _from_result(studio, new)
        masks = {name: earlier.pop(name) for name in ("masks", "protect") if name in earlier} | masks
        found |= earlier
    options = checked_options(new.kind, new.options)
    found |= _maps(studio, new) | _with_brush(studio, new) | _with_clip(studio, new)
    if new.kind == "report" or new.results:
        found |= _of_results(studio, new)
        options = found.pop("options") | options
    _check_inputs(studio, found)
    _check_masks(studio, new.kind, found["styles"], masks)
    if new.kind == "tune":
        _check_trials(found["styles"], TuneOptions(**options))
    if new.kind == "brush":
        _check_training(new, BrushTrainingOptions(**options))
    found |= {"options": options, "run": checked_run(new.run)}
    weights = options.get("style_weights")
    if weights and len(weights) != len(found["styles"]):
        raise OptionError(
            f"--style-weights has {len(weights)} values for {len(found['styles'])} styles; give one for each style"
        )
    return found | masks


def _maps(studio: Studio, new: shapes.NewJob) -> dict[str, Any]:
    """Check the inputs of a doodle and return its maps."""
    given = {name: value for name in ("map", "style_map") if (value := getattr(new, name)) is not None}
    if new.kind != "doodle":
        for name in given:
            raise _wrong_kind(name, new.kind, "doodle")
        return {}
    if "map" not in given:
        raise _refused("'map' is missing; give the id of an upload that is a picture of flat colors", "map")
    _check_one_style(new.styles, new.kind)
    for name, upload in given.items():
        _find(lambda upload=upload: studio.gallery.upload(upload), name)
    return given


def _with_brush(studio: Studio, new: shapes.NewJob) -> dict[str, Any]:
    """Check the brush to paint with and the photos to train with, and return them."""
    if new.photos and new.kind != "brush":
        raise _wrong_kind("photos", new.kind, "brush")
    for photo in new.photos:
        _find(lambda photo=photo: studio.gallery.upload(photo), "photos")
    if new.brush is not None and new.kind not in _WITH_BRUSH:
        raise _wrong_kind("brush", new.kind, *_WITH_BRUSH)
    if new.kind not in _WITH_BRUSH or (new.kind == "video" and new.styles and new.brush is None):
        return {"photos": new.photos} if new.photos else {}
    if new.brush is None and new.kind == "video":
        raise _refused("'styles' and 'brush' are both empty; give the id of a style or of a brush", "styles")
    if new.brush is None:
        raise _refused("'brush' is missing; give the id of a brush, see /api/v1/brushes", "brush")
    if new.styles:
        other = "'brush'" if new.kind == "video" else "kind 'apply'"
        raise _refused(f"'styles' cannot be used with {other}; omit it, because a brush has its own style", "styles")
    _find(lambda: brush_file(studio.folder, new.brush or ""), "brush")
    return {"brush": new.brush}


def _with_clip(studio: Studio, new: shapes.NewJob) -> dict[str, Any]:
    """Check the inputs of a video job, and return its clip and whether to keep the sound."""
    if new.kind != "video":
        if new.clip is not None or not new.sound:
            name = "sound" if new.clip is None else "clip"
            raise _wrong_kind(name, new.kind, "video")
        return {}
    check_video()
    if new.content is not None:
        raise _refused("'content' cannot be used with kind 'video'; put the id of a clip in 'clip'", "content")
    if new.clip is None:
        raise _refused("'clip' is missing; give the id of a clip, see /api/v1/clips", "clip")
    _find(lambda: studio.gallery.upload(new.clip or ""), "clip")
    _check_one_style(new.styles, new.kind)
    method, fitting = new.options.get("method", "auto"), ("brush",) if new.brush else ("instant", "paint")
    if method not in ("auto", *fitting):
        needed = "a brush" if method == "brush" else "a style"
        raise _refused(f"'method' is {method!r} and needs {needed}; give one, or set 'method' to 'auto'", "method")
    return {"clip": new.clip, "sound": new.sound}


def result_bytes(studio: Studio, request: dict[str, Any]) -> int:
    """Return the expected bytes of the result of a video job.

    Raises:
        DiskFullError: The clip is too long for the disk.
    """
    row = studio.gallery.upload(request["clip"])
    clip = shown_clip(row)
    size = request["options"].get("size") or max(clip["width"], clip["height"])
    shrinks = min(1.0, size / max(clip["width"], clip["height"]))
    pictures = clip["frames"] * clip["width"] * clip["height"] * shrinks**2 * _VIDEO_BYTES_PER_PIXEL
    wanted: int = round(2 * pictures) + (clip["bytes"] if clip["sounds"] and request["sound"] else 0)
    studio.gallery.check_free(wanted, f"the painted clip and its segments need about {wanted / 1e6:,.0f} MB")
    return wanted


def _check_training(new: shapes.NewJob, options: BrushTrainingOptions) -> None:
    if new.content is not None:
        raise _refused("'content' cannot be used with kind 'brush'; put the training photos in 'photos'", "content")
    _check_one_style(new.styles, new.kind)
    if options.minutes > _MOST_MINUTES:
        raise OptionError(f"--minutes is {options.minutes:g}; in the studio, it must be a number from 0 to {_MOST_MINUTES}")


def _check_inputs(studio: Studio, found: dict[str, Any]) -> None:
    if found["content"] is None and found["kind"] not in _WITHOUT_PHOTO:
        raise _refused("'content' is missing; give the id of an upload", "content")
    if not found["styles"] and not found.get("brush"):
        raise _refused("'styles' is empty; give the id of a style", "styles")
    if found["content"] is not None:
        _find(lambda: studio.gallery.upload(found["content"]), "content")
    for style in found["styles"]:
        _find(lambda style=style: studio.shelf.source(style), "styles")


def _check_photo(earlier: dict[str, Any], identity: str, field: str) -> None:
    if earlier["content"] is None:
        raise _refused(f"result {identity} was painted without a photo; give the id of a result that has one", field)


def _from_result(studio: Studio, new: shapes.NewJob) -> dict[str, Any]:
    row = _result(studio, new.result or "", "result")
    earlier = json.loads(row["request"])
    _check_photo(earlier, row["id"], "result")
    others = new.content not in (None, earlier["content"]) or new.styles not in ([], earlier["styles"])
    if new.kind != "refine":
        raise _wrong_kind("result", new.kind, "refine")
    if others:
        raise _refused("'content' and 'styles' must be those of 'result'; omit both", "result")
    names = ("content", "styles", "masks", "protect")
    return {name: earlier[name] for name in names if name in earlier} | {"result": new.result}


def _of_results(studio: Studio, new: shapes.NewJob) -> dict[str, Any]:
    """Return the photo and the styles to compare results with. Styles in the request replace the styles of the results."""
    if new.kind != "report":
        raise _wrong_kind("results", new.kind, "report")
    if not new.results:
        raise _refused("'results' is empty; give the ids of the results to measure", "results")
    asked = [json.loads(_result(studio, each, "results")["request"]) for each in new.results]
    for identity, each in zip(new.results, asked, strict=True):
        _check_photo(each, identity, "results")
    contents = {each["content"] for each in asked}
    if len(contents) > 1:
        raise _refused("these results were painted from different photos; measure those of one photo at a time", "results")
    if new.content not in (None, *contents):
        raise _refused("'content' is not the photo that these results were painted from; omit it", "content")
    styles = [list(new.styles)] if new.styles else [each["styles"] for each in asked]
    if any(each != styles[0] for each in styles):
        raise _refused("these results were painted in different styles; measure those of one style at a time", "results")
    weights = [each["options"].get("style_weights", []) for each in asked if each["styles"] == styles[0]]
    shares = weights[0] if weights and all(each == weights[0] for each in weights) else []
    options = {"style_weights": shares} if shares else {}
    return {"content": contents.pop(), "styles": styles[0], "results": list(new.results), "options": options}


def _result(studio: Studio, identity: str, field: str) -> Row:
    row: Row = _find(lambda: studio.gallery.result(identity), field)
    if row["kind"] in NOT_PAINTED:
        what = {"brush": "brush", "video": "clip"}.get(row["kind"], "sheet")
        raise _refused(f"result {identity} is a {what}; give the id of a painted picture", field)
    return row


def _check_masks(studio: Studio, kind: str, styles: Sequence[str], masks: dict[str, Any]) -> None:
    for name, given in masks.items():
        if kind in _WITHOUT_MASKS:
            raise _refused(f"{name!r} cannot be used with kind {kind!r}; omit it", name)
        for mask in given:
            if IDENTITY.fullmatch(mask):
                _find(lambda mask=mask: studio.gallery.upload(mask), name)
    count = len(masks.get("masks", styles))
    if count != len(styles):
        raise _refused(f"'masks' has {count} entries, but 'styles' has {len(styles)}; give one mask for each style", "masks")


def _check_trials(styles: Sequence[str], options: TuneOptions) -> None:
    _check_one_style(styles, "tune")
    names = ("strengths", "strokes" if options.recipe == "instant" else "style_scales")
    across, down = (len(getattr(options, name)) for name in names)
    if not options.wanted_style and across * down > _MOST_TRIALS:
        raise OptionError(
            f"--{names[0]} and --{names[1].replace('_', '-')} make {across * down} trials; at most {_MOST_TRIALS} are allowed"
        )


def _check_one_style(styles: Sequence[str], kind: str) -> None:
    if len(styles) > 1:
        raise _refused(f"'styles' has {len(styles)} entries; give only one if 'kind' is {kind!r}", "styles")


def _wrong_kind(field: str, kind: str, *allowed: str) -> RefusedError:
    kinds = " or ".join(map(repr, allowed))
    return _refused(f"{field!r} is only allowed if 'kind' is {kinds}, but 'kind' is {kind!r}; omit {field!r}", field)


def _refused(sentence: str, field: str) -> RefusedError:
    return RefusedError(422, "option", sentence, field)


def _find(look: Any, field: str) -> Any:
    """Look up an id from the request body. If the object does not exist, respond with 422 (not 404) and the field's name."""
    try:
        return look()
    except LookupError as error:
        raise _refused(str(error.args[0]), field) from error
