"""Operations of a worker on pictures, one function per kind of order.

Each function takes the order and the connection to the parent. It returns the answer, or None if the parent stopped it.
"""

import secrets
import struct
import traceback
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch

from impasto import images
from impasto.encoders import load_encoder
from impasto.errors import ImageFileError, ImpastoError
from impasto.images import Metadata, Picture, fitted_size, reduced_size, resize
from impasto.images.files import PYTHON_ADVICE, size_in_header
from impasto.optim.engine import Step
from impasto.options import InstantOptions, Run
from impasto.options.brush import BrushOptions
from impasto.options.guided import DoodleOptions
from impasto.recipes import gatys
from impasto.recipes.brush import BrushPainter, applied
from impasto.recipes.doodle import DoodleInputs, doodle_of, suggest_map
from impasto.recipes.guided import guided_pastiche, guided_steps
from impasto.recipes.instant import instant_options, painted_pastiche, refining, refining_context, with_refinement
from impasto.recipes.instant_checks import check
from impasto.recipes.instant_painter import InstantPainter
from impasto.recipes.masking import Masking, MaskSource, MaskSources, read_masking
from impasto.recipes.painting import finished
from impasto.recipes.pastiche import Pastiche, Record, new_record, with_progress
from impasto.recipes.presets import paint_options
from impasto.recipes.starts import Checkpoint, Style, as_swatches
from impasto.runtime.devices import seconds_now
from impasto.studio import brush_jobs, sheets, video_jobs
from impasto.studio.painting_state import PaintingState, followed, painted, picture_size
from impasto.studio.worker import Line, Message
from impasto.styles.named import load_style
from impasto.tensors import Image

SHOWN_PX, THUMB_PX, STYLE_PX = 1600, 384, 192
_DRAFT_PX, _MAP_PX = 1024, 768
_CLIP_STYLE_PX = 2048


def warm(lane: str) -> None:
    """Load the networks of a lane, so that the first order is fast."""
    if lane == "slow":
        load_encoder("vgg19-slim")
    elif lane == "quick":
        painter = _painter("auto", "auto", "torch")
        painter.paint(torch.rand(1, 3, 384, 512), painter.encode_picture(torch.rand(1, 3, 64, 64)))


# ---------------------------------------------------------------------------------------------------- calls


def intake(order: Message, line: Line) -> Message:
    """Decode an uploaded file and write its display picture and thumbnail."""
    path = Path(order["path"])
    picture = _read(order["path"], order["name"], order["pixels"])
    shown = _at_most(picture, SHOWN_PX)
    small = _at_most(shown, _DRAFT_PX)
    _remember(order["path"], small)
    _write(path.with_name(path.name + ".jpg"), shown, quality=88)
    _write(path.with_name(path.name + ".thumb.jpg"), _at_most(small, THUMB_PX), quality=80)
    height, width = picture.size
    disk = sum(each.stat().st_size for each in path.parent.glob(path.name + "*"))
    return {"width": width, "height": height, "sha256": picture.sha256, "notes": list(picture.notes), "disk": disk}


def clip_intake(order: Message, line: Line) -> Message:
    """Check an uploaded clip, and write two pictures: one of its frames, for display, and a thumbnail."""
    facts, frame = video_jobs.known_of(order["path"], order["name"])
    path = Path(order["path"])
    for suffix, edge_px in ((".jpg", SHOWN_PX), (".thumb.jpg", THUMB_PX)):
        size = fitted_size(picture_size(frame), min(edge_px, max(picture_size(frame))))
        images.write(path.with_name(path.name + suffix), resize(frame, size), quality=85)
    return facts | {"disk": sum(each.stat().st_size for each in path.parent.glob(path.name + "*"))}


def clip_prediction(order: Message, line: Line) -> Message:
    """Predict how long the method ``paint`` takes for a clip."""
    (style,) = _styles(order)
    style = _at_most(style, _CLIP_STYLE_PX) if isinstance(style, Picture) else style
    size = (order["height"], order["width"])
    size = reduced_size(size, order["size"])
    seconds = video_jobs.predicted_seconds(style, size, order["frames"])
    return {"seconds": round(seconds, 1), "width": size[1], "height": size[0]}


def style_preview(order: Message, line: Line) -> Message:
    """Write the preview of a style file."""
    picture = style_on_astronaut(Path(order["path"]))
    _write(Path(order["to"]), picture, quality=70)
    return {}


def style_picture(order: Message, line: Line) -> Message:
    """Write the picture of a style for display."""
    _write(Path(order["to"]), _at_most(as_swatches(_styles(order))[0], _MAP_PX), quality=88)
    return {}


