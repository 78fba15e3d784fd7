"""Named styles: statistics of a picture, and a swatch.

A style file holds, for a few sizes of the picture it was measured on, the mean and the covariance of the features of
``vgg19-slim`` at each style layer. Of a covariance it keeps the deviation of each channel and a few directions: the strongest
in 8 bits, those after them in 4, for that is all that they are worth. The **swatch** is a small picture in the style, for
whatever compares more than statistics: of the styles that come with impasto a texture that impasto painted, see
:mod:`impasto.recipes.swatch`; of the user's own the picture itself. A file has about two hundred kilobytes.

Some styles come with impasto; the user's own lie in a folder beside them and go before them.
"""

import json
import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from impasto.errors import ImageFileError, OptionError, StyleFileError
from impasto.features.statistics import Moments
from impasto.images import Picture, read
from impasto.runtime.folders import user_folder
from impasto.runtime.torch_state import in_known_state
from impasto.styles.former_names import FORMER_NAMES
from impasto.weights.files import sha256_of

VERSION = "3"
_READ_VERSIONS = ("2", VERSION)
"""Version 2 had no swatch."""
SUFFIX = ".style.safetensors"
SIZES = (128, 256, 512, 1024)
_STRONG, _WEAK = 12, 22
"""Directions kept of a covariance in 8 bits and in 4; see benchmarks/styles.py for what that costs."""
_ROUNDS = 4
_FACTS = ("name", "title", "artist", "date", "source", "licence", "encoder_sha256")


