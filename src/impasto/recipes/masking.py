"""Masks as specified by the user: files, pictures in memory, gradients, and regions found in the photo.

A mask is one of

- a picture that is white where the mask applies: a file, an array, a tensor or a Pillow image;
- ``labels.png#ff0000``: the area with this color in a map of colored regions;
- ``gradient:left-right`` or another gradient in :data:`impasto.masks.guides.GRADIENTS`;
- ``auto:subject``, ``auto:background``, ``auto:sky``, ``auto:skin``, ``auto:region-2``: see :mod:`impasto.masks.segmentation`;
- ``all``: everywhere.

The prefix ``not:`` inverts any of these.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from impasto import images
from impasto.errors import ImageFileError, OptionError
from impasto.images import Picture, Source, resize
from impasto.losses.picture import luminance_of
from impasto.masks.guides import GRADIENTS, gradient
from impasto.masks.segmentation import find_region
from impasto.recipes.starts import Style
from impasto.runtime.torch_state import in_known_state, plain
from impasto.styles.named import NamedStyle
from impasto.tensors import Image, Mask

MaskSource = Source | Picture
"""Any form of a mask; for strings see the module docstring."""

_DARK, _COLOURED, _LIKE = 0.02, 0.06, 0.15
MASK_FLAGS = {
    "style_masks": "--style-mask",
    "style_regions": "--style-region",
    "content_mask": "--content-mask",
    "protect": "--protect",
}
"""The command line flag of each kind of mask."""


@dataclass(frozen=True)
class MaskSources:
    """The requested masks before they are read.

    Attributes:
        style_masks: one mask per style, for the area of the result where that style is applied; empty: every style is
            applied everywhere.
        style_regions: one mask per style, for the part of the style picture that is measured; empty: the whole picture.
        content_mask: mask of the area of the result where any style is applied; None: everywhere.
        protect: masks of the areas where the photo is kept.
    """

    style_masks: tuple[MaskSource, ...] = ()
    style_regions: tuple[MaskSource, ...] = ()
    content_mask: MaskSource | None = None
    protect: tuple[MaskSource, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there are no masks."""
        return not any(True for _ in self.by_flag())

    def paths(self) -> tuple[str, ...]:
        """Return the paths of the masks that are files."""
        texts = (each for _, each in self.by_flag() if isinstance(each, str | Path))
        return tuple(path for path in (Spec.of(str(text)).path for text in texts) if path)

    def by_flag(self) -> Iterator[tuple[str, MaskSource]]:
        """Yield each mask with its command line flag."""
        for name, flag in MASK_FLAGS.items():
            value = getattr(self, name)
            yield from ((flag, each) for each in (value if isinstance(value, tuple) else (value,)) if each is not None)

    def words(self) -> list[str]:
        """Return the masks as command line arguments."""
        return [word for flag, each in self.by_flag() for word in (flag, str(each))]


@dataclass(frozen=True)
class Spec:
    """A parsed mask string: ``not:FILE#COLOR``, or a name such as ``auto:sky``.

    Attributes:
        is_inverted: whether the mask is inverted (``not:``).
        word: the path or the name.
        color: the color of a region as six lowercase hexadecimal digits; empty: none.
    """

    is_inverted: bool
    word: str
    color: str = ""

    @staticmethod
    def of(text: str) -> "Spec":
        """Parse a mask string."""
        if text.startswith("not:") and not os.path.exists(text):
            inner = Spec.of(text[4:])
            return replace(inner, is_inverted=not inner.is_inverted)
        file, hash_sign, color = text.rpartition("#")
        is_color = len(color) == 6 and all(each in "0123456789abcdefABCDEF" for each in color)
        if hash_sign and is_color and not os.path.exists(text):
            return Spec(False, file, color.lower())
        return Spec(False, text)

    @property
    def path(self) -> str:
        """The path of the file, or an empty string if the mask is not a file."""
        is_word = self.word == "all" or self.word.startswith(("auto:", "gradient:"))
        return "" if is_word and not os.path.exists(self.word) else self.word

    def text(self, word: str | None = None) -> str:
        """Format the mask string; if ``word`` is given, it replaces the path."""
        color = f"#{self.color}" if self.color else ""
        return f"{'not:' * self.is_inverted}{self.word if word is None else word}{color}"


@dataclass(frozen=True)
class ReadMask:
    """A mask that has been read.

    Attributes:
        mask: (1, 1, height, width), at the size of the picture to which it belongs.
        name: the name used in the record, without folders.
        sha256: hash of the file; for a computed mask, hash of its values as 8-bit integers.
        notes: messages about how the mask was converted and about unexpected values.
        is_named: whether the mask was given by a name, such as auto:sky, and then computed; False for a drawn mask.
    """

    mask: Mask
    name: str
    sha256: str
    notes: tuple[str, ...] = ()
    is_named: bool = False

    @property
    def record(self) -> dict[str, str]:
        """The entry of the mask in a record."""
        return {"name": self.name, "kind": "named" if self.is_named else "picture", "sha256": self.sha256}