def style_map(order: Message, line: Line) -> Message:
    """Write the suggested map of a style. If a doodle is given no style map, it uses this map."""
    picture = _at_most(as_swatches(_styles(order))[0], _DRAFT_PX)
    images.write(order["to"], suggest_map(picture, labels=order["labels"]).image)
    return {}


def style_on_astronaut(path: Path) -> Picture:
    """Paint the face of Eileen Collins (NASA, public domain) in a style, at 192 pixels."""
    from skimage.data import astronaut

    photo = images.read(astronaut()[:320, 64:384])  # type: ignore[no-untyped-call]
    options = instant_options(size=2 * STYLE_PX)
    pastiche = painted_pastiche(_painter("auto", "auto", "torch"), photo, (load_style(path),), (), options)
    return _at_most(replace(photo, image=pastiche.image), STYLE_PX)


def export(order: Message, line: Line) -> Message:
    """Write a result to a file for download."""
    _export(order["path"], order["to"], order["record"], order["quality"])
    return {}


def zip_results(order: Message, line: Line) -> Message:
    """Write several results to a zip file."""
    with zipfile.ZipFile(order["to"], "w", zipfile.ZIP_STORED) as archive:
        for each in order["each"]:
            made = Path(order["to"]).with_name(secrets.token_hex(8) + Path(each["name"]).suffix)
            try:
                if each["is_clip"]:
                    archive.write(each["path"], each["name"])
                    continue
                _export(each["path"], str(made), each["record"], order["quality"])
                archive.write(made, each["name"])
            finally:
                made.unlink(missing_ok=True)
    return {}


def sheet(order: Message, line: Line) -> Message:
    """Write a contact sheet of several results."""
    shown = [(_at_most(_read(each["path"], each["name"]), THUMB_PX).image, each["name"]) for each in order["each"]]
    images.write(order["to"], images.contact_sheet(shown, columns=order["columns"], cell_px=THUMB_PX))
    return {}


# ---------------------------------------------------------------------------------------------------- jobs


def instant(order: Message, line: Line) -> Message | None:
    """Paint in one pass."""
    began = seconds_now()
    _set_threads(order)
    options = instant_options(**order["options"])
    photo, styles = _photo(order, options.size), _styles(order)
    masks = _masking(order, photo, styles)
    check(photo, styles, masks, options)
    run = Run(**order["run"])
    # OpenVINO compiles the network again for each new size, which would delay the sliders of the page.
    engine = "torch" if options.engine == "auto" else options.engine
    pastiche = painted_pastiche(_painter(run.device, run.precision, engine), photo, styles, masks, options)
    if line.how:
        return None
    return _result(order, pastiche, seconds_now() - began)


def refine(order: Message, line: Line) -> Message | None:
    """Paint in one pass, or read an earlier result. Then continue with the painter."""
    _set_threads(order)
    chosen = order["options"]
    options, run = instant_options(**chosen, refine=not chosen.get("hq", False)), Run(**order["run"])
    photo, styles = _read_source(order["content"]), _styles(order)
    masks = _masking(order, photo, styles)
    check(photo, styles, masks, options)
    picture, record = _first_picture(order, photo, styles, masks, options, run)
    size = size_in_header(picture) if isinstance(picture, Path) else picture_size(picture)
    if size is None:
        raise ImageFileError("the result cannot be read; it may have been deleted or damaged, so refine another one")
    context, state = refining_context(size, photo, styles, options, run, masks), PaintingState.of(order)
    last = _checkpoint_step(state) if order["finish"] else None
    if last is None:
        if state.picture is None:
            state.scale, context = context.first_scale, refining(picture, context)
        else:
            context = gatys.resumed(context, Checkpoint(state.picture, state.scale, state.here))
        del picture
        state.picture = None
        last = painted(context, state, order, line)
    if last is None:
        return None
    return _result(order, with_refinement(_pastiche(last.image, photo, record), last, photo, options), state.seconds)


def paint(order: Message, line: Line) -> Message | None:
    """Paint from the start, continue from a checkpoint, or add more steps to a result."""
    _set_threads(order)
    chosen = dict(order["options"])
    options, run = paint_options(chosen.pop("preset", "impasto"), **chosen), Run(**order["run"])
    photo, styles = _read_source(order["content"]), _styles(order)
    masks = _masking(order, photo, styles)
    context = gatys.set_up(photo, styles, options, run, masks)
    state = PaintingState.of(order)
    if order.get("more"):
        context = replace(context, sizes=(*context.sizes[:-1], (context.sizes[-1][0], order["more"]["steps"])))
        if state.picture is None:
            state.picture = _read(order["more"]["path"], "result").image
            state.scale, state.here = len(context.sizes) - 1, 0
    if state.picture is not None and not order["finish"]:
        context = gatys.resumed(context, Checkpoint(state.picture, state.scale, state.here))
    record = new_record(photo, styles, context.options, run, context.encoder.sha256) | masks.record
    if order["finish"] and state.picture is not None:
        record |= {"steps": state.described(is_finished=False), "seconds": round(state.seconds, 2)}
        return _result(order, _pastiche(state.picture, photo, record), state.seconds)
    state.picture = None
    last = painted(context, state, order, line)
    if last is None:
        return None
    record = with_progress(record, last)
    record["steps"] |= state.described(is_finished=last.number >= last.total)
    record["seconds"] = round(state.seconds, 2)
    return _result(order, finished(photo, last, record), state.seconds)