@dataclass(frozen=True)
class NamedStyle:
    """A style by name.

    Attributes:
        facts: name, title, artist, date, source, licence of the picture it was measured on, and encoder_sha256.
        moments: by longer side in pixels, then by layer: moments in the channels of vgg19-slim, before its heads.
        colors: mean (1, 3) and covariance (1, 3, 3) of the picture's colors.
        sha256: of the file it was read from; empty where it came from none.
        swatch: a picture in the style, as the bytes of a WebP file; empty where there is none.
        notes: messages for the user, such as that it replaces a style of an earlier version.
    """

    facts: Mapping[str, str]
    moments: Mapping[int, Mapping[str, Moments]]
    colors: Moments
    sha256: str = ""
    swatch: bytes = field(default=b"", repr=False)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name it is called by."""
        return self.facts["name"]

    def at(self, edge_px: float, layers: Sequence[str]) -> dict[str, Moments]:
        """Return the moments that the style has with a longer side of edge_px, between the sizes it was measured at.

        Raises:
            OptionError: if a layer was not measured.
        """
        sizes = sorted(self.moments)
        known = self.moments[sizes[0]]
        for layer in layers:
            if layer not in known:
                raise OptionError(
                    f"style {self.name!r} was not measured at layer {layer!r} but at {', '.join(known)}; "
                    "use those layers, or give a picture"
                )
        below, above, share = _around(edge_px, sizes)
        return {layer: _between(self.moments[below][layer], self.moments[above][layer], share) for layer in layers}

    def picture(self) -> Picture:
        """Return the swatch, for what needs a style picture.

        Raises:
            StyleFileError: there is none, or it is damaged.
        """
        if not self.swatch:
            raise StyleFileError(
                f"style {self.name!r} was added by an earlier impasto and has no swatch, which this needs; "
                f"add it again (impasto styles remove {self.name}, then impasto styles add), or give a picture"
            )
        try:
            found = read(self.swatch)
        except ImageFileError as error:
            raise StyleFileError(
                f"the swatch of style {self.name!r} is damaged; add the style again, or give a picture"
            ) from error
        return replace(found, name=self.name, sha256=self.sha256 or found.sha256)


@in_known_state
def measured_style(
    facts: Mapping[str, str], measure: Callable[[int], Mapping[str, Moments]], colors: Moments, sizes: Sequence[int] = SIZES
) -> NamedStyle:
    """Measure a style at several sizes.

    Args:
        facts: name, title, artist, date, source, licence, encoder_sha256; what is missing is left empty.
        measure: returns the moments by layer of the picture at a longer side in pixels.
        colors: moments of the picture's colors.
        sizes: longer sides to measure at.
    """
    return NamedStyle({fact: facts.get(fact, "") for fact in _FACTS}, {size: measure(size) for size in sizes}, colors)


@in_known_state
def save_style(path: str | Path, style: NamedStyle) -> None:
    """Write a style file, in one step or not at all.

    Raises:
        StyleFileError: if it cannot be written there.
    """
    path = Path(path)
    sizes = sorted(style.moments)
    tensors = {"sizes": torch.tensor(sizes), "colours.mean": style.colors.mean, "colours.covariance": style.colors.covariance}
    if style.swatch:
        tensors["swatch"] = torch.frombuffer(bytearray(style.swatch), dtype=torch.uint8)
    for layer in style.moments[sizes[0]]:
        parts = [_packed(style.moments[size][layer]) for size in sizes]
        tensors |= {f"{layer}.{part}": torch.stack([each[part] for each in parts]) for part in parts[0]}
    partial = path.with_name(path.name + ".part")
    try:
        save_file({name: t.contiguous() for name, t in tensors.items()}, partial, {"impasto_style": VERSION, **style.facts})
        partial.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        with suppress(OSError):
            partial.unlink()
        why = getattr(error, "strerror", None) or error
        raise StyleFileError(f"style file {str(path)!r} cannot be written: {why}; choose another place") from error


@in_known_state
def load_style(path: str | Path) -> NamedStyle:
    """Read a style file.

    Raises:
        StyleFileError: if the file is missing, damaged or of another version.
    """
    path = Path(path)
    facts = style_facts(path)
    with _opened(path) as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (not a mapping)
        return _from_tensors(facts, tensors, sha256_of(path))


def style_facts(path: str | Path) -> dict[str, str]:
    """Read of a style file only what it says of itself, which is quick: name, title, artist, date, source, licence.

    Raises:
        StyleFileError: if the file is missing, damaged or of another version.
    """
    path = Path(path)
    with _opened(path) as opened:
        facts = dict(opened.metadata() or {})
    version = facts.get("impasto_style")
    if version not in _READ_VERSIONS:
        raise StyleFileError(
            f"style file {str(path)!r} is of version {version}, this impasto reads version {VERSION}; make it again"
        )
    return {fact: facts.get(fact, "") for fact in _FACTS}


# ---------------------------------------------------------------------------------------------------- by name


def shipped_styles() -> dict[str, Path]:
    """Return the styles that come with impasto: files by name."""
    return _styles_in(Path(str(files("impasto") / "data" / "styles")))


def user_styles() -> dict[str, Path]:
    """Return the user's own styles: files by name."""
    return _styles_in(styles_folder())


def known_styles() -> dict[str, Path]:
    """Return all named styles, files by name: the user's own, and those that come with impasto.

    No own style can be added under the name of a shipped one. Where a later impasto ships one of the same name, the user's own
    goes first: a command that worked yesterday paints the same today.
    """
    return dict(sorted({**shipped_styles(), **user_styles()}.items()))


def styles_folder() -> Path:
    """Return the folder of the user's own styles: ``IMPASTO_STYLES``, or among the user's data; it may not exist yet."""
    chosen = os.environ.get("IMPASTO_STYLES")
    return user_folder("data", "IMPASTO_STYLES") / ("" if chosen else "styles")


def find_style(name: str) -> NamedStyle:
    """Load a style by its name.

    Raises:
        OptionError: if there is no style of that name; the sentence tells the nearest.
        StyleFileError: if its file is damaged or of another version.
    """
    known = known_styles()
    if name not in known and name in FORMER_NAMES:
        present = FORMER_NAMES[name]
        return replace(load_style(known[present]), notes=(f"replaces {name}, which an earlier version shipped",))
    if name not in known:
        raise OptionError(f"style {name!r} is neither a picture file nor a named style{_nearest(name, known)}")
    return load_style(known[name])