@dataclass(frozen=True)
class Masking:
    """The masks of a painting, read and validated; see :class:`MaskSources` for the fields."""

    style_masks: tuple[ReadMask, ...] = ()
    style_regions: tuple[ReadMask, ...] = ()
    content_mask: ReadMask | None = None
    protect: tuple[ReadMask, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def record(self) -> dict[str, Any]:
        """The entry of the masks in a record; empty if there are none."""
        several = {name: [each.record for each in getattr(self, name)] for name in ("style_masks", "style_regions", "protect")}
        one = {"content_mask": self.content_mask.record} if self.content_mask else {}
        entries = {name: value for name, value in several.items() if value} | one
        return {"masks": entries} if entries else {}

    def style_mask(self, index: int) -> Mask | None:
        """Return the mask of the measured part of a style picture; None: the whole picture."""
        return self.style_regions[index].mask if self.style_regions else None


NO_MASKS = Masking()
EVERYWHERE = ReadMask(torch.ones(1, 1, 1, 1), "all", "", is_named=True)


def separated_masks(options: Mapping[str, Any]) -> tuple[MaskSources, dict[str, Any]]:
    """Separate the masks from the other keyword arguments. A single mask becomes a tuple of one.

    Example:
        >>> separated_masks({"protect": "auto:skin", "size": 64})
        (MaskSources(style_masks=(), style_regions=(), content_mask=None, protect=('auto:skin',)), {'size': 64})
    """
    masks: dict[str, Any] = {name: options[name] for name in MASK_FLAGS if options.get(name) is not None}
    for name in set(masks) - {"content_mask"}:
        masks[name] = tuple(masks[name]) if isinstance(masks[name], list | tuple) else (masks[name],)
    return MaskSources(**masks), {name: value for name, value in options.items() if name not in MASK_FLAGS}


@in_known_state
def read_masking(sources: MaskSources, content: Picture, styles: Sequence[Style]) -> Masking:
    """Read all masks of a painting.

    Raises:
        OptionError: the number of masks is wrong, a mask leaves nothing to paint or measure, or a region belongs to a named
            style.
        ImageFileError: a file cannot be read.
    """
    if sources.is_empty:
        return NO_MASKS
    for name in ("style_masks", "style_regions"):
        _check_count(name, len(getattr(sources, name)), len(styles))
    where = tuple(read_mask(each, content, "--style-mask") for each in sources.style_masks)
    parts = tuple(
        _read_region(each, style)
        for each, style in zip(sources.style_regions, styles[: len(sources.style_regions)], strict=True)
    )
    limit = None if sources.content_mask is None else read_mask(sources.content_mask, content, "--content-mask")
    kept = tuple(read_mask(each, content, "--protect") for each in sources.protect)
    found = Masking(where, parts, limit, kept)
    _check_content(found)
    return replace(found, notes=tuple(_notes(found)))


@in_known_state
def read_mask(source: MaskSource, picture: Picture, flag: str) -> ReadMask:
    """Read one mask for a picture.

    Args:
        source: see :data:`MaskSource`.
        picture: the picture that the mask belongs to. A mask of another size is resized, with a note.
        flag: the command line flag of the mask, used in messages.

    Raises:
        OptionError: an unknown name, or a color that the map does not contain.
        ImageFileError, ShapeError: the mask cannot be read.
    """
    if not isinstance(source, str | Path):
        return _drawn(_as_picture(source), "", picture)
    spec = Spec.of(str(source))
    if spec.path:
        if not os.path.exists(spec.path):
            raise ImageFileError(
                f"{flag} {str(source)!r} is neither a file nor a named mask; names are all, gradient:left-right, "
                "gradient:radial, auto:subject, auto:background, auto:sky, auto:skin, auto:region-1; not: inverts any mask"
            )
        drawn = _drawn(images.read(spec.path), spec.color, picture)
        name = spec.text(Path(spec.path).name)
        return (
            _inverted(replace(drawn, name=name))
            if spec.is_inverted
            else drawn
            if name == drawn.name
            else replace(drawn, name=name)
        )
    made = ReadMask(_computed(spec.word, picture, flag), spec.text(), "", (), is_named=True)
    made = _inverted(made) if spec.is_inverted else made
    values = (made.mask * 255).round().to(torch.uint8).numpy()
    return replace(made, sha256=hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest())


def _as_picture(source: Any) -> Picture:
    """Read a mask that is given in memory; two-dimensional arrays and tensors are allowed."""
    if isinstance(source, Picture):
        return replace(source, image=plain(source.image))
    if isinstance(source, torch.Tensor):
        source = source[None] if source.ndim == 2 else source
        source = source.float() if source.dtype is torch.bool else source
    return images.read(source)


def _inverted(read: ReadMask) -> ReadMask:
    return replace(read, mask=1 - read.mask)


def _drawn(drawn: Picture, color: str, picture: Picture) -> ReadMask:
    """Convert a drawn picture to a mask: composite it over black, and resize its luminance to the size of ``picture``."""
    notes = list(drawn.notes)
    image = drawn.image
    if color:
        mask = _where(image, color, drawn.name)
    else:
        if float((image.amax(1) - image.amin(1)).max()) > _COLOURED:
            notes.append("the mask is colored; it was converted to grayscale")
        mask = luminance_of(image)
    mask = mask if drawn.alpha is None else mask * drawn.alpha
    if drawn.size != picture.size:
        (height, width), (tall, wide) = drawn.size, picture.size
        is_stretched = abs(height * wide / (width * tall) - 1) > 0.02
        notes.append(f"the mask of {width}x{height} pixels was {'stretched' if is_stretched else 'scaled'} to {wide}x{tall}")
    return ReadMask(resize(mask, picture.size).clamp(0, 1), drawn.name, drawn.sha256, tuple(notes))


def _where(image: Image, color: str, name: str) -> Mask:
    wanted = torch.tensor([int(color[k : k + 2], 16) / 255 for k in (0, 2, 4)])[None, :, None, None]
    found = ((image - wanted).square().sum(1, keepdim=True).sqrt() < _LIKE).float()
    if not bool(found.any()):
        levels = (image[0].flatten(1).T * 255).round().int()
        values, counts = levels.unique(dim=0, return_counts=True)
        most = [values[k].tolist() for k in counts.argsort(descending=True)[:5].tolist()]
        shown = ", ".join("#" + "".join(f"{level:02x}" for level in each) for each in most)
        raise OptionError(f"'{name}' has no region of color #{color}; its most frequent colors are {shown}")
    return found


def _computed(word: str, picture: Picture, flag: str) -> Mask:
    if word == "all":
        return torch.ones(1, 1, *picture.size)
    kind, _, name = word.partition(":")
    if kind == "gradient":
        if name not in GRADIENTS:
            raise OptionError(
                f"{flag} {word!r} is not known; use one of " + ", ".join(f"gradient:{each}" for each in GRADIENTS)
            )
        return gradient(name, picture.size)
    return find_region(picture.image, name)


def _read_region(source: MaskSource, style: Style) -> ReadMask:
    if isinstance(style, NamedStyle):
        if source == "all":
            return EVERYWHERE
        raise OptionError(
            f"--style-region needs a style picture, but {style.name!r} is a named style; give a picture, or use the region all"
        )
    read = read_mask(source, style, "--style-region")
    if float(read.mask.max()) < _DARK:
        raise OptionError(
            f"--style-region {read.name!r} is entirely black, so nothing of {style.name!r} would be measured; "
            "use white for the part to measure"
        )
    return read


def _check_count(name: str, count: int, styles: int) -> None:
    if count in (0, styles):
        return
    advice = "give one for each style" + ("; all selects the whole picture" if name == "style_regions" else "")
    if name == "style_masks" and count == 1:
        advice += ", or use --content-mask to restrict all styles to one area"
    raise OptionError(
        f"{MASK_FLAGS[name]} is given {count} time{'s' * (count != 1)} for {styles} style{'s' * (styles != 1)}; {advice}"
    )


def _check_content(masking: Masking) -> None:
    limits = [("--content-mask", masking.content_mask)] if masking.content_mask else []
    for flag, read in [*(("--style-mask", each) for each in masking.style_masks), *limits]:
        if float(read.mask.max()) >= _DARK:
            continue
        if read.name.startswith(("auto:", "not:auto:")):
            raise OptionError(f"{flag} {read.name} found nothing in this photo; list its regions with: impasto regions PHOTO")
        raise OptionError(
            f"{flag} {read.name!r} is entirely black, so nothing would be painted; use white for the area to paint"
        )
    for read in masking.protect:
        if float(read.mask.min()) > 1 - _DARK:
            raise OptionError(
                f"--protect {read.name!r} is entirely white, so nothing would be painted; use black for the area to paint"
            )


def _notes(masking: Masking) -> Iterator[str]:
    """Yield notes: how masks were converted, which masks have no effect, and whether they overlap."""
    limits = (masking.content_mask,) if masking.content_mask else ()
    for read in (*masking.style_masks, *masking.style_regions, *limits, *masking.protect):
        yield from (f"{read.name}: {note}" for note in read.notes)
    for read in (*masking.style_masks, *masking.style_regions, *limits):
        if float(read.mask.min()) > 1 - _DARK and read.name != "all":
            yield f"{read.name}: the mask is entirely white and has no effect"
    for read in masking.protect:
        if float(read.mask.max()) < _DARK:
            yield (
                f"{read.name}: found nothing to protect"
                if read.is_named
                else f"{read.name}: the mask is black and protects nothing"
            )
    if masking.style_masks:
        total = torch.stack([each.mask for each in masking.style_masks]).sum(0)
        overlap = float((total > 1.02).float().mean())
        if overlap > 0.005:
            yield f"the style masks overlap in {overlap:.0%} of the picture; the styles are blended there"