def doodle(order: Message, line: Line) -> Message | None:
    """Paint a map of flat colors."""
    began = seconds_now()
    _set_threads(order)
    (style,) = _styles(order)
    target, *style_maps = (_read_source(each) for each in order["maps"])
    content = _read_source(order["content"]) if order["content"] else None
    inputs = DoodleInputs(style, target, style_maps[0] if style_maps else None, content)
    run = Run(**order["run"])
    guided = doodle_of(inputs, DoodleOptions(**order["options"]), run)
    last = followed(guided_steps(guided, run), order, line)
    return None if last is None else _result(order, guided_pastiche(guided, last), seconds_now() - began)


def apply(order: Message, line: Line) -> Message | None:
    """Paint with a brush."""
    began = seconds_now()
    _set_threads(order)
    options, run = BrushOptions(**order["options"]), Run(**order["run"])
    pastiche = applied(_brush_painter(order["brush"], run.device, run.precision), _photo(order, options.size), options)
    return None if line.how else _result(order, pastiche, seconds_now() - began)


def brush(order: Message, line: Line) -> Message | None:
    """Train a brush. The picture of the result is the last sample strip."""
    _set_threads(order)
    (style,) = _styles(order)
    found = brush_jobs.trained(style, (_read_source(each) for each in order["photos"]), order, line)
    if found is None:
        return None
    return _result(order, *found) | {"disk": _disk(order)}


def video(order: Message, line: Line) -> Message | None:
    """Paint a clip. The picture of the result is one of its frames."""
    _set_threads(order)
    styles = [_at_most(each, _CLIP_STYLE_PX) if isinstance(each, Picture) else each for each in _styles(order)]
    found = video_jobs.painted(styles, order, line)
    if found is None:
        return None
    return _result(order, found.pastiche, found.seconds) | {"bytes": found.path.stat().st_size, "disk": _disk(order)}


def report(order: Message, line: Line) -> Message | None:
    """Compare results with their photo and styles."""
    began = seconds_now()
    _set_threads(order)
    photo, styles = _read_source(order["content"]), _styles(order)
    found = sheets.measured(photo, styles, [_read_source(each) for each in order["results"]], order)
    return None if line.how else _result(order, found, seconds_now() - began)


def tune(order: Message, line: Line) -> Message | None:
    """Compare settings on a sheet, or search for settings that reach the wanted value of ``style_closed``."""
    began = seconds_now() - (order["checkpoint"] or {}).get("seconds", 0.0)
    _set_threads(order)
    (style,) = _styles(order)
    found = sheets.tried(_read_source(order["content"]), style, order, line)
    return None if found is None else _result(order, found, seconds_now() - began)


DOES: dict[str, Callable[[Message, Line], Message | None]] = {
    "intake": intake,
    "style_preview": style_preview,
    "style_picture": style_picture,
    "style_map": style_map,
    "export": export,
    "zip": zip_results,
    "sheet": sheet,
    "instant": instant,
    "paint": paint,
    "refine": refine,
    "doodle": doodle,
    "apply": apply,
    "brush": brush,
    "report": report,
    "tune": tune,
    "clip_intake": clip_intake,
    "clip_prediction": clip_prediction,
    "video": video,
}


def _checkpoint_step(state: PaintingState) -> Step | None:
    """Return the step of a checkpoint, or None if there is no checkpoint."""
    if state.picture is None:
        return None
    size = picture_size(state.picture)
    return Step(state.done, state.done, state.scale, size, {}, state.picture, state.seconds)


def _first_picture(
    order: Message, photo: Picture, styles: tuple[Style, ...], masks: Masking, options: InstantOptions, run: Run
) -> tuple[Image | Path, Record]:
    """Return the picture that is refined, and its record: the result of one pass, or the file of an existing result."""
    if order.get("more"):
        return Path(order["more"]["path"]), order["more"]["record"]
    painter = _painter(run.device, run.precision, "torch")
    pastiche = painted_pastiche(painter, replace(photo, image=photo.image.clone()), styles, masks, options)
    return pastiche.image, pastiche.record