def check_new_name(name: str) -> None:
    """Raise unless a style of the user's own can be added under a name.

    Raises:
        OptionError: if it is not lower-case words with hyphens, or is taken.

    Example:
        >>> check_new_name("my-garden")
        >>> check_new_name("My Garden")
        Traceback (most recent call last):
        impasto.errors.OptionError: a style cannot be called 'My Garden'; use lower-case words with hyphens, such as 'my-garden'
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        better = "-".join(re.findall("[a-z0-9]+", plain)) or "my-style"
        raise OptionError(f"a style cannot be called {name!r}; use lower-case words with hyphens, such as {better!r}")
    if name in shipped_styles():
        raise OptionError(f"style {name!r} comes with impasto; choose another name, such as 'my-{name}'")
    if name in user_styles():
        raise OptionError(
            f"style {name!r} is one of your own already; choose another name, or first: impasto styles remove {name}"
        )


def add_style(style: NamedStyle) -> Path:
    """Save a style among the user's own, so that it is found by its name.

    Returns:
        Where it lies now.

    Raises:
        OptionError: if its name is not allowed or taken; see :func:`check_new_name`.
        StyleFileError: if it cannot be written.
    """
    check_new_name(style.name)
    folder = styles_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror or error
        raise StyleFileError(f"styles cannot be kept in {str(folder)!r}: {why}; name a folder in IMPASTO_STYLES") from error
    save_style(folder / f"{style.name}{SUFFIX}", style)
    return folder / f"{style.name}{SUFFIX}"


def remove_style(name: str) -> Path:
    """Delete a style of the user's own.

    Returns:
        Where it lay.

    Raises:
        OptionError: if it is none of the user's own.
        StyleFileError: if it cannot be deleted.
    """
    own = user_styles()
    if name not in own and name in shipped_styles():
        raise OptionError(f"style {name!r} comes with impasto and cannot be removed; only your own styles can")
    if name not in own:
        raise OptionError(f"style {name!r} is none of your own{_nearest(name, own)}")
    try:
        own[name].unlink()
    except OSError as error:
        raise StyleFileError(f"style file {str(own[name])!r} cannot be removed: {error.strerror or error}") from error
    return own[name]


def _styles_in(folder: Path) -> dict[str, Path]:
    return {path.name.removesuffix(SUFFIX): path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def _nearest(name: str, known: Iterable[str]) -> str:
    """Suggest names as the end of a sentence: those that hold the mistaken one, such as 'seurat', or else the nearest."""
    known, word = list(known), name.lower()
    near = [each for each in known if word and word in each][:3] or get_close_matches(word, known, n=1)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else "; see impasto styles list"


# ---------------------------------------------------------------------------------------------------- inside the file


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a style file, and turn whatever is wrong with it into one sentence."""
    try:
        with safetensors.safe_open(path, "pt") as opened:
            yield opened
    except FileNotFoundError as error:
        raise StyleFileError(f"style file {str(path)!r} is not there; see impasto styles list") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise StyleFileError(f"style file {str(path)!r} is damaged or not a style file; make it again") from error
    except (KeyError, ValueError, RuntimeError) as error:
        raise StyleFileError(f"style file {str(path)!r} is damaged: {json.dumps(str(error))}; make it again") from error


def _from_tensors(facts: Mapping[str, str], tensors: Mapping[str, Tensor], sha256: str) -> NamedStyle:
    sizes: list[int] = tensors["sizes"].tolist()
    moments: dict[int, dict[str, Moments]] = {size: {} for size in sizes}
    layers = [key.removesuffix(".mean") for key in tensors if key.endswith(".mean") and key != "colours.mean"]
    if not layers or min(sizes, default=0) < 1:
        raise ValueError("no statistics inside")
    for layer in layers:
        mean, covariance = tensors[f"{layer}.mean"].float(), _unpacked(layer, tensors)
        if mean.shape != covariance.shape[:2] or not (mean.isfinite().all() and covariance.isfinite().all()):
            raise ValueError(f"{layer} makes no sense")
        for size, *of_size in zip(sizes, mean, covariance, strict=True):
            moments[size][layer] = Moments(*(each[None] for each in of_size))
    colors = Moments(tensors["colours.mean"].float(), tensors["colours.covariance"].float())
    swatch = bytes(tensors["swatch"].tolist()) if "swatch" in tensors else b""
    return NamedStyle(facts, moments, colors, sha256, swatch)