def _pastiche(image: Image, photo: Picture, record: Record) -> Pastiche:
    """Return a pastiche with the transparency of its photo."""
    return Pastiche(image, None if photo.alpha is None else resize(photo.alpha, picture_size(image)), None, record)


def _result(order: Message, pastiche: Pastiche, seconds: float) -> Message:
    """Write the files of a result and return their description."""
    suffix = ".jpg" if order["draft"] else ".png"
    path = Path(order["result"] + suffix)
    replace(pastiche, metadata=None).save(path, quality=92, with_record=False)
    height, width = picture_size(pastiche.image)
    thumb = Path(order["result"] + ".thumb.jpg")
    images.write(thumb, resize(pastiche.image, fitted_size((height, width), min(THUMB_PX, max(height, width)))), quality=80)
    size = path.stat().st_size
    facts: Message = {"width": width, "height": height, "bytes": size, "disk": size + thumb.stat().st_size, "suffix": suffix}
    return facts | {"seconds": round(seconds, 2), "record": pastiche.record}


def _disk(order: Message) -> int:
    """Return the bytes of all files of a result."""
    path = Path(order["result"])
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}.*"))


# ---------------------------------------------------------------------------------------------------- pictures


_KNOWN: dict[str, Picture] = {}
_MOST_KNOWN = 4


def _remember(path: str, small: Picture) -> None:
    while len(_KNOWN) >= _MOST_KNOWN:
        del _KNOWN[next(iter(_KNOWN))]
    _KNOWN[path] = small


def _photo(order: Message, size: int) -> Picture:
    """Read the photo. For a draft with a small ``size``, return a smaller, cached copy."""
    source = order["content"]
    if not order["draft"] or not 0 < size <= _DRAFT_PX:
        return _read_source(source)
    if source["path"] not in _KNOWN:
        _remember(source["path"], _at_most(_read_source(source), _DRAFT_PX))
    known = _KNOWN[source["path"]]
    return replace(known, image=known.image.clone())


def _styles(order: Message) -> tuple[Style, ...]:
    return tuple(load_style(each["path"]) if each["kind"] == "named" else _read_source(each) for each in order["styles"])


def _masking(order: Message, photo: Picture, styles: tuple[Style, ...]) -> Masking:
    """Read the masks. A mask is an upload, or is computed from a name such as auto:skin."""
    where, kept = ([_mask(each) for each in order[name]] for name in ("masks", "protect"))
    return read_masking(MaskSources(style_masks=tuple(where), protect=tuple(kept)), photo, styles)


def _mask(source: Message) -> MaskSource:
    return str(source["name"]) if source["kind"] == "word" else _read_source(source)


def _read_source(source: Message) -> Picture:
    return _read(source["path"], source["name"])


def _read(path: str, name: str, pixels: int = images.MAX_PIXELS) -> Picture:
    """Read a picture, but not its metadata. Error messages contain ``name`` instead of the path."""
    data = Path(path).read_bytes()
    try:
        picture = images.read(data, max_pixels=pixels)
    except ImageFileError as error:
        sentence = str(error).replace("'bytes'", repr(name)).replace(PYTHON_ADVICE, "")
        raise ImageFileError(sentence) from error
    except ImpastoError:  # some ImpastoErrors are also ValueErrors
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, AssertionError, struct.error) as error:
        # The decoder raised an unexpected error. Log it and reject the file.
        with suppress(OSError):
            traceback.print_exc()
        raise ImageFileError(f"{name!r} cannot be read as a picture; it may be damaged or of an unsupported type") from error
    return replace(picture, name=name, metadata=Metadata())


def _at_most(picture: Picture, edge_px: int) -> Picture:
    if max(picture.size) <= edge_px:
        return picture
    size = fitted_size(picture.size, edge_px)
    alpha = None if picture.alpha is None else resize(picture.alpha, size)
    return replace(picture, image=resize(picture.image, size), alpha=alpha)


def _write(path: Path, picture: Picture, *, quality: int) -> None:
    images.write(path, picture.image, alpha=picture.alpha, quality=quality)


def _export(path: str, target: str, record: Record | None, quality: int) -> None:
    picture = _read(path, "result")
    images.write(target, picture.image, alpha=picture.alpha, record=record, quality=quality)


@lru_cache(maxsize=2)
def _painter(device: str, precision: str, engine: str) -> InstantPainter:
    return InstantPainter(Run(device=device, precision=precision), engine)  # type: ignore[arg-type]


@lru_cache(maxsize=2)
def _brush_painter(path: str, device: str, precision: str) -> BrushPainter:
    return BrushPainter(path, Run(device=device, precision=precision))  # type: ignore[arg-type]


_ALL_THREADS = torch.get_num_threads()


def _set_threads(order: Message) -> None:
    torch.set_num_threads(order["run"].get("threads") or _ALL_THREADS)