def _packed(measured: Moments) -> dict[str, Tensor]:
    """Round the moments of one layer to what a file keeps of them; :func:`_unpacked` is the way back.

    Returns:
        By name: ``mean`` and ``deviation`` (channels,), halves; ``strong`` (channels, 12), int8, and ``weak`` (channels, 11),
        two directions to a byte; ``unit`` (34,), what one step of each direction is worth.
    """
    loadings = _loadings(measured.covariance[0])
    most = torch.tensor([127.0] * _STRONG + [7.0] * _WEAK)
    unit = loadings.abs().amax(0).clamp_min(1e-30) / most
    strong, weak = (loadings / unit).round().split([_STRONG, _WEAK], dim=1)
    low, high = (weak + 8).to(torch.uint8).chunk(2, dim=1)
    return {
        "mean": measured.mean[0].half(),
        "deviation": measured.covariance[0].diagonal().clamp_min(0).sqrt().half(),
        "strong": strong.to(torch.int8),
        "weak": low + 16 * high,
        "unit": unit,
    }


def _unpacked(layer: str, tensors: Mapping[str, Tensor]) -> Tensor:
    """Rebuild the covariances of a layer, (sizes, channels, channels): positive, and with the diagonal that was measured."""
    strong, weak = tensors[f"{layer}.strong"], tensors[f"{layer}.weak"]
    steps = torch.cat([strong.float(), (weak & 15).float() - 8, (weak >> 4).float() - 8], dim=2)
    loadings = steps * tensors[f"{layer}.unit"][:, None]
    deviation = tensors[f"{layer}.deviation"].float()
    # Rounding can lend a channel more than it had; what it had and the directions do not explain is its own.
    loadings = loadings * (deviation / loadings.norm(dim=2).clamp_min(1e-30)).clamp_max(1)[..., None]
    own = (deviation.square() - loadings.square().sum(2)).clamp_min(0)
    covariance: Tensor = loadings @ loadings.transpose(1, 2) + torch.diag_embed(own)
    return covariance


def _loadings(covariance: Tensor) -> Tensor:
    """Find what best explains a covariance (n, n) beside its diagonal: loadings L (n, 34) with ``L Lᵀ`` near it there.

    The diagonal is kept by itself. So what a round of eigenvectors leaves of it is taken away, and the next round can spend its
    directions on what is shared between channels. The strongest come first; zeros fill up where there are fewer channels.

    Source: iterated principal factors, Harman 1976, Modern Factor Analysis.
    """
    whole = covariance.double()
    own = torch.zeros(len(whole), dtype=torch.float64)
    loadings = torch.zeros(len(whole), _STRONG + _WEAK, dtype=torch.float64)
    for _ in range(_ROUNDS):
        values, vectors = torch.linalg.eigh(whole - own.diag())
        strongest = (vectors * values.clamp_min(0).sqrt()).flip(1)[:, : _STRONG + _WEAK]
        loadings[:, : strongest.shape[1]] = strongest
        own = (whole.diagonal() - loadings.square().sum(1)).clamp_min(0)
    return loadings.float()


def _around(edge_px: float, sizes: Sequence[int]) -> tuple[int, int, float]:
    """Find the sizes below and above a length, and how far it is from the one to the other."""
    below = max([size for size in sizes if size <= edge_px], default=sizes[0])
    above = min([size for size in sizes if size >= edge_px], default=sizes[-1])
    return below, above, 0.0 if above == below else math.log(edge_px / below) / math.log(above / below)


def _between(a: Moments, b: Moments, share: float) -> Moments:
    return Moments(torch.lerp(a.mean, b.mean, share), torch.lerp(a.covariance, b.covariance, share))
